"""EfficientNet-Lite (Tan and Le 2019, arXiv:1905.11946; the Lite variant has no squeeze-excitation
and ReLU6 for swish) in plain torch.

Each batch normalisation is folded into the convolution before it when a checkpoint is loaded: as a
frozen network it needs none, and as the start of a training (`EfficientNetLiteTrunk`) it then has
no statistics that could drift apart from the data's. Padding is TensorFlow's "same": with stride 2
on an even size the extra row and column go to the bottom and the right, not `padding=k//2`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ris.fingerprints import tensor_digest
from ris.networks.weights import check_shapes


@dataclass(frozen=True)
class Stage:
    """A run of inverted residual blocks of equal width."""

    repeats: int
    kernel: int
    stride: int  # of the first block; the others have 1
    expand: int  # ratio of the hidden width to the input width; 1: no expansion convolution
    out: int


@dataclass(frozen=True)
class EfficientNetLiteConfig:
    """The defaults are Lite0, which has the width and depth of EfficientNet-B0."""

    stem: int = 32
    stages: tuple[Stage, ...] = (
        Stage(1, 3, 1, 1, 16),
        Stage(2, 3, 2, 6, 24),
        Stage(2, 5, 2, 6, 40),
        Stage(3, 3, 2, 6, 80),
        Stage(3, 5, 1, 6, 112),
        Stage(4, 5, 2, 6, 192),
        Stage(1, 3, 1, 6, 320),
    )
    head: int = 1280
    classes: int = 1000
    bn_epsilon: float = 1e-3  # TensorFlow's default for this family, not torch's 1e-5


class _Conv(NamedTuple):
    """One convolution with its batch normalisation, by the names of the checkpoint."""

    conv: str
    norm: str
    out: int
    inp: int  # input channels per group
    kernel: int
    stride: int = 1
    groups: int = 1
    relu: bool = True


class _Block(NamedTuple):
    convs: tuple[_Conv, ...]
    skip: bool


def _blocks(config: EfficientNetLiteConfig) -> list[_Block]:
    blocks: list[_Block] = []
    width = config.stem
    for stage in config.stages:
        for repeat in range(stage.repeats):
            prefix = f"_blocks.{len(blocks)}."
            hidden = width * stage.expand
            stride = stage.stride if repeat == 0 else 1
            convs = [
                _Conv(
                    prefix + "_depthwise_conv",
                    prefix + "_bn1",
                    hidden,
                    1,
                    stage.kernel,
                    stride,
                    groups=hidden,
                ),
                _Conv(prefix + "_project_conv", prefix + "_bn2", stage.out, hidden, 1, relu=False),
            ]
            if stage.expand != 1:
                expand = _Conv(prefix + "_expand_conv", prefix + "_bn0", hidden, width, 1)
                convs.insert(0, expand)
            blocks.append(_Block(tuple(convs), skip=stride == 1 and width == stage.out))
            width = stage.out
    return blocks


def _same_pad(size: int, kernel: int, stride: int) -> int:
    """Total padding of one axis, so that the output has ceil(size / stride) places."""
    return max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)


class EfficientNetLiteTrunk(torch.nn.Module):
    """Stem and blocks of an EfficientNet-Lite, batch normalisation folded.

    Args:
        weights: ``_conv_stem.weight``, ``.bias``, ``_blocks.{i}._expand_conv.weight``, ...
        config: widths; must agree with the weights.
        trainable: register the tensors as parameters, not as buffers.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the first is named.
    """

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor],
        config: EfficientNetLiteConfig | None = None,
        *,
        trainable: bool = False,
    ) -> None:
        super().__init__()
        self.config = config or EfficientNetLiteConfig()
        self._stem = _Conv("_conv_stem", "_bn0", self.config.stem, 3, 3, stride=2)
        self._body = _blocks(self.config)
        check_shapes(weights, self.folded_shapes(self._trunk_convs()))
        for name, tensor in weights.items():
            self._keep(name, tensor.detach().float().clone(), trainable)

    def _keep(self, name: str, tensor: torch.Tensor, trainable: bool = False) -> None:
        key = name.replace(".", "/")  # names of buffers and parameters may not hold dots
        if trainable:
            self.register_parameter(key, torch.nn.Parameter(tensor))
        else:
            self.register_buffer(key, tensor)

    @staticmethod
    def folded_shapes(convs: Iterable[_Conv]) -> dict[str, tuple[int, ...]]:
        """Name and shape of the folded tensors of some convolutions."""
        shapes: dict[str, tuple[int, ...]] = {}
        for c in convs:
            shapes[f"{c.conv}.weight"] = (c.out, c.inp, c.kernel, c.kernel)
            shapes[f"{c.conv}.bias"] = (c.out,)
        return shapes

    @property
    def blocks(self) -> int:
        """Number of inverted residual blocks (16 for Lite0)."""
        return len(self._body)

    def _trunk_convs(self) -> list[_Conv]:
        return [self._stem, *(c for block in self._body for c in block.convs)]

    def trunk_tensors(self) -> dict[str, torch.Tensor]:
        """The folded tensors that the constructor takes."""
        return {n: self._tensor(n).detach() for n in self.folded_shapes(self._trunk_convs())}

    def _tensor(self, name: str) -> torch.Tensor:
        key = name.replace(".", "/")
        tensor: torch.Tensor = getattr(self, key)
        return tensor

    def _apply_conv(self, conv: _Conv, x: torch.Tensor) -> torch.Tensor:
        h = _same_pad(x.shape[-2], conv.kernel, conv.stride)
        w = _same_pad(x.shape[-1], conv.kernel, conv.stride)
        weight, bias = self._tensor(f"{conv.conv}.weight"), self._tensor(f"{conv.conv}.bias")
        pad: int | tuple[int, int] = (h // 2, w // 2)
        if h % 2 or w % 2:  # uneven padding cannot be given to the convolution itself
            x, pad = F.pad(x, (w // 2, w - w // 2, h // 2, h - h // 2)), 0
        x = F.conv2d(x, weight, bias, conv.stride, pad, groups=conv.groups)
        return F.relu6(x, inplace=True) if conv.relu else x

    def features(self, images: torch.Tensor, blocks: Iterable[int]) -> list[torch.Tensor]:
        """Outputs of chosen blocks; nothing above the last of them is computed.

        Args:
            images: (B, 3, H, W) in [-1, 1].
            blocks: ascending block numbers, 0 to `self.blocks` - 1.

        Returns:
            One (B, C, H', W') tensor a block.

        Raises:
            ValueError: the numbers do not ascend or lie outside the network.
        """
        wanted = list(blocks)
        if (
            wanted != sorted(set(wanted))
            or not wanted
            or not 0 <= wanted[0] <= wanted[-1] < len(self._body)
        ):
            raise ValueError(f"blocks must ascend within 0..{len(self._body) - 1}, got {wanted}")
        out: list[torch.Tensor] = []
        x = self._apply_conv(self._stem, images)
        for i, block in enumerate(self._body[: wanted[-1] + 1]):
            y = x
            for conv in block.convs:
                y = self._apply_conv(conv, y)
            x = x + y if block.skip else y
            if i in wanted:
                out.append(x)
        return out


class EfficientNetLite(EfficientNetLiteTrunk):
    """A frozen EfficientNet-Lite with its head.

    Args:
        weights: state dict by the names of efficientnet-lite-pytorch: ``_conv_stem.weight``,
            ``_bn0.*``, ``_blocks.{i}._expand_conv.weight`` ..., ``_conv_head.weight``,
            ``_bn1.*``, ``_fc.weight``, ``_fc.bias``.
        config: widths; must agree with the weights.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the first is named.
    """

    def __init__(
        self, weights: Mapping[str, torch.Tensor], config: EfficientNetLiteConfig | None = None
    ) -> None:
        cfg = config or EfficientNetLiteConfig()
        head = _Conv("_conv_head", "_bn1", cfg.head, cfg.stages[-1].out, 1)
        stem = _Conv("_conv_stem", "_bn0", cfg.stem, 3, 3, stride=2)
        convs = [stem, *(c for block in _blocks(cfg) for c in block.convs)]
        check_shapes(weights, _checkpoint_shapes([*convs, head], cfg))
        super().__init__(_fold_all(weights, convs, cfg), cfg)
        self._head = head
        for name, tensor in _fold_all(weights, [head], cfg).items():
            self._keep(name, tensor)
        self.register_buffer("fc_weight", weights["_fc.weight"].detach().float())
        self.register_buffer("fc_bias", weights["_fc.bias"].detach().float())
        self.fingerprint = f"efficientnet-lite-{tensor_digest(weights)}"

    def expected_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that the constructor wants."""
        return _checkpoint_shapes([*self._trunk_convs(), self._head], self.config)

    def head_tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight (1280, 320, 1, 1) and bias (1280,) of the head's convolution, folded."""
        name = self._head.conv
        return self._tensor(f"{name}.weight").detach(), self._tensor(f"{name}.bias").detach()

    def features(self, images: torch.Tensor, blocks: Iterable[int]) -> list[torch.Tensor]:
        """As the trunk's, and `self.blocks` stands for the head's (B, 1280, H/32, W/32)."""
        wanted = list(blocks)
        if not wanted or wanted[-1] != len(self._body):
            return super().features(images, wanted)
        trunk = sorted({*wanted[:-1], len(self._body) - 1})
        found = super().features(images, trunk)
        head = self._apply_conv(self._head, found[-1])
        return [f for f, b in zip(found, trunk, strict=True) if b in wanted] + [head]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, 1000) ImageNet logits."""
        (x,) = self.features(images, [len(self._body)])
        return F.linear(x.mean((2, 3)), self.fc_weight, self.fc_bias)  # type: ignore[arg-type]


def _checkpoint_shapes(
    convs: Iterable[_Conv], config: EfficientNetLiteConfig
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for c in convs:
        shapes[f"{c.conv}.weight"] = (c.out, c.inp, c.kernel, c.kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{c.norm}.{part}"] = (c.out,)
        shapes[f"{c.norm}.num_batches_tracked"] = ()
    shapes["_fc.weight"] = (config.classes, config.head)
    shapes["_fc.bias"] = (config.classes,)
    return shapes


def _fold_all(
    weights: Mapping[str, torch.Tensor], convs: Iterable[_Conv], config: EfficientNetLiteConfig
) -> dict[str, torch.Tensor]:
    folded: dict[str, torch.Tensor] = {}
    for c in convs:
        weight, bias = _fold(weights, c, config.bn_epsilon)
        folded |= {f"{c.conv}.weight": weight, f"{c.conv}.bias": bias}
    return folded


def _fold(
    weights: Mapping[str, torch.Tensor], conv: _Conv, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a convolution that includes its batch normalisation."""
    gamma, beta, mean, var = (
        weights[f"{conv.norm}.{part}"].detach().double()
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    gain = gamma * torch.rsqrt(var + epsilon)
    weight = weights[f"{conv.conv}.weight"].detach().double() * gain[:, None, None, None]
    return weight.float(), (beta - mean * gain).float()
