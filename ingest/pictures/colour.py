"""Pictures of any mode and profile to 8-bit sRGB, reduced on the way, band by band to bound the
memory. Profiles are applied by littleCMS."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image, ImageCms

CLOSE = 2
"""Profiles that move no colour by more, of 255, are sRGB: its many copies differ by rounding."""
KEPT = 32
"""Conversions that are kept for the next photos with the same profile."""

_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}
"""Modes of pictures by colour space of their profile."""
BAND_PIXELS = 1 << 20
"""So many pixels are converted at once; some conversions take 40 bytes for each."""


@dataclass(frozen=True)
class Conversion:
    """From colours of a profile to sRGB.

    Attributes:
        mode: mode of the pictures that it takes.
        apply: a picture of that mode to one in RGB.
    """

    mode: str
    apply: Callable[[Image.Image], Image.Image]


def conversion(profile: bytes | None, mode: str) -> Conversion | None:
    """How pictures of a mode (``RGB``, ``L``, ``CMYK`` or ``LAB``) with a profile become sRGB.

    None where nothing is to be done: no profile, a broken one, one for another kind of picture, or
    sRGB itself. Threads may share what it gives. LAB needs no profile.
    """
    if profile is None and mode != "LAB":
        return None
    return _CONVERSIONS.get(profile or b"", mode)


class _Conversions:
    """The conversions used last, by profile and mode."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[tuple[bytes, str], Conversion | None] = OrderedDict()

    def get(self, profile: bytes, mode: str) -> Conversion | None:
        key = profile, mode
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            made = _made(profile, mode)
            if len(profile) <= 4 << 20:
                self._kept[key] = made
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return made


_CONVERSIONS = _Conversions()


def _made(profile: bytes, mode: str) -> Conversion | None:
    if mode == "LAB":
        return _to_srgb(ImageCms.createProfile("LAB"), mode)
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _SPACES.get(opened.profile.xcolor_space) != mode:
            return None
        made = _to_srgb(opened, mode)
        return None if _is_srgb(made) else made
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, MemoryError):
        return None  # it cannot be read, so it counts as absent


def _to_srgb(profile: Any, mode: str) -> Conversion:
    """Relative colorimetric with black point compensation, as photo editors convert."""
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )

    def apply(picture: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(picture, transform)
        assert converted is not None
        return converted

    return Conversion(mode, apply)


def _is_srgb(made: Conversion) -> bool:
    """Whether a conversion leaves a grid of colours, and all greys, as they are."""
    if made.mode not in ("RGB", "L"):
        return False
    steps = np.linspace(0, 255, 18).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    greys = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
    colours = np.concatenate([grid, greys])[None] if made.mode == "RGB" else greys[None]
    given = colours if made.mode == "RGB" else colours[..., 0]
    converted = np.asarray(made.apply(Image.fromarray(given)))
    return int(np.abs(converted.astype(int) - colours).max()) <= CLOSE


def to_rgb(image: Image.Image, profile: bytes | None = None, fraction: int = 1) -> Image.Image:
    """A loaded picture as 8-bit sRGB, at a fraction of its size.

    Transparency is laid over white; 16-bit, float, CMYK, LAB, grey and palette pictures are
    converted. `image` itself is returned where nothing is to be done.

    Args:
        image: a picture of any mode.
        profile: its ICC profile.
        fraction: how many pixels of `image`, in each direction, become one; a power of two.
    """
    convert = _Converter(image, profile)
    width, height = image.size
    if fraction == 1 and convert.nothing:
        return image
    if width * height <= BAND_PIXELS:
        whole = convert(image)
        return whole if fraction == 1 else whole.reduce(fraction)
    result = Image.new("RGB", (-(-width // fraction), -(-height // fraction)))
    for top, band in _bands(image, fraction):
        rgb = convert(band)
        result.paste(rgb if fraction == 1 else rgb.reduce(fraction), (0, top // fraction))
    return result


def is_opaque_bitmap(image: Image.Image) -> bool:
    """Whether a BMP's alpha is zero throughout: then its writer knew of none."""
    return image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)


def _bands(image: Image.Image, fraction: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Strips over the whole width and their first rows, which are multiples of `fraction`."""
    width, height = image.size
    rows = max(BAND_PIXELS // width // fraction, 1) * fraction
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(top + rows, height)))


class _Converter:
    """From strips of a picture to strips of 8-bit sRGB."""

    def __init__(self, image: Image.Image, profile: bytes | None) -> None:
        mode = image.mode
        self._deep = mode.startswith("I") or mode == "F"
        self._clear = mode != "LAB" and (
            mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
        )
        if self._deep:
            self._top = _top(image)
        space = {"CMYK": "CMYK", "LAB": "LAB"}.get(mode, "RGB")
        if self._deep or mode in ("1", "L", "LA", "La"):
            space = "L"
        self._colours: Conversion | None = conversion(profile, space)
        self.nothing = mode == "RGB" and not self._clear and self._colours is None

    def __call__(self, band: Image.Image) -> Image.Image:
        if self._deep:
            band = _reduce_depth(band, self._top)
        elif self._clear:
            rgba = band.convert("RGBA")
            result = Image.new("RGB", rgba.size, "white")
            result.paste(self._in_srgb(rgba), mask=rgba.getchannel("A"))
            return result
        return self._in_srgb(band)

    def _in_srgb(self, band: Image.Image) -> Image.Image:
        if self._colours is None:
            return band.convert("RGB")
        return self._colours.apply(band.convert(self._colours.mode))


def _top(image: Image.Image) -> float:
    """The value that is white in a grey picture of 16 or more bits, or of floats."""
    found = [float(np.asarray(band).max(initial=0)) for _, band in _bands(image)]
    most = float("nan") if any(np.isnan(found)) else max([0.0, *found])
    top = 65535.0 if image.mode.startswith("I") else 1.0
    if most > top or (image.mode == "I" and most <= 255):
        top = 255.0 if most <= 255 else most
    return top


def _reduce_depth(band: Image.Image, top: float) -> Image.Image:
    """8-bit grey of deeper grey."""
    values = np.asarray(band, dtype=np.float64)
    grey = np.clip(np.nan_to_num(values) / top * 255.0, 0, 255).round().astype(np.uint8)
    return Image.fromarray(grey)
