"""JPEG files: the picture alone, and whether one that ends early is whole (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from ris.ingest.pictures.side import EXIF_BYTES, PROFILE_BYTES, Bare, Span, orientation, spliced

_SOS, _EOI, _DNL, _COM = 0xDA, 0xD9, 0xDC, 0xFE
_ALONE = {0x00, 0x01, *range(0xD0, 0xD9)}
"""Markers without a segment: escapes, TEM, restarts and the start of the image."""
_APP = range(0xE0, 0xF0)
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
_BLOCK = 1 << 14


def bare_jpeg(file: BinaryIO) -> Bare:
    """A JPEG without comments and applications' segments, but for those that say how its colours
    are coded (JFIF, Adobe)."""
    kept: list[bytes | Span] = [b"\xff\xd8"]
    exif, xmp = b"", None
    profile: dict[int, bytes] = {}
    parts = set()
    rest = None
    for marker, start, data in _segments(file):
        if marker == _SOS:
            rest = start
            break
        if (marker not in _APP and marker != _COM) or _says_colours(marker, data):
            kept.append(b"\xff%c%s%s" % (marker, (len(data) + 2).to_bytes(2, "big"), data))
        elif marker == 0xE1 and data.startswith(_EXIF) and len(exif) < EXIF_BYTES:
            exif += data[len(_EXIF) if exif else 0 :]
        elif marker == 0xE1 and data.startswith(_XMP):
            xmp = data[len(_XMP) :]
        elif marker == 0xE2 and data.startswith(_ICC) and len(data) >= 14:
            profile[data[12]] = data[14:]
            parts.add(data[13])
    if rest is not None:
        kept.append(Span(rest, file.seek(0, 2)))
    whole = len(parts) == 1 and sorted(profile) == list(range(1, max(parts) + 1))
    joined = b"".join(profile[i] for i in sorted(profile)) if whole else None
    if joined is not None and len(joined) > PROFILE_BYTES:
        joined = None
    return Bare(spliced(file, kept), orientation(exif, xmp), joined)


def endings(file: BinaryIO) -> list[BinaryIO]:
    """A JPEG without its end marker, ended in several ways; none where a scan is missing.

    The picture is whole if all of them give the same pixels: then nothing of it lay in what is
    missing. After its last scan whatever follows changes nothing, while within a scan the bits
    that are filled in (none, 01, 10, 1, or a restart with more) draw something else each.
    """
    end = file.seek(0, 2)
    file.seek(0)
    data = file.read()
    if not _all_scans(data):
        return []
    cut = end - 1 if data.endswith(b"\xff") else end  # half of a marker
    fills = [b"", b"\x55" * 64, b"\xaa" * 64, b"\xff\0" * 64]
    if b"\xff\xdd" in data:
        fills += [bytes([0xFF, restart]) + b"\x55" * 64 for restart in range(0xD0, 0xD8)]
    return [spliced(file, [Span(0, cut), fill + b"\xff\xd9"]) for fill in fills]


def _says_colours(marker: int, data: bytes) -> bool:
    """Whether a segment is one of the two that libjpeg heeds, and long enough for it."""
    return (marker == 0xE0 and data.startswith(b"JFIF\0") and len(data) >= 14) or (
        marker == 0xEE and data.startswith(b"Adobe") and len(data) >= 12
    )


def _segments(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Marker, where it stands and what its segment holds, up to the first scan."""
    window, base = b"", 0

    def read(start: int, size: int) -> bytes:
        nonlocal window, base
        if start < base or start + size > base + len(window):
            file.seek(start)
            window, base = file.read(max(size, _BLOCK)), start
        return window[start - base : start - base + size]

    at = 2
    while head := read(at, 4):
        if head[0] != 0xFF:  # junk, which decoders skip too
            skip = read(at, _BLOCK).find(b"\xff")
            at += skip if skip > 0 else _BLOCK
        elif len(head) < 4 or head[1] == _EOI:
            return
        elif head[1] == 0xFF:
            at += 1
        elif head[1] in _ALONE:
            at += 2
        else:
            size = max(int.from_bytes(head[2:], "big"), 2)
            yield head[1], at, read(at + 4, size - 2)
            at += 2 + size


def _all_scans(data: bytes) -> bool:
    """Whether the scans that there are give every coefficient of every component all its bits."""
    missing: dict[int, list[int]] = {}
    progressive = False
    for match in re.finditer(rb"\xff([\xc0-\xcf\xda])", data):
        marker, at = match[1][0], match.end()
        body = data[at + 2 : at + int.from_bytes(data[at : at + 2], "big")]
        if marker in _FRAMES and not missing and len(body) >= 6:
            progressive = marker in _PROGRESSIVE
            missing = {body[6 + 3 * i]: [99] * 64 for i in range(body[5]) if 6 + 3 * i < len(body)}
        elif marker == _SOS and body and len(body) >= 4 + 2 * body[0]:
            components = [body[1 + 2 * i] for i in range(body[0])]
            first, last, bits = body[1 + 2 * body[0] : 4 + 2 * body[0]]
            if not progressive:
                first, last, bits = 0, 63, 0
            for component in components:
                for k in range(first, min(last, 63) + 1):
                    if component in missing:
                        missing[component][k] = bits & 15
    return bool(missing) and not any(any(bits) for bits in missing.values())
