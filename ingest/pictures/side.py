"""A picture's container without the information beside the picture.

Comments, previews, EXIF, XMP and profiles come from many programs and are often broken; a decoder
that stumbles over them would lose a sound picture. So decoders are given the picture alone, in a
file that is put together from parts of the one on disk without copying the large ones, and of the
rest only what changes how it looks is read here: orientation and colour profile. What of them
cannot be read counts as absent.
"""

from __future__ import annotations

import io
import re
import struct
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO

from PIL import Image

from ris.ingest.pictures.ifd import Directory

SMALL = 4 << 20
"""Bytes up to which the parts are read at once, which is quicker."""
PROFILE_BYTES = 16 << 20
"""A colour profile that is larger counts as absent; those of presses take up to 4 MB."""
EXIF_BYTES = 8 << 20
"""So much of EXIF or XMP is looked at."""
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture of an orientation upright."""
SIDEWAYS = (5, 6, 7, 8)
"""Orientations of pictures that lie on a side."""
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_EXIF_HEADS = re.compile(rb"^(?:Exif\x00\x00){1,2}")


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `end` of a file."""

    start: int
    end: int

    def __len__(self) -> int:
        return max(self.end - self.start, 0)


def spliced(file: BinaryIO, parts: Sequence[bytes | Span]) -> BinaryIO:
    """A file of `parts` of another one, one after the other; bytes stand for themselves."""
    if sum(map(len, parts)) > SMALL:
        return io.BufferedReader(_Spliced(file, parts))
    return io.BytesIO(b"".join([p if isinstance(p, bytes) else _read(file, p) for p in parts]))


def _read(file: BinaryIO, span: Span) -> bytes:
    file.seek(span.start)
    return file.read(len(span))


class _Spliced(io.RawIOBase):
    def __init__(self, file: BinaryIO, parts: Sequence[bytes | Span]) -> None:
        self._file = file
        self._parts = [part for part in parts if len(part)]
        self._starts = [0, *accumulate(map(len, self._parts))]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise ValueError("a position before the file's beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._next(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        found = []
        while data := self._next(self._starts[-1] - self._at):
            found.append(data)
        return b"".join(found)

    def _next(self, size: int) -> bytes:
        """At most `size` bytes, from one part; none at the end."""
        if size <= 0 or self._at >= self._starts[-1]:
            return b""
        number = bisect_right(self._starts, self._at) - 1
        part, skip = self._parts[number], self._at - self._starts[number]
        size = min(size, len(part) - skip)
        if isinstance(part, bytes):
            data = part[skip : skip + size]
        else:
            self._file.seek(part.start + skip)
            data = self._file.read(size)
        self._at += len(data)
        return data


@dataclass(frozen=True)
class Bare:
    """A picture without what lies beside it.

    Attributes:
        file: the container with the picture's data alone, for a decoder to read.
        orientation: as EXIF counts, 1 to 8; 1 where none is given or it cannot be read.
        profile: the ICC profile as it is in the file, if any.
    """

    file: BinaryIO
    orientation: int = 1
    profile: bytes | None = None


def orientation(exif: bytes | None, xmp: bytes | None = None) -> int:
    """The orientation that EXIF gives, or XMP where EXIF has none."""
    found = exif_orientation(exif) if exif else None
    if found is None and xmp:
        match = _XMP_ORIENTATION.search(xmp)
        found = int(match[1]) if match else None
    return found if found is not None and 1 <= found <= 8 else 1


def exif_orientation(exif: bytes) -> int | None:
    """The orientation in a block of EXIF, also one that is no orientation; None without any."""
    data = _EXIF_HEADS.sub(b"", exif)
    try:
        return Directory.first(io.BytesIO(data)).number(ORIENTATION)
    except (ValueError, struct.error):
        return None
