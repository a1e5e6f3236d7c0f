"""Kernels behind `ris.generators.mobilestylegan`: its layers on channels-last activations."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_long
from dataclasses import dataclass

import torch

from ris.ops.calls import address, as_channels_last, check_shape, run, threads


@dataclass(frozen=True)
class Packed:
    """Weights of a convolution with noise, bias and LeakyReLU (slope 0.2), as the kernels want
    them.

    Attributes:
        taps: (9, C) depthwise weights; None for a full 3x3 convolution.
        weight: the pointwise weights in panels, or those of nine taps.
        noise: (H, W); bias: (C_out,).
        inputs, outputs: C and C_out.
    """

    taps: torch.Tensor | None
    weight: torch.Tensor
    noise: torch.Tensor
    bias: torch.Tensor
    inputs: int
    outputs: int


def pack(
    library: ctypes.CDLL,
    depthwise: torch.Tensor | None,
    weight: torch.Tensor,
    noise: torch.Tensor,
    bias: torch.Tensor,
) -> Packed | None:
    """Weights (C, 1, 3, 3) or None, (C_out, C, k, k), (1, 1, H, W), (C_out,), the middle one 1x1
    after a depthwise one, else 3x3; None for widths that the kernels do not take.

    Raises:
        ValueError: other shapes.
    """
    outputs, inputs = weight.shape[:2]
    step = library.ris_separable_step()
    if inputs > library.ris_separable_depth() or inputs % step or outputs % step:
        return None
    side = 1 if depthwise is not None else 3
    check_shape("a weight", weight, (outputs, inputs, side, side))
    check_shape("a bias", bias, (outputs,))
    if depthwise is not None:
        check_shape("a depthwise weight", depthwise, (inputs, 1, 3, 3))
    matrices = weight.detach().permute(2, 3, 0, 1).reshape(-1, outputs, inputs).contiguous()
    packed = torch.empty_like(matrices)
    for matrix, own in zip(matrices, packed, strict=True):
        library.ris_pack(address(matrix), c_long(inputs), c_long(outputs), address(own))
    taps = None if depthwise is None else depthwise.detach().reshape(inputs, 9).t().contiguous()
    return Packed(taps, packed, noise.contiguous(), bias.contiguous(), inputs, outputs)


def convolution(
    library: ctypes.CDLL, layer: Packed, x: torch.Tensor, style: torch.Tensor, scale: float
) -> torch.Tensor:
    """Style, convolution, noise, bias and LeakyReLU in one pass.

    Args:
        library: the kernels.
        layer: from `pack`.
        x: (B, C, H, W); copied unless it is channels-last.
        style: (B, C).
        scale: factor of the style.

    Returns:
        (B, C_out, H, W) channels-last.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    check_shape("an activation", x, (None, layer.inputs, None, None))
    x, style = as_channels_last(x), style.contiguous()
    b, _, height, width = x.shape
    check_shape("a style", style, (b, layer.inputs))
    check_shape("the noise", layer.noise.reshape(layer.noise.shape[-2:]), (height, width))
    made = _empty(b, layer.outputs, height, width)
    kernel = library.ris_dense if layer.taps is None else library.ris_separable
    for i in range(b):
        run(
            kernel,
            address(x[i]),
            *map(c_long, (height, width, layer.inputs, layer.outputs)),
            *(() if layer.taps is None else (address(layer.taps),)),
            address(style[i]),
            c_float(scale),
            address(layer.weight),
            address(layer.noise),
            address(layer.bias),
            address(made[i]),
            threads(),
        )
    return made


def haar_up(library: ctypes.CDLL, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """(B, 4c, H, W), (B, 4c) style -> (B, c, 2H, 2W): inverse Haar transform of their product."""
    check_shape("an activation", x, (None, None, None, None))
    x, style = as_channels_last(x), style.contiguous()
    b, channels, height, width = x.shape
    check_shape("a style", style, (b, channels))
    if channels % 4:
        raise ValueError(f"a Haar transform takes four bands, not {channels} channels")
    made = _empty(b, channels // 4, 2 * height, 2 * width)
    for i in range(b):
        run(
            library.ris_haar_up,
            address(x[i]),
            *map(c_long, (height, width, channels)),
            address(style[i]),
            address(made[i]),
            threads(),
        )
    return made


def _empty(b: int, channels: int, height: int, width: int) -> torch.Tensor:
    return torch.empty(b, height, width, channels).permute(0, 3, 1, 2)
