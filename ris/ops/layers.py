"""Kernels behind `ris.networks.fused`: layers of small networks on channels-last activations.

A run of layers is one call, on one thread, which holds no lock of Python's. Between its layers a
pixel takes whole vectors: its channels, then zeros. What is given to it takes its channels alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_long
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import torch

from ris.ops.calls import address, run

Size = tuple[int, int, int]
"""(H, W, C)."""


class Kind(IntEnum):
    """What a layer does, as `layers.cpp` numbers it."""

    CONVOLUTION = 0
    """A depthwise convolution of 3x3, if any; a convolution, a sum and an activation."""
    POOL = 1
    """Maxima over 2x2 pixels."""
    NORM = 2
    """Layer normalisation over the channels."""
    TRANSPOSE = 3
    """The pixels of one row become channels; and a sum."""


@dataclass(frozen=True)
class Limits:
    """What the kernels take: floats of a vector, and the longest row of a matrix product."""

    width: int
    depth: int

    def padded(self, channels: int) -> int:
        """Floats that a pixel takes between layers."""
        return -(-channels // self.width) * self.width


def limits(library: ctypes.CDLL) -> Limits:
    """Those of a library."""
    return Limits(int(library.ris_layer_width()), int(library.ris_layer_depth()))


@dataclass
class Layer:
    """One layer.

    Attributes:
        kind: what it does.
        source, target: numbers of the values that it reads and writes.
        shape, made: their sizes.
        weight: (C_out, k, k, C) of a convolution.
        bias: (C_out,) of a convolution, (1,) what a norm adds to the variance.
        taps: (3, 3, C) of the depthwise convolution that comes first.
        stride: of the first convolution.
        before: zeros above and to the left of its input.
        skip: number of the value that is added.
        skip_channels: how many it has; where it has fewer, nothing is added to the others.
        slope: (C_out,) of what is below zero, or the gain of a norm.
    """

    kind: Kind
    source: int
    target: int
    shape: Size
    made: Size
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    taps: np.ndarray | None = None
    stride: int = 1
    before: tuple[int, int] = (0, 0)
    skip: int | None = None
    skip_channels: int = 0
    slope: np.ndarray | None = None

    def reads(self) -> list[int]:
        """The values that must be there."""
        return [self.source] if self.skip is None else [self.source, self.skip]

    def reads_vectors(self) -> bool:
        """Whether the pixels of its source must take whole vectors, as those of a sum must."""
        return self.kind != Kind.CONVOLUTION or self.taps is not None

    def sums(self) -> bool:
        """Whether something can be added."""
        return self.kind == Kind.TRANSPOSE or self.weight is not None

    def fits(self, bounds: Limits) -> bool:
        """Whether the kernels take it."""
        channels = self.shape[2]
        if self.kind == Kind.NORM:
            return channels % bounds.width == 0
        if self.kind != Kind.CONVOLUTION:
            return True
        if self.weight is None:
            return False
        return bounds.padded(channels) <= bounds.depth and self.weight[0].size <= bounds.depth


@dataclass
class Layers:
    """A run of layers, with all that the kernels need; nothing in it changes when it runs."""

    library: ctypes.CDLL
    table: np.ndarray
    """One row a layer, see `layers.cpp`."""
    given: list[int]
    """Numbers of the values that the run reads and does not make."""
    needed: list[int]
    """Floats that each of them has at least."""
    size: int
    """Floats that all between the layers takes."""
    made: dict[int, tuple[int, Size, int]]
    """Place, sizes and floats a pixel of each value that is asked for."""
    weights: list[np.ndarray] = field(default_factory=list)
    """What the table points to."""

    def run(self, known: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        """The values that are asked for, (1, H, W, C) by number.

        Raises:
            ValueError: a value that is read is smaller than it is said to be.
        """
        given = [known[number].contiguous() for number in self.given]
        for tensor, floats in zip(given, self.needed, strict=True):
            if tensor.dtype != torch.float32 or tensor.numel() < floats:
                raise ValueError(f"a layer reads {floats} floats, not {tuple(tensor.shape)}")
        memory = torch.empty(self.size)
        run(
            self.library.ris_layers,
            ctypes.c_void_p(self.table.ctypes.data),
            c_long(len(self.table)),
            (ctypes.c_void_p * len(given))(*(tensor.data_ptr() for tensor in given)),
            address(memory),
        )
        found = {}
        for number, (place, (height, width, channels), stride) in self.made.items():
            strides = (height * width * stride, width * stride, stride, 1)
            found[number] = memory.as_strided((1, height, width, channels), strides, place)
        return found


def pack(library: ctypes.CDLL, layers: Sequence[Layer], asked: Sequence[int]) -> Layers:
    """A run of layers that fit.

    Args:
        library: the kernels.
        layers: in the order in which they run.
        asked: numbers of the values that are wanted.
    """
    padded = limits(library).padded
    places = _places(layers, asked, padded)
    sizes = {layer.target: layer.made for layer in layers}
    run = Layers(
        library,
        np.zeros((len(layers), 20), np.int64),
        places.given,
        [places.needed[number] for number in places.given],
        places.size,
        {n: (places.at[n], sizes[n], places.stride[n]) for n in asked},
    )

    def keep(values: np.ndarray, to: int = 0) -> int:
        """Address of a copy, with zeros behind the last axis."""
        border = [(0, 0)] * (values.ndim - 1) + [(0, max(0, to - values.shape[-1]))]
        run.weights.append(np.ascontiguousarray(np.pad(values, border), np.float32))
        return run.weights[-1].ctypes.data

    for row, layer in zip(run.table, layers, strict=True):
        stride, full = places.stride[layer.source], places.stride[layer.target]
        kernel = weight = 0
        if layer.weight is not None:
            kernel = 3 if layer.taps is not None else layer.weight.shape[1]
            weight = keep(_packed(library, layer.weight.reshape(len(layer.weight), -1), full))
        row[:] = (
            layer.kind,
            places.at[layer.source], stride, *layer.shape,
            places.at[layer.target], *layer.made,
            kernel, layer.stride, *layer.before,
            *((0, 0) if layer.skip is None else (places.at[layer.skip], places.stride[layer.skip])),
            0 if layer.taps is None else keep(layer.taps.reshape(9, -1), stride),
            weight,
            0 if layer.bias is None else keep(layer.bias, full),
            0 if layer.slope is None else keep(layer.slope, full),
        )  # fmt: skip
    return run


def _packed(library: ctypes.CDLL, matrix: np.ndarray, columns: int) -> np.ndarray:
    outputs, inputs = matrix.shape
    matrix = np.ascontiguousarray(matrix, np.float32)
    packed = np.empty((columns, inputs), np.float32)
    addresses = (ctypes.c_void_p(a.ctypes.data) for a in (matrix, packed))
    library.ris_layer_pack(next(addresses), c_long(inputs), c_long(outputs), next(addresses))
    return packed


@dataclass
class _Places:
    """Where each value lies, and the floats that a pixel of it takes; `given` ones count down
    from -1."""

    at: dict[int, int] = field(default_factory=dict)
    stride: dict[int, int] = field(default_factory=dict)
    given: list[int] = field(default_factory=list)
    needed: dict[int, int] = field(default_factory=dict)
    size: int = 0


def _places(layers: Sequence[Layer], asked: Sequence[int], padded: Callable[[int], int]) -> _Places:
    """Places in one piece of memory; a value that nobody reads any more makes room."""
    last = {number: n for n, layer in enumerate(layers) for number in layer.reads()}
    last |= dict.fromkeys(asked, len(layers))
    found = _Places()
    free: list[tuple[int, int]] = []  # size and place
    taken: dict[int, tuple[int, int]] = {}
    for n, layer in enumerate(layers):
        for number in layer.reads():
            if number not in found.at:
                found.given.append(number)
                found.at[number] = -len(found.given)
                own = number == layer.source
                found.stride[number] = layer.shape[2] if own else layer.skip_channels
            if number in found.given:
                height, width, _ = layer.shape if number == layer.source else layer.made
                floats = height * width * found.stride[number]
                found.needed[number] = max(floats, found.needed.get(number, 0))
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
