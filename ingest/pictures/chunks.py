"""WebP, AVIF and HEIC files: the picture alone (RFC 9649, section 2; ISO/IEC 23008-12, section 6).

Pictures of the latter two are turned by properties of their own (``irot``, ``imir``), which
decoders apply or report; EXIF repeats that and does not count. So EXIF and XMP are given another
type, and their references to the picture too, by which decoders pass them over.
"""

from __future__ import annotations

import io
import re
import struct
from typing import BinaryIO

from ris.ingest.pictures.side import EXIF_BYTES, PROFILE_BYTES, Bare, Span, orientation, spliced

_PICTURE = {b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}
_ICC, _EXIF, _XMP = 0x20, 0x08, 0x04
"""Flags in the first byte of ``VP8X``."""
_MOST = {b"ICCP": PROFILE_BYTES, b"EXIF": EXIF_BYTES, b"XMP ": EXIF_BYTES}
_ITEM = re.compile(rb"(infe(?:\x02.{3}.{4}|\x03.{3}.{6}))(?:Exif|mime)", re.DOTALL)
_DESCRIBES = re.compile(rb"cdsc")


def bare_webp(file: BinaryIO) -> Bare:
    """A WebP without profile, EXIF, XMP, unknown chunks and all frames but the first."""
    kept: list[bytes | Span] = []
    side: dict[bytes, bytes] = {}
    file.seek(4)
    stated = 8 + int.from_bytes(file.read(4), "little")
    at, end = 12, min(file.seek(0, 2), stated)
    frames = 0
    while at + 8 <= end:
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8))
        body = Span(at + 8, at + 8 + length)
        at = body.end + length % 2
        if kind == b"VP8X":
            data = bytearray(file.read(length) if length < 1024 else b"")
            if data:
                data[0] &= ~(_ICC | _EXIF | _XMP)
            kept.append(kind + struct.pack("<I", length) + bytes(data))
        elif kind in _PICTURE and not (kind == b"ANMF" and frames):
            frames += kind == b"ANMF"
            kept.append(Span(body.start - 8, min(at, end)))
        elif kind in _MOST and length <= _MOST[kind]:
            side.setdefault(kind, file.read(length))
    size = 4 + sum(map(len, kept))
    head = b"RIFF" + struct.pack("<I", size & 0xFFFFFFFF) + b"WEBP"
    turned = orientation(side.get(b"EXIF"), side.get(b"XMP "))
    return Bare(spliced(file, [head, *kept]), turned, side.get(b"ICCP"))


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
