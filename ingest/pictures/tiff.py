"""TIFF files: the largest page alone (TIFF 6.0; Adobe's tags for sub-directories and raw files)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from ris.errors import ImageError
from ris.ingest.pictures.ifd import Directory, Entry
from ris.ingest.pictures.side import (
    EXIF_BYTES,
    ORIENTATION,
    PROFILE_BYTES,
    Bare,
    Span,
    orientation,
    spliced,
)

_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _SUBFILE = 256, 257, 259, 262, 254
_SUB_DIRECTORIES, _XMP, _PROFILE, _DNG = 330, 700, 34675, 50706
_RAW_PHOTOMETRICS = {32803, 34892}
"""Colour filter array and linear raw."""
_MASK = 4
_PICTURE = frozenset(
    {256, 257, 258, 259, 262, 263, 266, 273, 277, 278, 279, 284, 292, 293, 301, 317, 318, 319}
    | {320, 321, 322, 323, 324, 325, 332, 334, 336, 338, 339, 340, 341, 347}
    | {*range(512, 522), 529, 530, 531, 532, 34712}
)
"""Tags that say how pixels are coded and where they lie; all others are left out."""
MOST_PAGES = 10_000
_RAW_REASON = "a camera's raw file is not read: export it as JPEG, PNG or TIFF"


def bare_tiff(file: BinaryIO) -> Bare:
    """The largest page of a TIFF (the first of equals), without tags that are not the picture's.

    Raises:
        ImageError: a camera's raw file, of which only a preview could be read.
        ValueError, struct.error: no page can be read.
    """
    pages = [(_area(page), page) for page in _pages(file)]
    largest = max(area for area, _ in pages)
    page = next(page for area, page in pages if area == largest)
    if page.number(_PHOTOMETRIC) in _RAW_PHOTOMETRICS or pages[0][1].entries.get(_DNG):
        raise ImageError("decode", _RAW_REASON)
    entries = {tag: e for tag, e in sorted(page.entries.items()) if tag in _PICTURE}
    end = file.seek(0, 2)
    room = b"\0" * (-end % 8)
    order, big = page.order, page.big
    at = end + len(room)
    if big:
        head = struct.pack(order + "HHHQ", 43, 8, 0, at)
    else:
        head = struct.pack(order + "HI", 42, at & 0xFFFFFFFF)
    start = (b"II" if order == "<" else b"MM") + head
    parts: list[bytes | Span] = [start, Span(len(start), end), room, _written(entries, order, big)]
    turned = page.number(ORIENTATION)
    if turned is None:
        turned = orientation(None, page.data(_XMP, EXIF_BYTES))
    profile = page.data(_PROFILE, PROFILE_BYTES)
    return Bare(spliced(file, parts), turned if 1 <= turned <= 8 else 1, profile)


def compressed(page: Bare) -> bool:
    """Whether a bare page's data goes through a decoder that reads the file as a whole."""
    return Directory.first(page.file).number(_COMPRESSION) not in (None, 1)


def _pages(file: BinaryIO) -> Iterator[Directory]:
    """All pages, and the pictures within them; a damaged one ends the list, if it is not the
    first."""
    page = Directory.first(file)
    seen = {page.offset}
    while True:
        yield page
        for offset in page.numbers(_SUB_DIRECTORIES, 64):
            try:
                yield Directory.at(file, page.order, page.big, offset)
            except (ValueError, struct.error):
                continue
        if not page.next or page.next in seen or len(seen) >= MOST_PAGES:
            return
        seen.add(page.next)
        try:
            page = Directory.at(file, page.order, page.big, page.next)
        except (ValueError, struct.error):
            return


def _area(page: Directory) -> int:
    """Pixels of a page; of masks, which are no picture, none."""
    if (page.number(_SUBFILE) or 0) & _MASK:
        return 0
    return (page.number(_WIDTH) or 0) * (page.number(_HEIGHT) or 0)


def _written(entries: dict[int, Entry], order: str, big: bool) -> bytes:
    count, one = (order + "Q", order + "HHQ") if big else (order + "H", order + "HHI")
    tags = [struct.pack(one, tag, e.kind, e.count) + e.inline for tag, e in entries.items()]
    return struct.pack(count, len(entries)) + b"".join(tags) + bytes(8 if big else 4)
