"""The encoder's network: one forward pass from an aligned photo to a code near W.

An image trunk gives maps at four scales; each is narrowed, flattened (faces are aligned, so a
position means a part of the face) and all go through one hidden layer. From it come

    v    (D,)     the code in whitened P space that all rows of W+ share (`ris.generators.pspace`)
    d_l  (L, D)   a deviation for each row, from a basis of low rank of the row's own;

the code is W+_l = to_w(v + d_l), so that zero deviation is W itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ris.networks import EfficientNetLiteTrunk


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of an encoder; all of them follow from the shapes of its weights but `size`.

    Attributes:
        size: pixels of the picture that the trunk sees.
        rows: L, rows of W+.
        latent: D, width of a code.
        maps: (block of the trunk, channels that its map is narrowed to).
        hidden: width of the hidden layer.
        rank: of each row's deviation.
    """

    size: int = 128
    rows: int = 22
    latent: int = 512
    maps: tuple[tuple[int, int], ...] = ((2, 8), (4, 20), (10, 48), (15, 96))
    hidden: int = 768
    rank: int = 48


class _Blank(torch.nn.Linear):
    """Without the random start, which takes longer than reading the weights that replace it."""

    def reset_parameters(self) -> None:
        """Leaves the weights as the memory was."""


class EncoderNet(torch.nn.Module):
    """Pictures to whitened codes.

    Args:
        trunk: an image network whose `features` the encoder reads.
        config: sizes.
        blank: leave large layers without weights; they are loaded next.
    """

    def __init__(
        self,
        trunk: EfficientNetLiteTrunk,
        config: EncoderConfig | None = None,
        *,
        blank: bool = False,
    ) -> None:
        super().__init__()
        linear = _Blank if blank else torch.nn.Linear
        cfg = self.config = config or EncoderConfig()
        self.trunk = trunk
        with torch.no_grad():
            found = trunk.features(torch.zeros(1, 3, cfg.size, cfg.size), self._wanted())
        self.narrow = torch.nn.ModuleList()
        flat = 0
        for (_, width), feature in zip(cfg.maps, found, strict=True):
            channels, side = feature.shape[1], feature.shape[-1]
            stride = 2 if side > cfg.size // 8 else 1  # nothing finer than an eighth is flattened
            kernel = 3 if stride == 2 else 1
            self.narrow.append(torch.nn.Conv2d(channels, width, kernel, stride, kernel // 2))
            flat += width * (side // stride) ** 2
        self.norm_in = torch.nn.LayerNorm(flat)
        self.lift = linear(flat, cfg.hidden)
        self.mix = torch.nn.Sequential(
            torch.nn.LayerNorm(cfg.hidden),
            linear(cfg.hidden, cfg.hidden),
            torch.nn.GELU(),
            linear(cfg.hidden, cfg.hidden),
        )
        self.norm_out = torch.nn.LayerNorm(cfg.hidden)
        self.code = linear(cfg.hidden, cfg.latent)
        self.amount = linear(cfg.hidden, cfg.rows * cfg.rank)
        self.basis = torch.nn.Parameter(
            torch.randn(cfg.rows, cfg.rank, cfg.latent) * cfg.latent**-0.5
        )
        torch.nn.init.zeros_(self.amount.weight)  # training starts in W
        torch.nn.init.zeros_(self.amount.bias)

    def _wanted(self) -> list[int]:
        return [block for block, _ in self.config.maps]

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, size, size) in [-1, 1] -> v (B, D) and d (B, L, D), both whitened."""
        maps = self.trunk.features(images, self._wanted())
        parts = [conv(x).flatten(1) for conv, x in zip(self.narrow, maps, strict=True)]
        x = F.gelu(self.lift(self.norm_in(torch.cat(parts, 1))))
        x = self.norm_out(x + self.mix(x))
        amount = self.amount(x).unflatten(1, (self.config.rows, self.config.rank))
        return self.code(x), torch.einsum("blr,lrd->bld", amount, self.basis)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that `load_encoder` needs."""
        own = {k: v for k, v in self.state_dict().items() if not k.startswith("trunk.")}
        return own | {f"trunk.{k}": v for k, v in self.trunk.trunk_tensors().items()}


def load_encoder(
    tensors: Mapping[str, torch.Tensor], config: EncoderConfig | None = None, *, train: bool = False
) -> EncoderNet:
    """An encoder from the tensors of `EncoderNet.tensors`, of any floating type.

    Raises:
        ValueError: a tensor is missing, left over or of another shape.
    """
    weights = {k.removeprefix("trunk."): v for k, v in tensors.items() if k.startswith("trunk.")}
    net = EncoderNet(EfficientNetLiteTrunk(weights, trainable=train), config, blank=True)
    own = {k: v.float() for k, v in tensors.items() if not k.startswith("trunk.")}
    state = {k: v for k, v in net.state_dict().items() if k.startswith("trunk.")}
    try:
        net.load_state_dict(own | state)
    except RuntimeError as e:
        raise ValueError(str(e).split("\n")[1].strip() if "\n" in str(e) else str(e)) from e
    return net.train(train).requires_grad_(train)
