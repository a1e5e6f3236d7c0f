"""Kernels behind `ris.backbones.graph`: runs of convolutions on channels-last activations.

A convolution, the depthwise one before it, the sum with an earlier value after it and the
activation become one layer, and all layers of a network one call, which holds no lock of Python's.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import c_long
from dataclasses import dataclass, field

import numpy as np
import torch

from ris.ops.calls import address

GIVEN = -1
"""Place of the input, which lies elsewhere."""


@dataclass
class Layer:
    """One layer.

    Attributes:
        source, target: numbers of the values that it reads and writes.
        shape, made: (H, W, C) of both.
        weight: (C_out, k, k, C_in), None for a maximum over 2x2 pixels.
        bias: (C_out,).
        taps: (3, 3, C_in) of the depthwise convolution that comes first.
        stride: of the first convolution.
        before: zeros above and to the left of its input.
        skip: number of the value that is added; it may have fewer channels.
        slope: (C_out,) of what is below zero.
    """

    source: int
    target: int
    shape: tuple[int, int, int]
    made: tuple[int, int, int]
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    taps: np.ndarray | None = None
    stride: int = 1
    before: tuple[int, int] = (0, 0)
    skip: int | None = None
    slope: np.ndarray | None = None

    def reads(self) -> list[int]:
        """The values that must be there."""
        return [self.source] if self.skip is None else [self.source, self.skip]


@dataclass
class Layers:
    """Layers with all that the kernel needs; nothing in it changes when it runs.

    Attributes:
        results: number, place, shape and floats a pixel of each value that is asked for.
    """

    library: ctypes.CDLL
    table: np.ndarray
    size: int
    results: list[tuple[int, int, tuple[int, int, int], int]]
    weights: list[torch.Tensor] = field(default_factory=list)
    """Keeps alive what the table points to."""

    def __call__(self, given: torch.Tensor) -> dict[int, torch.Tensor]:
        """The values that are asked for, (1, H, W, C), for an input (1, H, W, C)."""
        given = given.contiguous()
        memory = torch.empty(self.size)
        self.library.ris_layers(
            ctypes.c_void_p(self.table.ctypes.data),
            c_long(len(self.table)),
            address(given),
            address(memory),
        )
        made = {}
        for number, place, (height, width, channels), stride in self.results:
            strides = (height * width * stride, width * stride, stride, 1)
            made[number] = memory.as_strided((1, height, width, channels), strides, place)
        return made


def pack(
    library: ctypes.CDLL, layers: Sequence[Layer], given: int, asked: Sequence[int]
) -> Layers | None:
    """Layers for the kernel; None where one is too wide for it.

    Args:
        library: the kernels.
        layers: in the order in which they run.
        given: number of the input, which takes no more than its channels a pixel.
        asked: numbers of the values that are wanted.
    """
    width, longest = int(library.ris_layer_width()), int(library.ris_layer_depth())
    places = _places(layers, given, asked, lambda n: -(-n // width) * width)
    found = Layers(library, np.zeros((len(layers), 20), np.int64), places.size, [])

    def keep(values: np.ndarray) -> int:
        tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32))
        found.weights.append(tensor)
        return tensor.data_ptr()

    def wide(values: np.ndarray, to: int) -> np.ndarray:
        return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, to - values.shape[-1])])

    for row, layer in zip(found.table, layers, strict=True):
        stride = places.stride[layer.source]
        taps = weight = bias = slope = 0
        depth = kernel = 0
        if layer.weight is not None and layer.bias is not None:
            matrix = layer.weight.reshape(len(layer.weight), -1)
            depth, kernel, full = (
                matrix.shape[1],
                layer.weight.shape[1],
                places.stride[layer.target],
            )
            packed = np.empty((full, depth), np.float32)
            library.ris_layer_pack(
                ctypes.c_void_p(np.ascontiguousarray(matrix, np.float32).ctypes.data),
                c_long(depth), c_long(len(matrix)), ctypes.c_void_p(packed.ctypes.data),
            )  # fmt: skip
            weight, bias = keep(packed), keep(wide(layer.bias, full))
            slope = 0 if layer.slope is None else keep(wide(layer.slope, full))
            if layer.taps is not None:
                depth, kernel, taps = stride, 3, keep(wide(layer.taps.reshape(9, -1), stride))
        if depth > longest:
            return None
        skip = -1 if layer.skip is None else places.at[layer.skip]
        row[:] = (
            layer.weight is None,
            places.at[layer.source], stride, *layer.shape,
            places.at[layer.target], *layer.made,
            kernel, layer.stride, *layer.before,
            skip, 0 if layer.skip is None else places.stride[layer.skip],
            taps, weight, bias, slope,
        )  # fmt: skip
    shapes = {layer.target: layer.made for layer in layers}
    found.results = [(n, places.at[n], shapes[n], places.stride[n]) for n in asked]
    return found


@dataclass
class _Places:
    """Where each value lies, and the floats that a pixel of it takes."""

    at: dict[int, int]
    stride: dict[int, int]
    size: int = 0


def _places(
    layers: Sequence[Layer], given: int, asked: Sequence[int], padded: Callable[[int], int]
) -> _Places:
    """Places in one piece of memory; a value that nobody reads any more makes room."""
    last = {number: n for n, layer in enumerate(layers) for number in layer.reads()}
    last |= dict.fromkeys(asked, len(layers))
    found = _Places({given: GIVEN}, {given: layers[0].shape[2]})
    free: list[tuple[int, int]] = []  # size and place
    taken: dict[int, tuple[int, int]] = {}
    for n, layer in enumerate(layers):
        height, width, channels = layer.made
        stride = padded(channels)
        size = height * width * stride
        fitting = sorted(piece for piece in free if piece[0] >= size)
        if fitting:
            piece = fitting[0]
            free.remove(piece)
        else:
            piece = (size, found.size)
            found.size += size
        taken[layer.target] = piece
        found.at[layer.target], found.stride[layer.target] = piece[1], stride
        for number in [number for number in taken if last.get(number, n) <= n]:
            free.append(taken.pop(number))
    return found
