"""MobileStyleGAN (Belousov 2021, arXiv:2104.04767) in plain torch.

A 1024 px face generator distilled from StyleGAN2-FFHQ: it shares StyleGAN2-FFHQ's W space and
replaces the dense convolutions by depthwise-separable ones and the upsampling by inverse Haar
transforms. The weights come in inference form: demodulation folded into the pointwise weights,
one fixed noise map per convolution, so that rendering is deterministic.
"""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

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
from ris.ops import separable
from ris.ops.calls import Impl, kernels

SLOPE = 0.2  # of every LeakyReLU
MAPPING_LAYERS = 8
PARTS = ("depthwise", "weight", "noise", "bias")  # of a convolution


@dataclass(frozen=True)
class MobileStyleGANConfig:
    """Widths of the synthesis network; the defaults are the released FFHQ 1024 model's."""

    latent: int = 512
    input_channels: int = 512  # of the learned 4x4 constant
    blocks: tuple[int, ...] = (512, 512, 512, 512, 256, 128, 64)  # 8x8 .. 512x512

    @property
    def image_size(self) -> int:
        """The last inverse Haar transform doubles the last block's resolution."""
        return 8 << len(self.blocks)

    def layout(self) -> StyleLayout:
        """conv1, then up/conv1/conv2 of each block, then the to-image layer."""
        layers = [StyleLayer("conv1", self.input_channels, 4, row=0, early=True)]
        width = self.input_channels
        for i, out in enumerate(self.blocks):
            res, row, early = 8 * 2**i, 3 * i + 1, i == 0
            layers.append(StyleLayer(f"{i}.up", width, res // 2, row=row, early=early))
            layers.append(StyleLayer(f"{i}.conv1", width // 4, res, row=row, early=early))
            layers.append(StyleLayer(f"{i}.conv2", out, res, row=row + 1, early=early))
            width = out
        last = 3 * len(self.blocks)
        layers.append(StyleLayer("to_img", width, res, row=last, to_image=True))
        return StyleLayout(tuple(layers), rows=last + 1)


def inverse_haar(x: torch.Tensor) -> torch.Tensor:
    """(B, 4c, H, W) wavelet bands -> (B, c, 2H, 2W).

    The first c channels are LL; the other 3c are channel-major triples (LH, HL, HH).
    """
    b, channels, h, w = x.shape
    c = channels // 4
    ll, rest = x[:, :c], x[:, c:].reshape(b, c, 3, h, w)
    lh, hl, hh = rest.unbind(2)  # each [B, c, H, W]
    low = torch.stack((ll + lh, ll - lh), dim=3)  # rows interleaved: [B, c, H, 2, W]
    high = torch.stack((hl + hh, hl - hh), dim=3)
    out = torch.stack((low + high, low - high), dim=-1)  # [B, c, H, 2, W, 2]
    return out.reshape(b, c, 2 * h, 2 * w).mul_(0.5)


class _InverseHaarByPixel(torch.autograd.Function):
    """`inverse_haar` without its factor of a half for channels-last tensors.

    Both ways keep the memory order: autograd's own way back through a channels-last transform
    yields gradients in the other order, and all that follow pay for it.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """(B, 4c, H, W) -> (B, c, 2H, 2W), both channels-last."""
        b, channels, h, w = x.shape
        c = channels // 4
        pixels = x.permute(0, 2, 3, 1)
        ll = pixels[..., :c]
        lh, hl, hh = (pixels[..., c + k :: 3] for k in range(3))
        top, bottom = ll + lh, ll - lh
        right_top, right_bottom = hl + hh, hl - hh
        out = x.new_empty(b, h, 2, w, 2, c)
        torch.add(top, right_top, out=out[:, :, 0, :, 0])
        torch.sub(top, right_top, out=out[:, :, 0, :, 1])
        torch.add(bottom, right_bottom, out=out[:, :, 1, :, 0])
        torch.sub(bottom, right_bottom, out=out[:, :, 1, :, 1])
        return out.view(b, 2 * h, 2 * w, c).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        """The transform's transpose, which is its inverse but for the factor."""
        b, c, h2, w2 = grad.shape
        pixels = grad.permute(0, 2, 3, 1).reshape(b, h2 // 2, 2, w2 // 2, 2, c)
        top, bottom = pixels[:, :, 0], pixels[:, :, 1]  # [B, H, W, 2, c]
        t_sum, t_off = top[..., 0, :] + top[..., 1, :], top[..., 0, :] - top[..., 1, :]
        b_sum, b_off = bottom[..., 0, :] + bottom[..., 1, :], bottom[..., 0, :] - bottom[..., 1, :]
        out = grad.new_empty(b, h2 // 2, w2 // 2, 4 * c)
        torch.add(t_sum, b_sum, out=out[..., :c])
        torch.sub(t_sum, b_sum, out=out[..., c::3])
        torch.add(t_off, b_off, out=out[..., c + 1 :: 3])
        torch.sub(t_off, b_off, out=out[..., c + 2 :: 3])
        return out.permute(0, 3, 1, 2)


class MobileStyleGAN(torch.nn.Module):
    """The generator behind the `Generator` protocol; see `ris.generators.generator`.

    Args:
        weights: tensors by name. Mapping: ``mapping.{i}.weight`` and ``.bias``. Per style
            layer NAME of the layout: ``NAME.affine.weight`` (C, 512) and ``.affine.bias``.
            Convolutions also ``NAME.depthwise`` (C, 1, 3, 3) (not for the 4x4 layer),
            ``NAME.weight`` (C_out, C, k, k), ``NAME.noise`` (1, 1, H, W) and ``NAME.bias``;
            ``to_img.weight``, ``to_img.bias`` and ``const`` (1, C, 4, 4).
        config: widths; must agree with the weights.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the first is named.
    """

    name = "mobilestylegan-ffhq"
    impl: Impl = "auto"
    """Whether layers run by the kernels of `ris.ops.separable`."""

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor],
        config: MobileStyleGANConfig | None = None,
    ) -> None:
        super().__init__()
        self.config = config or MobileStyleGANConfig()
        self.layout = self.config.layout()
        self.latent_size = self.config.latent
        self.image_size = self.config.image_size
        check_shapes(weights, self.expected_shapes())
        for name, tensor in weights.items():
            self.register_buffer(buffer_key(name), channels_last(tensor.detach().float()))
        self._scale = {  # equalised learning rate of convolutions, applied to their input
            layer.name: (layer.channels * (1 if layer.to_image else 9)) ** -0.5
            for layer in self.layout
        }
        self.fingerprint = _fingerprint(weights)
        self._mean: torch.Tensor | None = None
        self._packed: dict[str, separable.Packed | None] = {}

    def expected_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that the constructor wants."""
        cfg, d = self.config, self.config.latent
        shapes: dict[str, tuple[int, ...]] = {"const": (1, cfg.input_channels, 4, 4)}
        for i in range(MAPPING_LAYERS):
            shapes |= {f"mapping.{i}.weight": (d, d), f"mapping.{i}.bias": (d,)}
        out = cfg.input_channels
        for i, layer in enumerate(self.layout):
            n, c = layer.name, layer.channels
            shapes |= {f"{n}.affine.weight": (c, d), f"{n}.affine.bias": (c,)}
            if layer.to_image:
                shapes |= {f"{n}.weight": (12, c, 1, 1), f"{n}.bias": (12,)}
            elif not n.endswith("up"):
                if i:
                    out = cfg.blocks[int(n.split(".")[0])]
                    shapes[f"{n}.depthwise"] = (c, 1, 3, 3)
                k, r = (1, layer.resolution) if i else (3, 4)
                shapes |= {f"{n}.weight": (out, c, k, k), f"{n}.bias": (out,)}
                shapes[f"{n}.noise"] = (1, 1, r, r)
        return shapes

    def _get(self, name: str) -> torch.Tensor:
        return self._buffers[buffer_key(name)]  # type: ignore[return-value]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._get("const").device

    @property
    def dtype(self) -> torch.dtype:
        """Type in which activations are computed; codes and sigma are float32 whatever it is."""
        return self._get("const").dtype

    def cast(self, dtype: torch.dtype) -> MobileStyleGAN:
        """This generator with activations of another type.

        Such a copy is for gradients and previews: in bfloat16 a picture is off by .004 on
        average, its gradient's direction by a hundredth of a degree, at a third of the time
        where the processor has bfloat16 arithmetic.
        """
        other = copy.copy(self)
        other._buffers = {
            key: buffer
            if buffer is None or "affine" in key or "mapping" in key
            else buffer.to(dtype)
            for key, buffer in self._buffers.items()
        }
        return other

    def using(self, impl: Impl) -> MobileStyleGAN:
        """This generator with its layers run by the kernels, or by torch alone."""
        other = copy.copy(self)
        other.impl = impl
        return other

    def mapping(self, z: torch.Tensor) -> torch.Tensor:
        """(B, 512) standard normal -> (B, 512) W."""
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for i in range(MAPPING_LAYERS):
            x = F.linear(x, self._get(f"mapping.{i}.weight"), self._get(f"mapping.{i}.bias"))
            x = F.leaky_relu(x, SLOPE) * 2**0.5
        return x

    @torch.no_grad()
    def mean_w(self) -> torch.Tensor:
        """(512,) mean of W over sampled codes."""
        if self._mean is None:
            self._mean = sampled_mean(self.mapping, self.latent_size, self.device)
        return self._mean

    def sigma(self, w: torch.Tensor) -> torch.Tensor:
        """(B, 512) W or (B, L, 512) W+ -> (B, C) style coefficients."""
        return style_coefficients(w, self.layout, self.latent_size, self._get)

    def apply_layer(
        self, index: int, x: torch.Tensor, sigma: torch.Tensor, outputs: int | None = None
    ) -> torch.Tensor:
        """Applies a style layer.

        Args:
            index: of the layer in the layout.
            x: (B, C, H, W) its input, an `Activation`.
            sigma: (B, S) of the generator's `dtype`.
            outputs: how many channels of a convolution are wanted, the first ones; None: all.
        """
        layer = self.layout.layers[index]
        name = layer.name
        style = sigma[:, self.layout.slices[index]]  # [B, C]
        if library := kernels(self.impl, x, sigma):
            if name.endswith("up"):
                return separable.haar_up(library, x, style)
            whole = outputs is None and not layer.to_image
            packed = self._pack(library, name) if whole else None
            if packed is not None:
                return separable.convolution(library, packed, x, style, self._scale[name])
        style = style[:, :, None, None]
        if name.endswith("up"):
            if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
                # exporters know no functions of our own
                return inverse_haar(x * style)
            found: torch.Tensor = _InverseHaarByPixel.apply(  # type: ignore[no-untyped-call]
                x * (style * 0.5)
            )
            return found
        x = x * (style * self._scale[name])
        if layer.to_image:
            bands = F.conv2d(x, self._get("to_img.weight"), self._get("to_img.bias"))
            return inverse_haar(bands)
        if index == 0:
            x = F.conv2d(x, self._get("conv1.weight"), self._get("conv1.bias"), padding=1)
        else:
            depthwise = self._get(f"{name}.depthwise")
            x = F.conv2d(x, depthwise, padding=1, groups=layer.channels)
            weight, bias = self._get(f"{name}.weight"), self._get(f"{name}.bias")
            x = F.conv2d(x, weight[:outputs], bias[:outputs])
        x += self._get(f"{name}.noise")
        return F.leaky_relu(x, SLOPE, inplace=True)

    def _pack(self, library: ctypes.CDLL, name: str) -> separable.Packed | None:
        """Weights of a convolution for the kernels, made once; None: they do not take it."""
        if name not in self._packed:
            depthwise, *others = (self._buffers.get(buffer_key(f"{name}.{part}")) for part in PARTS)
            weight, noise, bias = (x for x in others if x is not None)
            self._packed[name] = separable.pack(library, depthwise, weight, noise, bias)
        return self._packed[name]

    def _start(self, batch: int) -> torch.Tensor:
        return channels_last(self._get("const").expand(batch, -1, -1, -1))

    def activations(
        self, sigma: torch.Tensor, max_resolution: int | None = None
    ) -> Iterator[Activation]:
        """Every style layer's input in layout order; see the protocol."""
        sigma = sigma.to(self.dtype)
        x = self._start(len(sigma))
        for i, layer in enumerate(self.layout):
            if max_resolution is not None and layer.resolution > max_resolution:
                return
            if i:
                x = self.apply_layer(i - 1, x, sigma)
            yield Activation(i, x)

    def render(self, sigma: torch.Tensor) -> torch.Tensor:
        """(B, C) style coefficients -> (B, 3, 1024, 1024) image, about [-1, 1]."""
        sigma = sigma.to(self.dtype)
        x = self._start(len(sigma))
        for i in range(len(self.layout)):
            x = self.apply_layer(i, x, sigma)
        return x


def _fingerprint(weights: Mapping[str, torch.Tensor]) -> str:
    """Order-independent hash of names and values."""
    floats = {name: tensor.float() for name, tensor in weights.items()}
    return f"mobilestylegan-{tensor_digest(floats)}"
