"""Augmentation: what lies between a clean render and a photo of a stranger's camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from train.encoder_training.jpeg_damage import jpeg


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


VARIATION = Augmentation(
    rotation=2.0, scale=0.03, shift=0.012, colour=0.05, blur=0.0, noise=0.0, jpeg=0.0, occlusion=0.0
)
"""For photos and what is asked of them alike: the same face, photographed and cropped anew."""


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

    x = _moved(images, _placements(count, rng, a).to(device))
    for i in chosen(a.occlusion):
        h, w = (int(size * uniform(0.1, 0.4)) for _ in range(2))
        top, left = int(uniform(0, size - h)), int(uniform(0, size - w))
        if uniform(0, 1) < 0.5:
            patch = x[(i + 1) % count, :, top : top + h, left : left + w].flip(1)
        else:
            patch = torch.rand(3, 1, 1, generator=rng).to(device) * 2 - 1
        x[i, :, top : top + h, left : left + w] = patch
    x = _coloured(x, rng, a.colour)
    for i in chosen(a.blur):
        small = int(uniform(a.smallest, size))
        reduced = F.interpolate(x[i : i + 1], small, mode="bilinear", antialias=True)
        x[i] = F.interpolate(reduced, size, mode="bicubic")[0]
    for i in chosen(a.noise):
        x[i] += normal(*x[i].shape) * uniform(0, 0.06)
    x = x.clamp(-1, 1)
    if through := chosen(a.jpeg):
        x[through] = jpeg(x[through], [uniform(30, 95) for _ in through])
    return x


def vary(
    images: torch.Tensor,
    landmarks: torch.Tensor,
    rng: torch.Generator,
    strength: Augmentation = VARIATION,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Photos (B, 3, S, S) in [-1, 1] and their landmarks (B, M, 2), parts of the side, both moved
    as by another alignment, and the photos in other colours."""
    theta = _placements(len(images), rng, strength).to(images.device)
    moved = _coloured(_moved(images, theta), rng, strength.colour)
    # theta takes a place in the new picture to one in the old
    old = 2 * landmarks - 1 - theta[:, None, :, 2]
    new = torch.linalg.solve(theta[:, None, :, :2], old.unsqueeze(-1)).squeeze(-1)
    return moved.clamp(-1, 1), (new + 1) / 2


def _placements(count: int, rng: torch.Generator, a: Augmentation) -> torch.Tensor:
    """(B, 2, 3) maps of places in [-1, 1], new to old."""
    angle = torch.randn(count, generator=rng) * math.radians(a.rotation)
    zoom = torch.exp(torch.randn(count, generator=rng) * a.scale)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = torch.cos(angle) * zoom
    theta[:, 1, 0] = torch.sin(angle) * zoom
    theta[:, 0, 1] = -theta[:, 1, 0]
    theta[:, :, 2] = 2 * torch.randn(count, 2, generator=rng) * a.shift
    return theta


def _moved(images: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _coloured(x: torch.Tensor, rng: torch.Generator, colour: float) -> torch.Tensor:
    if not colour:
        return x

    def normal(channels: int) -> torch.Tensor:
        return torch.randn(len(x), channels, 1, 1, generator=rng).to(x.device) * colour

    return x * (1 + normal(1)) * (1 + normal(3) / 2) + normal(1)
