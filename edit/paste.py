"""An edited face crop back in the photo that it was cut out of."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter

from ris.ingest.alignment.face_square import crop_matrix, side, whole

FEATHER = 0.08
"""Width of the fading border, in sides of the crop."""
CHANGE = (0.04, 0.14)
"""Change, on the scale of [-1, 1] pixels, at which the edit begins to show and shows fully."""
LEAST = 0.35
"""Change below this share of the greatest one does not show: an edit of the mouth moves the whole
picture a little."""
SPREAD = 0.015
"""Radius by which the changed region grows and softens, in sides of the crop."""


def border_mask(size: int, feather: float = FEATHER) -> np.ndarray:
    """(size, size) float32: 1 inside, falling smoothly to 0 at the crop's border."""
    at = (np.arange(size, dtype=np.float32) + 0.5) / size
    inward = np.clip(np.minimum(at, 1 - at) / feather, 0, 1)
    ramp = inward * inward * (3 - 2 * inward)
    mask: np.ndarray = np.minimum(ramp[:, None], ramp[None])
    return mask


def change_mask(before: torch.Tensor, after: torch.Tensor) -> np.ndarray:
    """(S, S) float32 in [0, 1]: where an edit changed the picture, grown and softened.

    Args:
        before: (3, S, S) the face as the generator draws it, in [-1, 1].
        after: likewise, edited.
    """
    size = before.shape[-1]
    radius = max(1, round(SPREAD * size))
    change = _blurred((after - before).abs().mean(0).numpy(), radius)
    low = max(CHANGE[0], LEAST * float(change.max()))
    strength = np.clip((change - low) / (CHANGE[1] - CHANGE[0]), 0, 1)
    grown = F.max_pool2d(torch.from_numpy(strength)[None], 2 * radius + 1, 1, radius)[0]
    mask: np.ndarray = _blurred(grown.numpy(), radius) * border_mask(size)
    return mask


def paste(
    photo: Image.Image, edited: Image.Image, mask: np.ndarray, quad: np.ndarray | None
) -> Image.Image:
    """A photo with an edited crop in it: the inverse of `ris.ingest.alignment.face_square.crop`.

    Args:
        photo: upright RGB.
        edited: the crop, S x S pixels.
        mask: (S, S) in [0, 1], how much of the edit shows.
        quad: (4, 2) where the crop was cut out, in pixels of `photo`; None: its central square.
    """
    quad = whole(*photo.size) if quad is None else quad
    size = min(edited.width, max(1, round(side(quad))))  # averaged down before it is resampled
    tile = edited.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
    weight = Image.fromarray(mask.astype(np.float32)).resize((size, size), Image.Resampling.BOX)
    low = np.clip(np.floor(quad.min(0)) - 1, 0, photo.size).astype(int)
    high = np.clip(np.ceil(quad.max(0)) + 1, 0, photo.size).astype(int)
    if (high - low).min() < 1:
        return photo.copy()
    forth = np.vstack([crop_matrix(quad, size), [0, 0, 1]])
    back = np.linalg.inv(forth) @ np.array([[1, 0, low[0]], [0, 1, low[1]], [0, 0, 1]])
    a, b, c, d, e, f = (float(v) for v in back[:2].reshape(-1))
    extent = (int(high[0] - low[0]), int(high[1] - low[1]))
    drawn = tile.transform(extent, _AFFINE, (a, b, c, d, e, f), Image.Resampling.BICUBIC)
    share = weight.transform(extent, _AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)
    q = np.clip(np.asarray(share, np.float32), 0, 1)[..., None]
    box = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    under = np.asarray(photo.crop(box), np.float32)
    mixed = under + q * (np.asarray(drawn, np.float32) - under)
    result = photo.copy()
    result.paste(Image.fromarray(mixed.round().astype(np.uint8)), box[:2])
    return result


_AFFINE = Image.Transform.AFFINE


def _blurred(values: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur of (S, S) values in [0, 1]."""
    picture = Image.fromarray(np.round(np.clip(values, 0, 1) * 255).astype(np.uint8))
    soft = picture.filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(soft, dtype=np.float32) / 255
