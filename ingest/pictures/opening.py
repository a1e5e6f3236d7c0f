"""Opens a picture of any format that is read, each by its own decoder, within a bound of memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, ImageFile, features

from ris.errors import ImageError
from ris.ingest.pictures.chunks import bare_heif, bare_webp
from ris.ingest.pictures.colour import BAND_PIXELS
from ris.ingest.pictures.formats import HEAD_BYTES, UNREAD, picture_format
from ris.ingest.pictures.jpeg import bare_jpeg, endings
from ris.ingest.pictures.png import bare_png
from ris.ingest.pictures.side import Bare, orientation
from ris.ingest.pictures.tiff import bare_tiff, compressed

# what Pillow has to say of damaged files would be printed beside the reason of the failure
logging.getLogger("PIL").addHandler(logging.NullHandler())

PHOTO_BYTES = 1 << 30
"""Memory in which a photo must be decoded and made ready, bytes; others are refused before."""

_KEPT = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes that Pillow keeps for a pixel, by mode; 4 in others."""
_CODED = {"1": 1, "L": 1, "P": 1, "LA": 2, "PA": 2, "RGB": 3, "LAB": 3, "YCbCr": 3} | {
    mode: 2 for mode in _KEPT if mode.startswith("I;16")
}
"""Bytes of a pixel's values, by mode; 4 in others."""
_DECODERS = {
    "JPEG": 2.0,  # the coefficients of a progressive one
    "PNG": 0.1,
    "GIF": 0.1,
    "BMP": 0.1,
    "PPM": 2.1,  # depths that Pillow decodes in Python
    "TIFF": 1.1,  # a page in one strip
    "AVIF": 5.0,
    "HEIC": 4.0,
    "JPEG2000": 5.5,
}
"""Bytes that the decoder itself needs for each of those."""
_WEBP = 12.5
"""Bytes for a pixel that WebP's decoder needs, whatever the mode: three canvases."""
_FILES = {"WEBP": 2, "AVIF": 5, "HEIC": 5, "JPEG2000": 1, "TIFF": 1}
"""How often the file itself is held."""
_BAND_BYTES = 48
"""For each pixel of a band while it is converted."""
_SLACK = 16 << 20
"""For what does not grow with the picture."""
_BARE: dict[str, Callable[[BinaryIO], Bare]] = {
    "JPEG": bare_jpeg,
    "PNG": bare_png,
    "WEBP": bare_webp,
    "TIFF": bare_tiff,
    "AVIF": bare_heif,
    "HEIC": bare_heif,
}
"""How a format's picture is separated from what lies beside it; others have little beside it."""


def needed_bytes(
    kind: str, mode: str, size: tuple[int, int], fraction: int, drafted: int, file_bytes: int
) -> float:
    """Memory that a photo takes at most, first while it is decoded, then while it is converted.

    Args:
        kind: its format.
        mode: the mode in which Pillow decodes it.
        size: width and height in the file.
        fraction: to what part of that it is reduced in the end.
        drafted: to what part of that its decoder reduces it.
        file_bytes: of the file, where its decoder holds it as a whole.
    """
    pixels = size[0] * size[1]
    kept = pixels / drafted**2 * _KEPT.get(mode, 4)
    each = _WEBP if kind == "WEBP" else _CODED.get(mode, 4) * _DECODERS.get(kind, 0)
    if kind == "TIFF" and not file_bytes:
        each = 0  # not compressed, so it is read as it is
    decoding = pixels * each + _FILES.get(kind, 0) * file_bytes
    converting = pixels / fraction**2 * 4 + BAND_PIXELS * _BAND_BYTES
    return kept + max(decoding, converting) + _SLACK


def check_memory(
    kind: str, mode: str, size: tuple[int, int], fraction: int, drafted: int, file_bytes: int
) -> None:
    """Refuses a photo that may need more than `PHOTO_BYTES`; arguments as for `needed_bytes`.

    Raises:
        ImageError: it does.
    """
    if needed_bytes(kind, mode, size, fraction, drafted, file_bytes) > PHOTO_BYTES:
        raise ImageError(
            "decode",
            f"{size[0]}x{size[1]} px of {kind} need over {PHOTO_BYTES >> 20} MB of memory: "
            "reduce it or save it as JPEG",
        )


@dataclass
class Opened:
    """A picture whose header is read.

    Attributes:
        image: not yet loaded.
        kind: its format.
        orientation: as EXIF counts, 1 to 8.
        profile: its ICC profile, if any.
        file: what `image` is read from.
        file_bytes: its size, where its decoder holds it as a whole; otherwise 0.
    """

    image: ImageFile.ImageFile
    kind: str
    orientation: int
    profile: bytes | None
    file: BinaryIO
    file_bytes: int

    def load(self, fraction: int, drafted: int) -> Image.Image:
        """The pixels.

        Args:
            fraction: to what part of the picture's width and height it is reduced in the end.
            drafted: to what part its decoder reduces it at least, which that of JPEG can.

        Raises:
            ImageError: that may take more than `PHOTO_BYTES`.
            whatever decoders raise on damaged files.
        """
        width, height = self.image.size
        check_memory(
            self.kind, self.image.mode, (width, height), fraction, drafted, self.file_bytes
        )
        size = -(-width // drafted), -(-height // drafted)
        try:
            return _loaded(self.image, size)
        except OSError as e:  # `ris.ingest.pictures.decode` words it
            if self.kind != "JPEG" or "truncated" not in str(e):
                raise
            whole = _unended(self.file, size)
            if whole is None:
                raise
            return whole


def open_picture(file: BinaryIO) -> Opened:
    """Reads a picture's header.

    Raises:
        ImageError: not a picture, or in a format that is not read.
        whatever decoders raise on damaged files.
    """
    kind = picture_format(file.read(HEAD_BYTES))
    if kind is None:
        raise ImageError("decode", "not a picture in a known format")
    if kind in UNREAD:
        raise ImageError("decode", f"{kind} is not read: save it as JPEG or PNG")
    bare = _BARE.get(kind, Bare)(file)
    size = bare.file.seek(0, 2)
    bare.file.seek(0)
    if size > PHOTO_BYTES and kind in ("WEBP", "AVIF", "HEIC"):  # read before sizes are known
        raise ImageError("decode", f"a file of {size >> 20} MB is too large for {kind}")
    image = _heic(bare.file) if kind == "HEIC" else _pillow(bare.file, kind)
    turned, profile = bare.orientation, bare.profile
    if kind in ("AVIF", "HEIC"):
        turned = orientation(image.info.get("exif"))
        profile = image.info.get("icc_profile")
    if kind == "TIFF" and not compressed(bare):
        size = 0
    return Opened(image, kind, turned, profile, bare.file, size)


def _pillow(file: BinaryIO, kind: str) -> ImageFile.ImageFile:
    if kind in ("WEBP", "AVIF", "JPEG2000"):
        known = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}[kind]
        if not features.check(known):
            raise ImageError("decode", f"{kind} needs a newer Pillow: pip install -U pillow")
    return Image.open(file, formats=[kind])


def _heic(file: BinaryIO) -> ImageFile.ImageFile:
    try:
        from pi_heif import HeifImageFile
    except ImportError as e:
        raise ImageError(
            "decode", "HEIC needs one more package: pip install 'ris-faces[heif]'"
        ) from e
    image: ImageFile.ImageFile = HeifImageFile(file)
    return image


def _loaded(image: ImageFile.ImageFile, size: tuple[int, int]) -> Image.Image:
    if image.size != size:
        image.draft("RGB", size)
    image.load()
    return image


def _unended(file: BinaryIO, size: tuple[int, int]) -> Image.Image | None:
    """A JPEG without its end marker, if no pixel lay in what is missing."""
    first = None
    for ended in endings(file):
        image = _loaded(_pillow(ended, "JPEG"), size)
        if first is None:
            first = image
        elif image.tobytes() != first.tobytes():
            return None
    return first
