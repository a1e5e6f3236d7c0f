"""AVIF and HEIC files: the picture alone (ISO/IEC 23008-12, section 6).

Their pictures are turned by properties of their own (``irot``, ``imir``), which decoders apply or
report; EXIF repeats that and does not count. So EXIF and XMP are given another type, and their
references to the picture too, by which decoders pass them over.
"""

from __future__ import annotations

import io
import re
import struct
from typing import BinaryIO

from ris.ingest.pictures.side import Bare

_ITEM = re.compile(rb"(infe(?:\x02.{3}.{4}|\x03.{3}.{6}))(?:Exif|mime)", re.DOTALL)
_DESCRIBES = re.compile(rb"cdsc")


def bare_heif(file: BinaryIO) -> Bare:
    """A file of this kind whose EXIF and XMP decoders do not see."""
    file.seek(0)
    data = bytearray(file.read())
    start, end = _meta(data)
    boxes = _ITEM.sub(rb"\1skip", bytes(data[start:end]))
    data[start:end] = _DESCRIBES.sub(b"skip", boxes)
    return Bare(io.BytesIO(data))


def _meta(data: bytearray) -> tuple[int, int]:
    """Where the box lies that names a file's items."""
    at = 0
    while at + 16 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        end = len(data) if size == 0 else min(at + size, len(data))
        if kind == b"meta":
            return at, end
        if end <= at:
            break
        at = end
    return 0, 0
