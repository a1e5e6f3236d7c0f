"""From a photo to an upright RGB picture."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ris.data.durable import file_sha256
from ris.errors import ImageError
from ris.ingest.pictures.colour import is_opaque_bitmap, to_rgb
from ris.ingest.pictures.opening import open_picture
from ris.ingest.pictures.side import ORIENTATION, SIDEWAYS, TURNS

Photo: TypeAlias = "str | os.PathLike[str] | Image.Image | np.ndarray | bytes"
"""A photo as it may be given: a file's path, a picture of Pillow's, an array (H, W, 3) of uint8 RGB
or the bytes of an encoded file."""

MAX_PIXELS = 128_000_000
"""Larger pictures are refused before they are decoded; they would need gigabytes."""
PHOTO_SIZE = 256
"""Pixels at which faces are given to an inverter."""
WORK_PIXELS = 50_000_000
"""Larger photos are worked on at half their size, to bound the memory."""
ID_DIGITS = 20
"""Hexadecimal digits of the content hash in a face's id."""
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
        return self.sha256[:ID_DIGITS]


@dataclass(frozen=True)
class Decoded:
    """A decoded photo.

    Attributes:
        picture: upright, 8-bit RGB; it may be smaller than the photo that was given.
        width: of the upright photo that was given, pixels.
        height: likewise.
    """

    picture: Image.Image
    width: int
    height: int

    @property
    def scale(self) -> float:
        """Pixels of the photo that was given for one of `picture`."""
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
    status = _status(path)
    return status.st_size, status.st_mtime_ns


def _status(path: Path) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as e:
        raise ImageError("read", e.strerror or str(e)) from e
    except ValueError as e:  # a NUL in the name
        raise ImageError("read", str(e)) from e


def _check_regular(path: Path) -> None:
    """Refuses what is no file: to open a pipe is to wait for its other end."""
    mode = _status(path).st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise ImageError("read", f"{what}, no file")


def hash_photo(path: Path) -> PhotoFile:
    """Reads a file through for its content hash.

    Raises:
        ImageError: (stage ``read``) the file cannot be read or is empty.
    """
    _check_regular(path)
    size, mtime_ns = stat_photo(path)
    if size == 0:
        raise ImageError("read", "the file is empty")
    try:
        sha256 = file_sha256(path)
    except OSError as e:
        raise ImageError("read", e.strerror or str(e)) from e
    return PhotoFile(path, size, mtime_ns, sha256)


def photo_id(photo: Photo) -> str | None:
    """Id that the (first) face of a photo has in a store; None for pixels, which are of no file.

    Raises:
        ImageError: (stage ``read``) the file cannot be read or is empty.
    """
    if isinstance(photo, str | os.PathLike):
        return hash_photo(Path(photo)).face_id
    if isinstance(photo, bytes | bytearray | memoryview):
        return hashlib.sha256(photo).hexdigest()[:ID_DIGITS]
    return None


def name_of(photo: Photo) -> str:
    """What a message calls a photo: its file's path, where there is one."""
    if isinstance(photo, str | os.PathLike):
        return os.fspath(photo)
    if isinstance(photo, Image.Image):
        return str(getattr(photo, "filename", "") or "the picture")
    return "the array" if isinstance(photo, np.ndarray) else "the encoded photo"


def decode(photo: Photo, least: int | None = None) -> Decoded:
    """Decodes a photo: upright, 8-bit sRGB.

    The format is told from the encoded bytes. Orientation and colour profile are applied;
    transparency is laid over white; 16-bit, CMYK, LAB, grey and palette pictures become RGB; of
    an animation the first frame is taken, of a TIFF the largest page. Other information beside
    the picture is passed over, whatever its state. A photo of more than `WORK_PIXELS` is decoded
    at a fraction of its size. A picture of Pillow's gives its present frame, likewise upright and
    in sRGB by what it knows of its orientation and profile; it stays as it is.

    Args:
        photo: what is given.
        least: pixels of the short side that are enough; larger ones are decoded at a fraction
            of their size where that saves time. None for all that there are.

    Raises:
        ImageError: (stage ``read``) it cannot be opened; (stage ``decode``) not a picture,
            damaged, too large or too small.
    """
    try:
        with _NO_WARNINGS:  # Pillow has notes on odd but readable files
            if isinstance(photo, Image.Image):
                return _of_picture(photo)
            if isinstance(photo, np.ndarray):
                return _of_picture(_of_array(photo))
            with _opened(photo) as file:
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


def decode_aligned(photo: Photo, size: int = PHOTO_SIZE) -> Square:
    """The central square of a photo, as `decode` reads it, `size` pixels wide.

    Raises:
        ImageError: see `decode`.
    """
    decoded = decode(photo, 2 * size)
    square = ImageOps.fit(decoded.picture, (size, size), Image.Resampling.LANCZOS)
    return Square(np.asarray(square), decoded.width, decoded.height)


def _opened(photo: str | os.PathLike[str] | bytes) -> BinaryIO:
    """The file of a path, or of encoded bytes."""
    if isinstance(photo, bytes | bytearray | memoryview):
        if not len(photo):
            raise ImageError("read", "there are no bytes")
        return io.BytesIO(photo)
    if isinstance(photo, str | os.PathLike):
        path = Path(photo)
        _check_regular(path)
        return path.open("rb")
    raise ImageError(
        "read",
        "a photo is a path, a picture of Pillow's, an RGB array or encoded bytes, "
        f"not of type {type(photo).__name__}",
    )


def _of_array(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ImageError(
            "decode",
            "an array is RGB, uint8 and of shape (height, width, 3), "
            f"not {pixels.dtype} of shape {pixels.shape}",
        )
    _check_size(pixels.shape[1], pixels.shape[0])
    return Image.fromarray(np.ascontiguousarray(pixels))


def _of_picture(image: Image.Image) -> Decoded:
    _check_size(*image.size)
    image.load()
    given = image.convert("RGB") if image.format == "BMP" and is_opaque_bitmap(image) else image
    picture = to_rgb(given, image.info.get("icc_profile"), _fraction(*image.size, None))
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # broken, so it counts as absent
        orientation = None
    return _upright(image.copy() if picture is image else picture, image.size, orientation)


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


def _decoded(file: BinaryIO, least: int | None) -> Decoded:
    opened = open_picture(file)
    image = opened.image
    width, height = image.size
    _check_size(width, height)
    fraction = _fraction(width, height, None)
    drafted = _fraction(width, height, least) if opened.kind == "JPEG" else 1
    with image:
        picture = opened.load(max(fraction, drafted), drafted)
    if opened.kind == "BMP" and is_opaque_bitmap(picture):
        picture = picture.convert("RGB")
    left = _fraction(*picture.size, None)
    picture = to_rgb(picture, opened.profile, left)
    return _upright(picture, (width, height), opened.orientation)


def _upright(picture: Image.Image, size: tuple[int, int], orientation: object) -> Decoded:
    """A picture turned as an orientation says, of a photo of that size before."""
    width, height = size
    if orientation in TURNS:
        picture = picture.transpose(TURNS[orientation])
    if orientation in SIDEWAYS:
        width, height = height, width
    picture.info = {}
    return Decoded(picture, width, height)
