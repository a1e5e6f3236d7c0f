"""The encoders of pSp (Richardson et al. 2021, arXiv:2008.00951) and e4e (Tov et al. 2021,
arXiv:2102.02766): a photo to a W+ code of StyleGAN2.

Both are one network: an IR-SE50 trunk, a feature pyramid of three sizes, and for each row of the
code a small network of its own on one of the three. pSp's rows are what these give; in e4e the
first is a W code and the others are deviations from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from ris.networks.weights import check_shapes

EncoderKind = Literal["psp", "e4e"]
SIZE = 256
"""Pixels of the photos that the encoders take."""
UNITS = (3, 4, 14, 3)  # residual units of IR-SE50 at 128, 64, 32 and 16 px
COARSE, MIDDLE = 3, 7  # rows below use the 16 px maps; below the second, 32 px; the others 64 px
CONVOLUTIONS = (4, 5, 6)  # of a row's network, down to one pixel
REDUCTION = 16  # of squeeze and excitation
ROW_SLOPE = 0.01  # of the LeakyReLUs of a row's network
EPSILON = 1e-5  # of batch normalisation


@dataclass(frozen=True)
class PSPConfig:
    """Shape of the network; the defaults are the published one's for 1024 px.

    Attributes:
        rows: rows of the W+ code.
        latent: length of one row, and channels of the pyramid.
        widths: channels of the trunk at 128, 64, 32 and 16 px; the last is `latent`.
    """

    rows: int = 18
    latent: int = 512
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)

    @classmethod
    def of_weights(cls, weights: Mapping[str, torch.Tensor]) -> PSPConfig:
        """Rows and widths as names and shapes say; nothing is checked.

        Raises:
            ValueError: the names are not such an encoder's.
        """
        found = (re.match(r"styles\.(\d{1,2})\.", name) for name in weights)
        rows = max((int(match[1]) for match in found if match), default=-1) + 1
        marks = ["styles.0.linear.bias"]
        marks += [f"body.{sum(UNITS[: i + 1]) - 1}.res_layer.4.bias" for i in range(4)]
        for name in marks:
            if name not in weights:
                raise ValueError(f"the weights are not an IR-SE50 encoder's: they lack {name}")
        latent, *widths = (weights[name].numel() for name in marks)
        return cls(rows, latent, (widths[0], widths[1], widths[2], widths[3]))

    def units(self) -> list[tuple[int, int, int]]:
        """Channels in, channels out and stride of every residual unit."""
        found, below = [], self.widths[0]
        for width, count in zip(self.widths, UNITS, strict=True):
            for i in range(count):
                found.append((below, width, 1 if i else 2))
                below = width
        return found

    def expected_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor, without counters of batches."""
        first, d = self.widths[0], self.latent
        shapes: dict[str, tuple[int, ...]] = {"input_layer.0.weight": (first, 3, 3, 3)}
        shapes |= _norm("input_layer.1", first) | {"input_layer.2.weight": (first,)}
        for i, (c, out, _) in enumerate(self.units()):
            n = f"body.{i}.res_layer"
            if c != out:
                shapes[f"body.{i}.shortcut_layer.0.weight"] = (out, c, 1, 1)
                shapes |= _norm(f"body.{i}.shortcut_layer.1", out)
            shapes |= _norm(f"{n}.0", c) | {f"{n}.1.weight": (out, c, 3, 3)}
            shapes |= {f"{n}.2.weight": (out,), f"{n}.3.weight": (out, out, 3, 3)}
            shapes |= _norm(f"{n}.4", out)
            few = out // REDUCTION
            shapes |= {f"{n}.5.fc1.weight": (few, out, 1, 1), f"{n}.5.fc2.weight": (out, few, 1, 1)}
        for row in range(self.rows):
            for k in range(CONVOLUTIONS[_level(row)]):
                n = f"styles.{row}.convs.{2 * k}"
                shapes |= {f"{n}.weight": (d, d, 3, 3), f"{n}.bias": (d,)}
            n = f"styles.{row}.linear"
            shapes |= {f"{n}.weight": (d, d), f"{n}.bias": (d,)}
        for n, c in (("latlayer1", self.widths[2]), ("latlayer2", self.widths[1])):
            shapes |= {f"{n}.weight": (d, c, 1, 1), f"{n}.bias": (d,)}
        return shapes


class PSPEncoder(torch.nn.Module):
    """A pSp or e4e encoder, for inference.

    Args:
        weights: tensors by the names of `PSPConfig.expected_shapes`.
        kind: how the rows come about, see the module's text.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the first is named.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], kind: EncoderKind) -> None:
        super().__init__()
        self.kind = kind
        self.config = PSPConfig.of_weights(weights)
        check_shapes(weights, self.config.expected_shapes())
        for name, tensor in weights.items():
            copied = tensor.detach().to(torch.float32, copy=True)
            if copied.ndim == 4:
                copied = copied.contiguous(memory_format=torch.channels_last)
            self.register_buffer(name.replace(".", "/"), copied)

    def _get(self, name: str) -> torch.Tensor:
        return self._buffers[name.replace(".", "/")]  # type: ignore[return-value]

    def _normalise(self, name: str, x: torch.Tensor) -> torch.Tensor:
        mean, var = self._get(f"{name}.running_mean"), self._get(f"{name}.running_var")
        weight, bias = self._get(f"{name}.weight"), self._get(f"{name}.bias")
        return F.batch_norm(x, mean, var, weight, bias, eps=EPSILON)

    def _unit(self, i: int, x: torch.Tensor, stride: int) -> torch.Tensor:
        """One residual unit with squeeze and excitation."""
        n = f"body.{i}.res_layer"
        y = F.conv2d(self._normalise(f"{n}.0", x), self._get(f"{n}.1.weight"), padding=1)
        y = F.prelu(y, self._get(f"{n}.2.weight"))
        y = F.conv2d(y, self._get(f"{n}.3.weight"), stride=stride, padding=1)
        y = self._normalise(f"{n}.4", y)
        gate = F.conv2d(y.mean((2, 3), keepdim=True), self._get(f"{n}.5.fc1.weight")).relu()
        y = y * F.conv2d(gate, self._get(f"{n}.5.fc2.weight")).sigmoid()
        shortcut = f"body.{i}.shortcut_layer"
        if f"{shortcut}.0.weight".replace(".", "/") in self._buffers:
            x = F.conv2d(x, self._get(f"{shortcut}.0.weight"), stride=stride)
            return y + self._normalise(f"{shortcut}.1", x)
        return y + x[..., ::stride, ::stride]

    def _pyramid(self, photos: torch.Tensor) -> list[torch.Tensor]:
        """Maps of 16, 32 and 64 px, all of `latent` channels."""
        x = F.conv2d(photos, self._get("input_layer.0.weight"), padding=1)
        x = F.prelu(self._normalise("input_layer.1", x), self._get("input_layer.2.weight"))
        kept = {}
        for i, (_, _, stride) in enumerate(self.config.units()):
            x = self._unit(i, x, stride)
            kept[i + 1] = x
            if i + 1 not in (sum(UNITS[:2]), sum(UNITS[:3])):
                kept.pop(i + 1)
        pyramid = [x]
        for name, end in (("latlayer1", sum(UNITS[:3])), ("latlayer2", sum(UNITS[:2]))):
            own = F.conv2d(kept[end], self._get(f"{name}.weight"), self._get(f"{name}.bias"))
            size = own.shape[2:]
            up = F.interpolate(pyramid[-1], size=size, mode="bilinear", align_corners=True)
            pyramid.append(up + own)
        return pyramid

    def _row(self, row: int, x: torch.Tensor) -> torch.Tensor:
        """(B, latent) what a row's network makes of its map."""
        for k in range(CONVOLUTIONS[_level(row)]):
            n = f"styles.{row}.convs.{2 * k}"
            weight, bias = self._get(f"{n}.weight"), self._get(f"{n}.bias")
            x = F.leaky_relu(F.conv2d(x, weight, bias, stride=2, padding=1), ROW_SLOPE)
        weight, bias = (self._get(f"styles.{row}.linear.{p}") for p in ("weight", "bias"))
        return F.linear(x.flatten(1), weight / self.config.latent**0.5, bias)

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        """Photos to codes.

        Args:
            photos: (B, 3, 256, 256) in [-1, 1], cropped as FFHQ's are.

        Returns:
            (B, rows, latent), to which the mean of W is still to be added.

        Raises:
            ValueError: photos of another shape.
        """
        if photos.shape[1:] != (3, SIZE, SIZE):
            raise ValueError(f"photos are (B, 3, {SIZE}, {SIZE}), not {tuple(photos.shape)}")
        pyramid = self._pyramid(photos)
        rows = [self._row(row, pyramid[_level(row)]) for row in range(self.config.rows)]
        codes = torch.stack(rows, dim=1)
        if self.kind == "e4e":
            codes[:, 1:] += codes[:, :1]
        return codes


def _level(row: int) -> int:
    """Which map of the pyramid a row looks at."""
    return (row >= COARSE) + (row >= MIDDLE)


def _norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts}
