"""Which picture format a file has, told from its first bytes and never from its name, and why a
file is passed over: it is no picture, or one that RIS made."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from ris.errors import ImageError
from ris.ingest.sources.folders import DRAWN, EDITED, NOT_A_PICTURE, Found

HEAD_BYTES = 256
"""So many first bytes of a file tell its format."""

RAW = "camera raw"
UNREAD = ("JPEG XL", "JPEG XR", "PSD", "OpenEXR", "Radiance", "QOI", RAW)
"""Formats that are recognised, so that such a file counts as a failure, but not read."""

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"II*\0\x10\0\0\0CR", RAW),
    (b"IIRO", RAW),
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"IIU\0", RAW),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"FOVb", RAW),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"II\xbc", "JPEG XR"),
    (b"8BPS", "PSD"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance"),
    (b"qoif", "QOI"),
)
_PNM = re.compile(rb"P(?:[1-6](?:\s+|#[^\r\n]*[\r\n])+\d+(?:\s|#)|f\s+\d+\s)")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF = {b"avif", b"avis"}
_HEIF = {b"mif1", b"msf1", b"mif2"}
PICTURE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
        *(".heic", ".heif", ".avif", ".mpo", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm"),
    )
)
"""A file of such a name that is no picture is a damaged one."""
NOTE = "Synthetic: this face was edited by RIS (Retrieve in Style), it is not a photograph."
"""Stands in every edited picture that is marked, in all formats as plain bytes."""
DRAWN_NOTE = "Drawn by RIS (Retrieve in Style): a sheet or figure, not a photograph."
"""Stands in contact sheets, pictures of catalogues and figures."""
END_BYTES = 1 << 16
"""So many bytes at a file's beginning and end hold its marks."""


def picture_format(head: bytes) -> str | None:
    """The picture format of a file that begins with `head` (`HEAD_BYTES` or all there is).

    One of JPEG, PNG, WEBP, BMP, TIFF, GIF, PPM, JPEG2000, AVIF, HEIC (which needs the extra
    ``heif``) and those of `UNREAD`; None for what is no picture. Whether the rest of the file is
    sound shows only when it is decoded.
    """
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head.startswith(b"P") and _PNM.match(head):
        return "PPM"
    if head[4:8] == b"ftyp":
        return _iso_format(head)
    return None


def file_format(path: Path) -> str | None:
    """`picture_format` of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        return picture_format(file.read(HEAD_BYTES))


def _iso_format(head: bytes) -> str | None:
    """What the brands of a file in the ISO base media format name: most are films, not pictures."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    major = head[8:12]
    if major == b"crx ":
        return RAW
    if major not in _HEIC | _AVIF | _HEIF:
        return None
    brands = {major} | {head[i : i + 4] for i in range(16, end - 3, 4)}
    return "AVIF" if brands & _AVIF and not brands & _HEIC else "HEIC"


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
        raise ImageError("read", "a folder: name it itself to search it")
    if not stat.S_ISREG(status.st_mode):  # opening a pipe waits for its other end
        raise ImageError("read", "a pipe, socket or device, no file")
    with path.open("rb", buffering=0) as file:
        head = file.read(END_BYTES)
        if status.st_size <= END_BYTES or not head.startswith(b"RIFF"):
            return head, b""
        file.seek(-END_BYTES, os.SEEK_END)
        return head, file.read(END_BYTES)


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
