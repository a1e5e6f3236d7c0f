"""Opens a picture of any format that is read, each by its own decoder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, ImageFile, features

from ris.errors import ImageError
from ris.ingest.pictures.budget import PHOTO_BYTES
from ris.ingest.pictures.formats import HEAD_BYTES, UNREAD, picture_format
from ris.ingest.pictures.isobmff import bare_heif
from ris.ingest.pictures.jpeg import bare_jpeg, endings
from ris.ingest.pictures.png import bare_png
from ris.ingest.pictures.riff import bare_webp
from ris.ingest.pictures.side import Bare, orientation
from ris.ingest.pictures.tiff import bare_tiff, compressed

# what Pillow has to say of damaged files would be printed beside the reason of the failure
logging.getLogger("PIL").addHandler(logging.NullHandler())

_BARE: dict[str, Callable[[BinaryIO], Bare]] = {
    "JPEG": bare_jpeg,
    "PNG": bare_png,
    "WEBP": bare_webp,
    "TIFF": bare_tiff,
    "AVIF": bare_heif,
    "HEIC": bare_heif,
}
"""How a format's picture is separated from what lies beside it; others have little beside it."""


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

    def load(self, size: tuple[int, int]) -> Image.Image:
        """The pixels, of a JPEG at a fraction of its size that is at least `size`.

        Raises:
            whatever decoders raise on damaged files.
        """
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
