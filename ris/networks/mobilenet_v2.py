"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) in plain torch, for its features.

Each batch normalisation is folded into the convolution before it. The classifier is not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ris.networks.weights import check_shapes

STAGES = (
    # hidden to input width, output width, blocks, stride of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM, HEAD, CLASSES = 32, 1280, 1000
EPSILON = 1e-5  # torch's default, with which the weights were trained
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of red, green and blue


@dataclass(frozen=True)
class _Conv:
    """One convolution and its batch normalisation, by their names in the checkpoint."""

    conv: str
    norm: str
    out: int
    inp: int  # input channels per group
    kernel: int = 1
    stride: int = 1
    relu: bool = True

    @property
    def groups(self) -> int:
        """1, or as many as channels where it is depthwise."""
        return self.out if self.inp == 1 else 1


def _block(index: int, width: int, hidden: int, out: int, stride: int) -> list[_Conv]:
    """Expansion (unless the width stays), depthwise convolution, projection."""
    prefix = f"features.{index}.conv"
    convs = []
    if hidden != width:
        convs.append(_Conv(f"{prefix}.0.0", f"{prefix}.0.1", hidden, width))
    n = len(convs)
    convs.append(_Conv(f"{prefix}.{n}.0", f"{prefix}.{n}.1", hidden, 1, 3, stride))
    convs.append(_Conv(f"{prefix}.{n + 1}", f"{prefix}.{n + 2}", out, hidden, relu=False))
    return convs


def _layers() -> list[tuple[list[_Conv], bool]]:
    """The convolutions of each entry of ``features``, and whether its input is added."""
    layers = [([_Conv("features.0.0", "features.0.1", STEM, 3, 3, 2)], False)]
    width = STEM
    for expand, out, blocks, first in STAGES:
        for k in range(blocks):
            stride = first if k == 0 else 1
            convs = _block(len(layers), width, width * expand, out, stride)
            layers.append((convs, stride == 1 and width == out))
            width = out
    name = f"features.{len(layers)}"
    return [*layers, ([_Conv(f"{name}.0", f"{name}.1", HEAD, width)], False)]


class MobileNetV2(torch.nn.Module):
    """A frozen MobileNetV2.

    Args:
        weights: state dict by torchvision's names: ``features.{i}...``, ``classifier.1.*``.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the first is named.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self._layers = _layers()
        check_shapes(weights, expected_shapes())
        for convs, _ in self._layers:
            for c in convs:
                weight, bias = _fold(weights, c)
                self.register_buffer(_key(c.conv, "weight"), weight)
                self.register_buffer(_key(c.conv, "bias"), bias)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])

    @property
    def layers(self) -> int:
        """Number of entries of ``features`` (19)."""
        return len(self._layers)

    def features(self, images: torch.Tensor, layers: Iterable[int]) -> list[torch.Tensor]:
        """Outputs of chosen entries of ``features``; nothing above the last is computed.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1].
            layers: numbers from 0 (the stem, at H/2) to `self.layers` - 1 (the head, at H/32).

        Returns:
            One (B, C, H', W') tensor a number, in ascending order.

        Raises:
            ValueError: a number outside the network, or none.
        """
        wanted = sorted(set(layers))
        if not wanted or not 0 <= wanted[0] <= wanted[-1] < self.layers:
            raise ValueError(f"layers lie within 0..{self.layers - 1}, got {wanted}")
        x = ((images + 1) / 2 - self.get_buffer("mean")) / self.get_buffer("std")
        found = []
        for i, (convs, skip) in enumerate(self._layers[: wanted[-1] + 1]):
            y = x
            for c in convs:
                y = self._conv(c, y)
            x = x + y if skip else y
            if i in wanted:
                found.append(x)
        return found

    def _conv(self, c: _Conv, x: torch.Tensor) -> torch.Tensor:
        weight = self.get_buffer(_key(c.conv, "weight"))
        bias = self.get_buffer(_key(c.conv, "bias"))
        x = F.conv2d(x, weight, bias, c.stride, c.kernel // 2, groups=c.groups)
        return F.relu6(x, inplace=True) if c.relu else x


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that `MobileNetV2` wants."""
    shapes: dict[str, tuple[int, ...]] = {}
    for convs, _ in _layers():
        for c in convs:
            shapes[f"{c.conv}.weight"] = (c.out, c.inp, c.kernel, c.kernel)
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{c.norm}.{part}"] = (c.out,)
            shapes[f"{c.norm}.num_batches_tracked"] = ()
    return shapes | {"classifier.1.weight": (CLASSES, HEAD), "classifier.1.bias": (CLASSES,)}


def _fold(weights: Mapping[str, torch.Tensor], c: _Conv) -> tuple[torch.Tensor, torch.Tensor]:
    gamma, beta, mean, var = (
        weights[f"{c.norm}.{part}"].detach().double()
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    gain = gamma * torch.rsqrt(var + EPSILON)
    weight = weights[f"{c.conv}.weight"].detach().double() * gain[:, None, None, None]
    return weight.float(), (beta - mean * gain).float()


def _key(conv: str, part: str) -> str:
    """Buffer names may not hold dots."""
    return f"{conv}.{part}".replace(".", "/")
