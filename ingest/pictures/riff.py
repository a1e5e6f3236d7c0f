"""WebP files: the picture alone (RFC 9649, section 2)."""

from __future__ import annotations

import struct
from typing import BinaryIO

from ris.ingest.pictures.side import EXIF_BYTES, PROFILE_BYTES, Bare, orientation
from ris.ingest.pictures.splice import Span, spliced

_PICTURE = {b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}
_ICC, _EXIF, _XMP = 0x20, 0x08, 0x04
"""Flags in the first byte of ``VP8X``."""
_MOST = {b"ICCP": PROFILE_BYTES, b"EXIF": EXIF_BYTES, b"XMP ": EXIF_BYTES}


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
