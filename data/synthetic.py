"""Telling pictures that RIS made from photographs."""

from __future__ import annotations

NOTE = "Synthetic: this face was edited by RIS (Retrieve in Style), it is not a photograph."
"""Stands in every edited picture that is marked, in all formats as plain bytes."""
DRAWN_NOTE = "Drawn by RIS (Retrieve in Style): a sheet or figure, not a photograph."
"""Stands in contact sheets, pictures of catalogues and figures."""
END_BYTES = 1 << 16
"""So many bytes at a file's beginning and end hold its marks."""


def is_marked(head: bytes, tail: bytes = b"") -> bool:
    """Whether a picture file says that it was edited by RIS.

    Args:
        head: the first `END_BYTES` of the file.
        tail: likewise the last, which WebP's marks are in.
    """
    note = NOTE.encode()
    return note in head or note in tail


def is_drawn(head: bytes) -> bool:
    """Whether a picture file, of which these are the first `END_BYTES`, is a sheet or figure that
    RIS drew."""
    return DRAWN_NOTE.encode() in head
