"""Measures without a face model: pixels, and features of an ImageNet network."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F

from benchmarks.measures.measure import Values
from ris.data.models.feature_networks import load_mobilenet


def scaled(picture: torch.Tensor, size: int) -> torch.Tensor:
    """(1, 3, S, S) -> (1, 3, size, size), antialiased, clipped to [-1, 1]."""
    if picture.shape[-1] == size:
        return picture.clamp(-1, 1)
    return F.interpolate(
        picture, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    ).clamp(-1, 1)


class PixelError:
    """PSNR in dB of the whole picture at 128 px."""

    higher_is_better: ClassVar[dict[str, bool]] = {"psnr_128": True}
    SIZE = 128

    def describe(self, picture: torch.Tensor) -> torch.Tensor:
        """The small picture."""
        return scaled(picture, self.SIZE)

    def compare(self, photo: torch.Tensor, other: torch.Tensor) -> Values:
        """Of pictures that span 2 from black to white."""
        error = (photo - other).square().mean().clamp(min=1e-10)
        return {"psnr_128": float(10 * torch.log10(4 / error))}


class FeatureDistance:
    """Distance of MobileNetV2 features, which neither inversion nor the encoder has seen.

    At every place of a layer the vector over its channels is brought to unit length; the value
    is the squared distance of the two vectors, the mean over places and then over layers: 0 for
    equal pictures, 2 for unrelated vectors. No weights are learned: it is nobody's named metric.
    """

    higher_is_better: ClassVar[dict[str, bool]] = {"mobilenet_distance": False}
    SIZE = 224
    LAYERS = (1, 3, 6, 13, 17)
    """The last of each resolution, 112 px down to 7 px."""

    def __init__(self) -> None:
        self._net = load_mobilenet()

    def describe(self, picture: torch.Tensor) -> list[torch.Tensor]:
        """Unit vectors, one (1, C, h, w) tensor a layer."""
        found = self._net.features(scaled(picture, self.SIZE), self.LAYERS)
        return [F.normalize(x, dim=1) for x in found]

    def compare(self, photo: list[torch.Tensor], other: list[torch.Tensor]) -> Values:
        """See the class."""
        parts = [(a - b).square().sum(1).mean() for a, b in zip(photo, other, strict=True)]
        return {"mobilenet_distance": float(torch.stack(parts).mean())}
