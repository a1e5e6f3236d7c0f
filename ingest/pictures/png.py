"""PNG files: the picture alone (PNG specification, section 5)."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from ris.ingest.pictures.side import EXIF_BYTES, PROFILE_BYTES, Bare, Span, orientation, spliced

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PICTURE = {b"IHDR", b"PLTE", b"tRNS"}
_END = b"\0\0\0\0IEND\xae\x42\x60\x82"
_XMP = b"XML:com.adobe.xmp"
_RAW_EXIF = b"Raw profile type exif"


def bare_png(file: BinaryIO) -> Bare:
    """A PNG without texts, profile, times and later frames of an animation."""
    kept: list[bytes | Span] = [_SIGNATURE]
    first = last = 0
    exif = xmp = raw = profile = None
    at, end = len(_SIGNATURE), file.seek(0, 2)
    while at + 8 <= end:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        body, at = Span(at + 8, at + 8 + length), at + 12 + length
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            if last and last != body.start - 8:
                break  # picture data must stand in one piece; what follows is not read either
            first, last = first or body.start - 8, at
        elif kind in _PICTURE and not first:
            kept.append(Span(body.start - 8, at))
        elif kind == b"eXIf":
            exif = _sound(file, kind, body, EXIF_BYTES)
        elif kind == b"iCCP" and profile is None:
            profile = _profile(_sound(file, kind, body, PROFILE_BYTES))
        elif kind in (b"iTXt", b"zTXt", b"tEXt") and body.end <= end:
            file.seek(body.start)
            key = file.read(min(length, 80)).split(b"\0", 1)[0]
            if key in (_XMP, _RAW_EXIF):
                text = _text(kind, _sound(file, kind, body, 2 * EXIF_BYTES))
                xmp, raw = (text, raw) if key == _XMP else (xmp, text)
    if first:
        kept.append(Span(first, min(last, end)))
        if last <= end:
            kept.append(_END)
    if exif is None and raw is not None:
        exif = _raw_exif(raw)
    return Bare(spliced(file, kept), orientation(exif, xmp), profile)


def _sound(file: BinaryIO, kind: bytes, body: Span, most: int) -> bytes | None:
    """A chunk's bytes, unless they are too many, cut off or fail their checksum."""
    if len(body) > most:
        return None
    file.seek(body.start)
    data = file.read(len(body))
    checksum = file.read(4)
    sound = len(checksum) == 4 and zlib.crc32(kind + data) == int.from_bytes(checksum, "big")
    return data if sound else None


def _profile(chunk: bytes | None) -> bytes | None:
    _, zero, packed = (chunk or b"").partition(b"\0")
    return _unpacked(packed[1:], PROFILE_BYTES) if zero and packed[:1] == b"\0" else None


def _text(kind: bytes, chunk: bytes | None) -> bytes | None:
    """The text of a chunk of any of the three kinds."""
    if chunk is None:
        return None
    _, _, text = chunk.partition(b"\0")
    if kind == b"tEXt":
        return text
    if kind == b"zTXt":
        return _unpacked(text[1:], 2 * EXIF_BYTES)
    packed, fields = text[:1] == b"\1", text[2:].split(b"\0", 2)
    if len(fields) < 3:
        return None
    return _unpacked(fields[2], 2 * EXIF_BYTES) if packed else fields[2]


def _unpacked(packed: bytes, most: int) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, most)
    except zlib.error:
        return None
    return data if unpacker.eof else None


def _raw_exif(text: bytes) -> bytes | None:
    """EXIF as ImageMagick writes it into a text: three lines, then hexadecimal digits."""
    try:
        return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
    except ValueError:
        return None
