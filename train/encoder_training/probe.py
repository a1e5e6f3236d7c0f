"""Landmarks read linearly off backbone features: a differentiable stand-in for a landmark net.

Faces in aligned crops differ little in where they are, so a ridge regression from two maps of the
backbone to the main modes of landmark positions is enough to pull on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ris.images import from_bytes
from ris.networks import EfficientNetLiteTrunk

BLOCKS = (4, 10)
"""Of the backbone: 16x16 and 8x8 places of a 128 px picture."""
MODES = 40  # of landmark positions, which hold all but noise
RIDGE = 1.0  # times the mean square of a feature vector, which is 1
BATCH = 50


class LandmarkProbe:
    """Landmarks of a picture from its features.

    Args:
        tensors: ``mean`` (F,), ``weight`` (F, R), ``modes`` (R, 2 N), ``shape`` (2 N,).
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.mean, self.weight, self.modes, self.shape = (
            tensors[k].float() for k in ("mean", "weight", "modes", "shape")
        )

    def __call__(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Maps of `BLOCKS` for a 128 px picture -> (B, N, 2) parts of the side."""
        x = torch.cat([f.flatten(1) for f in features], 1)
        found = (x - self.mean) @ self.weight @ self.modes + self.shape
        return found.reshape(len(found), -1, 2)


@torch.no_grad()
def fit_probe(
    backbone: EfficientNetLiteTrunk, images: torch.Tensor, landmarks: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Ridge regression in the dual form.

    Args:
        backbone: the frozen network.
        images: (N, 3, 128, 128) uint8; a few thousand: memory grows with N squared.
        landmarks: (N, M, 2) parts of the side.
    """
    parts = [
        torch.cat([f.flatten(1) for f in backbone.features(from_bytes(x), BLOCKS)], 1)
        for x in torch.split(images, BATCH)
    ]
    x = torch.cat(parts)
    mean, std = x.mean(0), x.std(0) + 0.02
    x = (x - mean) / std / x.shape[1] ** 0.5
    y = landmarks.float().flatten(1)
    shape = y.mean(0)
    modes = torch.linalg.svd(y - shape, full_matrices=False).Vh[:MODES]
    kernel = (x @ x.T).double() + RIDGE * torch.eye(len(x), dtype=torch.float64)
    dual = torch.linalg.solve(kernel, ((y - shape) @ modes.T).double()).float()
    weight = (x.T @ dual) / std[:, None] / x.shape[1] ** 0.5
    return {"mean": mean, "weight": weight, "modes": modes.contiguous(), "shape": shape}
