"""Augmentation: what lies between a clean render and a photo of a stranger's camera."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image


@dataclass(frozen=True)
class Augmentation:
    """Strengths; each picture draws its own.

    The code to be found stays the same, so geometry and colour move by no more than an alignment
    or a white balance is off.

    Attributes:
        rotation: standard deviation in degrees.
        scale: standard deviation of the logarithm of the scale.
        shift: standard deviation as a share of the side.
        colour: standard deviation of brightness, contrast and each channel's gain.
        blur: share of pictures scaled down to between `smallest` pixels and their size, and back.
        smallest: see `blur`.
        noise: share of pictures with Gaussian noise of up to `.06`.
        jpeg: share of pictures that go through JPEG of quality 30 to 95.
        occlusion: share of pictures with a rectangle of another picture or of one colour on it.
    """

    rotation: float = 1.5
    scale: float = 0.02
    shift: float = 0.012
    colour: float = 0.06
    blur: float = 0.4
    smallest: int = 40
    noise: float = 0.3
    jpeg: float = 0.3
    occlusion: float = 0.15


LIGHT = Augmentation(
    rotation=0.7, scale=0.01, shift=0.006, colour=0.0, blur=0.15, noise=0.1, jpeg=0.1, occlusion=0.1
)
"""For photos, which have a camera's defects already and are compared with what is seen."""


def augment(
    images: torch.Tensor, rng: torch.Generator, strength: Augmentation | None = None
) -> torch.Tensor:
    """(B, 3, S, S) in [-1, 1] -> the same, altered; on the device of the pictures."""
    a = strength or Augmentation()
    device, count, size = images.device, len(images), images.shape[-1]

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng).to(device)

    def chosen(share: float) -> list[int]:
        return torch.nonzero(torch.rand(count, generator=rng) < share).flatten().tolist()

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * torch.rand((), generator=rng).item()

    angle = normal(count) * math.radians(a.rotation)
    zoom = torch.exp(normal(count) * a.scale)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.cos(angle) * zoom
    theta[:, 1, 0] = torch.sin(angle) * zoom
    theta[:, 0, 1] = -theta[:, 1, 0]
    theta[:, :, 2] = 2 * normal(count, 2) * a.shift
    grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
    x = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    for i in chosen(a.occlusion):
        h, w = (int(size * uniform(0.1, 0.4)) for _ in range(2))
        top, left = int(uniform(0, size - h)), int(uniform(0, size - w))
        if uniform(0, 1) < 0.5:
            patch = x[(i + 1) % count, :, top : top + h, left : left + w].flip(1)
        else:
            patch = torch.rand(3, 1, 1, generator=rng).to(device) * 2 - 1
        x[i, :, top : top + h, left : left + w] = patch
    if a.colour:
        gain = 1 + normal(count, 1, 1, 1) * a.colour
        channels = 1 + normal(count, 3, 1, 1) * a.colour / 2
        x = x * gain * channels + normal(count, 1, 1, 1) * a.colour
    for i in chosen(a.blur):
        small = int(uniform(a.smallest, size))
        reduced = F.interpolate(x[i : i + 1], small, mode="bilinear", antialias=True)
        x[i] = F.interpolate(reduced, size, mode="bicubic")[0]
    for i in chosen(a.noise):
        x[i] += normal(*x[i].shape) * uniform(0, 0.06)
    x = x.clamp(-1, 1)
    for i in chosen(a.jpeg):
        x[i] = _jpeg(x[i], int(uniform(30, 95)))
    return x


def _jpeg(image: torch.Tensor, quality: int) -> torch.Tensor:
    pixels = ((image.permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    decoded = np.array(Image.open(buffer))
    return torch.from_numpy(decoded).permute(2, 0, 1).float().to(image.device) / 127.5 - 1
