"""Images are float tensors in [-1, 1], as networks take and give them. Pictures and files hold
bytes from 0 to 255 instead; this is the one rule that leads from one to the other."""

from __future__ import annotations

import numpy as np
import torch


def from_bytes(values: torch.Tensor) -> torch.Tensor:
    """uint8 of any shape -> float32 in [-1, 1]: v / 127.5 - 1."""
    return values.float().div_(127.5).sub_(1)


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Floats of any shape, clamped to [-1, 1] -> uint8, rounded."""
    return images.clamp(-1, 1).add_(1).mul_(127.5).round_().to(torch.uint8)


def from_pixels(pixels: np.ndarray) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1]."""
    return from_bytes(torch.tensor(pixels).permute(0, 3, 1, 2))


def to_pixels(image: torch.Tensor) -> np.ndarray:
    """(3, H, W) floats, clamped to [-1, 1] -> (H, W, 3) uint8."""
    pixels: np.ndarray = to_bytes(image).permute(1, 2, 0).contiguous().cpu().numpy()
    return pixels
