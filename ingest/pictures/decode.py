"""From a photo's file to an upright RGB picture."""

from __future__ import annotations

import errno
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ris.data.hashing import file_sha256
from ris.errors import ImageError
from ris.ingest.pictures.bands import is_opaque_bitmap, to_rgb
from ris.ingest.pictures.budget import check_memory
from ris.ingest.pictures.opening import open_picture
from ris.ingest.pictures.side import SIDEWAYS, TURNS

MAX_PIXELS = 128_000_000
"""Larger pictures are refused before they are decoded; they would need gigabytes."""
PHOTO_SIZE = 256
"""Pixels at which faces are given to an inverter."""
WORK_PIXELS = 50_000_000
"""Larger photos are worked on at half their size, to bound the memory."""
MIN_SIDE = 32
"""Pixels; a smaller picture shows no features."""


@dataclass(frozen=True)
class PhotoFile:
    """A photo's file as it was read: size in bytes, time of change, sha256 of the bytes."""

    path: Path
    size: int
    mtime_ns: int
    sha256: str

    @property
    def face_id(self) -> str:
        """Id of the photo's (first) face: 80 bits of the content hash."""
        return self.sha256[:20]


@dataclass(frozen=True)
class Photo:
    """A decoded photo.

    Attributes:
        picture: upright, 8-bit RGB; it may be smaller than the photo in the file.
        width: of the upright photo in the file, pixels.
        height: likewise.
    """

    picture: Image.Image
    width: int
    height: int

    @property
    def scale(self) -> float:
        """Pixels of the photo in the file for one of `picture`."""
        return max(self.width, self.height) / max(self.picture.size)


@dataclass(frozen=True)
class Square:
    """A photo's central square: `pixels` (S, S, 3) uint8, and the size of the whole photo."""

    pixels: np.ndarray
    width: int
    height: int


class _NoWarnings:
    """No warnings while any thread is within: Python's own way would leave them off, or on, where
    threads enter and leave crosswise."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._caught.__exit__(None, None, None)


_NO_WARNINGS = _NoWarnings()


def stat_photo(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in ns.

    Raises:
        ImageError: (stage ``read``) no such file.
    """
    try:
        status = os.stat(path)
    except OSError as e:
        raise ImageError("read", e.strerror or str(e)) from e
    return status.st_size, status.st_mtime_ns


def hash_photo(path: Path) -> PhotoFile:
    """Reads a file through for its content hash.

    Raises:
        ImageError: (stage ``read``) the file cannot be read or is empty.
    """
    size, mtime_ns = stat_photo(path)
    if size == 0:
        raise ImageError("read", "the file is empty")
    try:
        sha256 = file_sha256(path)
    except OSError as e:
        raise ImageError("read", e.strerror or str(e)) from e
    return PhotoFile(path, size, mtime_ns, sha256)


def decode(path: Path, least: int | None = None) -> Photo:
    """Decodes a photo: upright, 8-bit sRGB.

    The format is told from the file's bytes. Orientation and colour profile are applied;
    transparency is laid over white; 16-bit, CMYK, LAB, grey and palette pictures become RGB; of
    an animation the first frame is taken, of a TIFF the largest page. Other information beside
    the picture is passed over, whatever its state. A photo of more than `WORK_PIXELS` is decoded
    at a fraction of its size.

    Args:
        path: the file.
        least: pixels of the short side that are enough; larger ones are decoded at a fraction
            of their size where that saves time. None for all that there are.

    Raises:
        ImageError: (stage ``read``) it cannot be opened; (stage ``decode``) not a picture,
            damaged, too large or too small.
    """
    try:
        # Pillow has notes on odd but readable files
        with _NO_WARNINGS, path.open("rb") as file:
            return _decoded(file, least)
    except ImageError:
        raise
    except UnidentifiedImageError as e:
        raise ImageError("decode", "damaged: its header cannot be read") from e
    except Image.DecompressionBombError as e:
        raise ImageError("decode", f"over {MAX_PIXELS // 10**6} megapixels") from e
    except MemoryError as e:
        raise ImageError("decode", "not enough memory to decode it") from e
    except Exception as e:  # whatever the many readers raise on damaged files
        if isinstance(e, OSError) and e.errno in errno.errorcode:  # the system's, not a reader's
            raise ImageError("read", e.strerror or str(e)) from e
        reason = (str(e).splitlines() or [type(e).__name__])[0][:120]
        if "truncated" in reason.lower():  # with numbers of bytes, which each file has its own of
            reason = "the file ends within the picture"
        raise ImageError("decode", f"damaged: {reason}") from e


def decode_aligned(path: Path, size: int = PHOTO_SIZE) -> Square:
    """The central square of a photo, as `decode` reads it, `size` pixels wide.

    Raises:
        ImageError: see `decode`.
    """
    photo = decode(path, 2 * size)
    square = ImageOps.fit(photo.picture, (size, size), Image.Resampling.LANCZOS)
    return Square(np.asarray(square), photo.width, photo.height)


def _fraction(width: int, height: int, least: int | None) -> int:
    """By what power of two a photo may be reduced before it is worked on, at most 8."""
    fraction = 1
    while fraction < 8 and (
        width * height > WORK_PIXELS * fraction**2
        or (least is not None and min(width, height) >= 2 * fraction * least)
    ):
        fraction *= 2
    return fraction


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError("decode", f"{width}x{height} px is over {MAX_PIXELS // 10**6} megapixels")
    if min(width, height) < MIN_SIDE:
        raise ImageError("decode", f"{width}x{height} px is below {MIN_SIDE} px")


def _decoded(file: BinaryIO, least: int | None) -> Photo:
    opened = open_picture(file)
    image = opened.image
    width, height = image.size
    _check_size(width, height)
    fraction = _fraction(width, height, None)
    drafted = _fraction(width, height, least) if opened.kind == "JPEG" else 1
    check_memory(
        opened.kind, image.mode, image.size, max(fraction, drafted), drafted, opened.file_bytes
    )
    with image:
        picture = opened.load((-(-width // drafted), -(-height // drafted)))
    if opened.kind == "BMP" and is_opaque_bitmap(picture):
        picture = picture.convert("RGB")
    left = _fraction(*picture.size, None)
    picture = to_rgb(picture, opened.profile, left)
    if opened.orientation in TURNS:
        picture = picture.transpose(TURNS[opened.orientation])
    if opened.orientation in SIDEWAYS:
        width, height = height, width
    picture.info = {}
    return Photo(picture, width, height)
