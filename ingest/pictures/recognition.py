"""Whether a file is a photo to read, told from its bytes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ris.data.synthetic import END_BYTES, is_drawn, is_marked
from ris.errors import ImageError
from ris.ingest.pictures.formats import HEAD_BYTES, picture_format
from ris.ingest.sources.found import DRAWN, EDITED, NOT_A_PICTURE, Found

PICTURE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
        *(".heic", ".heif", ".avif", ".mpo", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm"),
    )
)
"""A file of such a name that is no picture is a damaged one."""


def reason_against(found: Found) -> str:
    """Why a file that a search came upon is passed over; "" where it is a photo to read.

    A photo is what has a picture's first bytes, or its suffix, or was named itself: if it turns
    out to be no picture it fails, and is not passed over. Pictures that RIS edited or drew are.

    Raises:
        ImageError: (stage ``read``) it cannot be read.
    """
    if found.left_out:
        return found.left_out
    try:
        head, tail = _ends(found.path)
    except OSError as e:
        raise ImageError("read", e.strerror or str(e)) from e
    form = picture_format(head[:HEAD_BYTES])
    if form is None:
        expected = found.named or found.path.suffix.lower() in PICTURE_SUFFIXES
        return "" if expected else NOT_A_PICTURE
    if is_marked(head, tail):
        return EDITED
    return DRAWN if is_drawn(head) else ""


def _ends(path: Path) -> tuple[bytes, bytes]:
    """A file's first bytes, and its last ones if the format keeps notes there."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise ImageError("read", "a folder: name it on the command line to search it")
    if not stat.S_ISREG(status.st_mode):  # opening a pipe waits for its other end
        raise ImageError("read", "a pipe, socket or device, no file")
    with path.open("rb", buffering=0) as file:
        head = file.read(END_BYTES)
        if status.st_size <= END_BYTES or not head.startswith(b"RIFF"):
            return head, b""
        file.seek(-END_BYTES, os.SEEK_END)
        return head, file.read(END_BYTES)
