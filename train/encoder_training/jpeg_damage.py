"""What JPEG does to pictures, on whole batches and on any device.

The lossy half of the format (ITU T.81): YCbCr, chroma at half the resolution, an 8 x 8 cosine
transform, coefficients rounded to multiples of the quality's quantisation table. Entropy coding
loses nothing and is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

BLOCK = 8
LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""Quantisation of brightness at quality 50 (table K.1)."""
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)
"""Quantisation of colour at quality 50 (table K.2)."""
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def _table(base: Sequence[Sequence[int]], quality: float) -> torch.Tensor:
    """(8, 8) steps; the quality is libjpeg's scale."""
    percent = 5000 / quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(base, dtype=torch.float32) * percent + 50) / 100).floor().clamp(1, 255)


def _transform(device: torch.device) -> torch.Tensor:
    """(8, 8) orthonormal cosine transform, a row a frequency."""
    k = torch.arange(BLOCK, device=device)
    rows = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / (2 * BLOCK)) / 2
    rows[0] /= math.sqrt(2)
    return rows


def _quantised(plane: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
    """(B, H, W) in [-128, 127] after the transform, rounding by (B, 8, 8) steps, and back."""
    b, h, w = plane.shape
    cosines = _transform(plane.device)
    blocks = plane.view(b, h // BLOCK, BLOCK, w // BLOCK, BLOCK).transpose(2, 3)
    steps = tables[:, None, None]
    rounded = (cosines @ blocks @ cosines.T / steps).round() * steps
    return (cosines.T @ rounded @ cosines).transpose(2, 3).reshape(b, h, w)


def jpeg(images: torch.Tensor, qualities: Sequence[float]) -> torch.Tensor:
    """(B, 3, H, W) in [-1, 1], sides multiples of 16, and a quality (1 to 100) for each picture
    -> the pictures as a JPEG file would give them back."""
    device = images.device
    matrix = torch.tensor(TO_YCC, device=device)
    luma, chroma = (
        torch.stack([_table(base, q) for q in qualities]).to(device) for base in (LUMA, CHROMA)
    )
    pixels = ((images + 1) * 127.5).round()
    ycc = torch.einsum("ij,bjhw->bihw", matrix, pixels)
    y = _quantised(ycc[:, 0] - 128, luma) + 128
    small = F.avg_pool2d(ycc[:, 1:], 2)
    colour = _quantised(small.flatten(0, 1), chroma.repeat_interleave(2, 0)).view_as(small)
    colour = F.interpolate(colour, scale_factor=2, mode="bilinear", align_corners=False)
    found = torch.einsum(
        "ij,bjhw->bihw", torch.linalg.inv(matrix), torch.cat([y[:, None], colour], 1)
    )
    return found.round().clamp(0, 255) / 127.5 - 1
