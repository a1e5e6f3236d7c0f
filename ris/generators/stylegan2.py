"""StyleGAN2, config F (Karras et al. 2020, arXiv:1912.04958), in plain torch.

Every convolution scales its input by the style, convolves, and rescales its output so that each
channel has unit expected deviation (modulation and demodulation, section 2.2 there); images are
summed up over the resolutions (output skips, section 4.1). Noise is fixed, one map for each
convolution, so that rendering is deterministic.

The names of the weights are those of the widespread PyTorch port (``conv1.conv.weight``,
``to_rgbs.3.conv.modulation.bias``, ...).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import mode

import torch
import torch.nn.functional as F

from ris.fingerprints import tensor_digest
from ris.generators.generator import Activation
from ris.generators.stylegan_parts import (
    buffer_key,
    channels_last,
    sampled_mean,
    style_coefficients,
)
from ris.method.layout import StyleLayer, StyleLayout
from ris.networks.weights import check_shapes
from ris.ops.calls import Impl

SIZES = (32, 64, 128, 256, 512, 1024)
SLOPE, GAIN = 0.2, 2**0.5  # of every LeakyReLU
MAPPING_RATE = 0.01  # learning rate of the mapping, part of its weights' scale
EPSILON = 1e-8
EARLY = 4  # style layers that hold pose and hair: those of 4x4, and the first of 8x8
FILTER = (1.0, 3.0, 3.0, 1.0)  # of the upsampling, by rows and by columns
LATENT_AVERAGE = "latent_avg"


@dataclass(frozen=True)
class StyleGAN2Config:
    """Shape of the network; the defaults are the FFHQ 1024 model's.

    Attributes:
        widths: channels at 4x4, 8x8, ... up to the image's size.
        latent: length of z and of a W code.
        mapping_layers: depth of the mapping.
        clamp: bound on what convolutions give, of networks trained in half precision.
    """

    widths: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64, 32)
    latent: int = 512
    mapping_layers: int = 8
    clamp: float | None = None

    def __post_init__(self) -> None:
        """Raises `ValueError` for a size that is not one of `SIZES`."""
        if self.image_size not in SIZES:
            raise ValueError(f"a StyleGAN2 draws {SIZES} pixels, not {self.image_size}")

    @property
    def image_size(self) -> int:
        """Pixels of an image."""
        return 2 << len(self.widths)

    @classmethod
    def of_size(cls, size: int, multiplier: int = 2, mapping_layers: int = 8) -> StyleGAN2Config:
        """The published widths of a size: 512 up to 32 px, then `multiplier` times 16384 / px."""
        steps = [4 << i for i in range(size.bit_length() - 2)]
        widths = tuple(512 if r < 64 else multiplier * 16384 // r for r in steps)
        return cls(widths, mapping_layers=mapping_layers)

    @classmethod
    def of_weights(
        cls, weights: Mapping[str, torch.Tensor], clamp: float | None = None
    ) -> StyleGAN2Config:
        """Size, widths and depth as the names and shapes of weights say; nothing is checked.

        Raises:
            ValueError: the names are not a StyleGAN2's, or of no size that there is.
        """
        depth = _highest(weights, r"style\.(\d{1,2})\.")
        to_image = _highest(weights, r"to_rgbs\.(\d{1,2})\.")
        convolutions = _highest(weights, r"convs\.(\d{1,2})\.")
        if None in (depth, to_image, convolutions):
            raise ValueError("the weights are not a StyleGAN2's (style.1.weight, convs.0, ...)")
        blocks = max(to_image or 0, (convolutions or 0) // 2) + 1
        widths = [_width(weights, ("conv1.activate.bias", "to_rgb1.conv.modulation.bias"))]
        for i in range(blocks):
            own = f"convs.{2 * i}.activate.bias", f"convs.{2 * i + 1}.activate.bias"
            widths.append(_width(weights, (*own, f"to_rgbs.{i}.conv.modulation.bias")))
        latent = _width(weights, ("style.1.bias",))
        return cls(tuple(widths), latent, depth or 0, clamp)

    def layout(self) -> StyleLayout:
        """First convolution and to-image layer, then those two and an upsampling for each size."""
        layers = [
            StyleLayer("conv1", self.widths[0], 4, row=0),
            StyleLayer("to_rgb1", self.widths[0], 4, row=1, to_image=True),
        ]
        for i, (below, width) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
            res, row = 8 << i, 2 * i + 1
            layers.append(StyleLayer(f"convs.{2 * i}", below, res // 2, row=row))
            layers.append(StyleLayer(f"convs.{2 * i + 1}", width, res, row=row + 1))
            layers.append(StyleLayer(f"to_rgbs.{i}", width, res, row=row + 2, to_image=True))
        marked = [
            StyleLayer(x.name, x.channels, x.resolution, x.row, x.to_image, early=n < EARLY)
            for n, x in enumerate(layers)
        ]
        return StyleLayout(tuple(marked), rows=2 * len(self.widths))

    def expected_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor of such a network (without ``latent_avg``)."""
        d = self.latent
        shapes: dict[str, tuple[int, ...]] = {}
        for i in range(1, self.mapping_layers + 1):
            shapes |= {f"style.{i}.weight": (d, d), f"style.{i}.bias": (d,)}
        shapes["input.input"] = (1, self.widths[0], 4, 4)
        convolutions = 0
        for layer in self.layout():
            n, c = layer.name, layer.channels
            if layer.to_image:
                shapes |= {f"{n}.conv.weight": (1, 3, c, 1, 1), f"{n}.bias": (1, 3, 1, 1)}
            else:
                step = (convolutions + 1) // 2
                out, res = self.widths[step], 4 << step
                shapes |= {
                    f"{n}.conv.weight": (1, out, c, 3, 3),
                    f"{n}.activate.bias": (out,),
                    f"{n}.noise.weight": (1,),
                    f"noises.noise_{convolutions}": (1, 1, res, res),
                }
                convolutions += 1
            shapes |= {f"{n}.conv.modulation.weight": (c, d), f"{n}.conv.modulation.bias": (c,)}
        return shapes


class StyleGAN2(torch.nn.Module):
    """The generator behind the `Generator` protocol; see `ris.generators.generator`.

    Args:
        weights: tensors by the names of `StyleGAN2Config.expected_shapes`, and ``latent_avg``
            (512,), the mean of W, if it is known.
        config: shape of the network; by default what the weights say.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the first is named.
    """

    def __init__(
        self, weights: Mapping[str, torch.Tensor], config: StyleGAN2Config | None = None
    ) -> None:
        super().__init__()
        self.config = config or StyleGAN2Config.of_weights(weights)
        self.layout = self.config.layout()
        self.latent_size = self.config.latent
        self.image_size = self.config.image_size
        self.name = f"stylegan2-{self.image_size}"
        network = {k: v for k, v in weights.items() if k != LATENT_AVERAGE}
        check_shapes(network, self.config.expected_shapes())
        average = weights.get(LATENT_AVERAGE)
        if average is not None:
            check_shapes({LATENT_AVERAGE: average}, {LATENT_AVERAGE: (self.latent_size,)})
            average = average.detach().float()
        self._mean = average
        self.fingerprint = fingerprint(network, self.config.clamp)
        for name, tensor in self._prepared(network).items():
            self.register_buffer(buffer_key(name), tensor)

    def _prepared(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The weights with every constant factor in them, under the layers' names."""
        get = {k: v.detach().float() for k, v in weights.items()}
        made = {"const": get["input.input"]}
        scale = MAPPING_RATE / self.latent_size**0.5
        for i in range(1, self.config.mapping_layers + 1):
            made[f"style.{i}.weight"] = get[f"style.{i}.weight"] * scale
            made[f"style.{i}.bias"] = get[f"style.{i}.bias"] * MAPPING_RATE
        convolutions = 0
        for layer in self.layout:
            n = layer.name
            made[f"{n}.affine.weight"] = get[f"{n}.conv.modulation.weight"] / self.latent_size**0.5
            made[f"{n}.affine.bias"] = get[f"{n}.conv.modulation.bias"]
            weight = get[f"{n}.conv.weight"][0]
            weight = weight / weight[0].numel() ** 0.5  # [O, C, k, k]
            if layer.to_image:
                made |= {f"{n}.weight": weight, f"{n}.bias": get[f"{n}.bias"].flatten()}
                continue
            made[f"{n}.power"] = weight.square().sum((2, 3))  # [O, C]
            made[f"{n}.weight"] = weight.transpose(0, 1) if self._upsamples(n) else weight
            made[f"{n}.bias"] = get[f"{n}.activate.bias"][:, None, None]
            noise = get[f"noises.noise_{convolutions}"]
            made[f"{n}.noise"] = noise * get[f"{n}.noise.weight"]  # [1, 1, H, W]
            convolutions += 1
        taps = torch.tensor(FILTER) / sum(FILTER)
        made["filter"] = 4 * torch.outer(taps, taps)
        # copies: what a file's reader gives may be a view of the file
        return {k: channels_last(v.clone()) for k, v in made.items()}

    @staticmethod
    def _upsamples(name: str) -> bool:
        return name.startswith("convs.") and int(name.split(".")[1]) % 2 == 0

    def _get(self, name: str) -> torch.Tensor:
        return self._buffers[buffer_key(name)]  # type: ignore[return-value]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._get("const").device

    def using(self, impl: Impl) -> StyleGAN2:
        """Itself: it has no kernels of its own."""
        return self

    def mapping(self, z: torch.Tensor) -> torch.Tensor:
        """(B, 512) standard normal -> (B, 512) W."""
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + EPSILON)
        for i in range(1, self.config.mapping_layers + 1):
            x = F.linear(x, self._get(f"style.{i}.weight"), self._get(f"style.{i}.bias"))
            x = F.leaky_relu(x, SLOPE) * GAIN
        return x

    @torch.no_grad()
    def mean_w(self) -> torch.Tensor:
        """(512,) mean of W that came with the weights, else over sampled codes."""
        if self._mean is None:
            self._mean = sampled_mean(self.mapping, self.latent_size, self.device)
        return self._mean.to(self.device)

    def sigma(self, w: torch.Tensor) -> torch.Tensor:
        """(B, 512) W or (B, L, 512) W+ -> (B, C) style coefficients."""
        return style_coefficients(w, self.layout, self.latent_size, self._get)

    def apply_layer(self, index: int, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Applies a style layer.

        Args:
            index: of the layer in the layout.
            x: (B, C, H, W) its input, an `Activation`.
            sigma: (B, S) all style coefficients.

        Returns:
            the next activation; of a to-image layer its part of the image, (B, 3, H, W).
        """
        layer = self.layout.layers[index]
        name, clamp = layer.name, self.config.clamp
        style = sigma[:, self.layout.slices[index]]  # [B, C]
        weight, bias = self._get(f"{name}.weight"), self._get(f"{name}.bias")
        x = x * style[:, :, None, None]
        if layer.to_image:
            x = F.conv2d(x, weight, bias)
            return x if clamp is None else x.clamp(-clamp, clamp)
        if self._upsamples(name):
            x = self._smooth(F.conv_transpose2d(x, weight, stride=2))
        else:
            x = F.conv2d(x, weight, padding=1)
        demodulation = F.linear(style.square(), self._get(f"{name}.power")).add(EPSILON).rsqrt()
        x = x * demodulation[:, :, None, None]
        x += self._get(f"{name}.noise")
        x += bias
        x = F.leaky_relu(x, SLOPE, inplace=True) * GAIN
        return x if clamp is None else x.clamp(-clamp, clamp)

    def _smooth(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H + 1, W + 1) -> (B, C, H, W): the filter by columns, then by rows."""
        x = F.pad(x, (1, 1, 1, 1))
        outer, inner = (2 * value / sum(FILTER) for value in FILTER[:2])
        for dim in (3, 2):
            taps = [x.narrow(dim, k, x.shape[dim] - 3) for k in range(4)]
            x = (taps[0] + taps[3]).mul_(outer)
            x = x.add_(taps[1], alpha=inner).add_(taps[2], alpha=inner)
        return x

    def _enlarge(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, 3, 2H, 2W): zeros between the pixels, then the filter."""
        kernel = self._get("filter").expand(3, 1, 4, 4)
        return F.conv_transpose2d(image, kernel, stride=2, padding=1, groups=3)

    def activations(
        self, sigma: torch.Tensor, max_resolution: int | None = None
    ) -> Iterator[Activation]:
        """Every style layer's input in layout order; see the protocol."""
        x = self._get("const").expand(len(sigma), -1, -1, -1)
        waiting: int | None = None  # the convolution that makes the next activation
        for i, layer in enumerate(self.layout):
            if max_resolution is not None and layer.resolution > max_resolution:
                return
            if waiting is not None:
                x, waiting = self.apply_layer(waiting, x, sigma), None
            yield Activation(i, x)
            if not layer.to_image:
                waiting = i

    def render(self, sigma: torch.Tensor) -> torch.Tensor:
        """(B, C) style coefficients -> (B, 3, S, S) image, about [-1, 1]."""
        image: torch.Tensor | None = None
        for i, x in self.activations(sigma):
            if self.layout.layers[i].to_image:
                part = self.apply_layer(i, x, sigma)
                image = part if image is None else part + self._enlarge(image)
        assert image is not None
        return image


def fingerprint(weights: Mapping[str, torch.Tensor], clamp: float | None = None) -> str:
    """Order-independent hash of names and values; the mean of W is no part of the network."""
    floats = {name: tensor.float() for name, tensor in weights.items()}
    after = b"" if clamp is None else f"clamp {float(clamp)}".encode()
    return f"stylegan2-{tensor_digest(floats, after=after)}"


def _highest(weights: Mapping[str, torch.Tensor], pattern: str) -> int | None:
    """The highest number in the names of a numbered pattern."""
    found = (re.match(pattern, name) for name in weights)
    return max((int(match[1]) for match in found if match), default=None)


def _width(weights: Mapping[str, torch.Tensor], names: tuple[str, ...]) -> int:
    """Length that most of these vectors have, so that the odd one is named as wrong later."""
    found = [weights[n].numel() for n in names if n in weights]
    if not found:
        raise ValueError(f"the weights lack {names[0]}")
    return mode(found)
