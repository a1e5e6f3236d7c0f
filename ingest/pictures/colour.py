"""Colours of a picture with an ICC profile, brought to sRGB by littleCMS."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable
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
