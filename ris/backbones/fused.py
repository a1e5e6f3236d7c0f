"""A graph whose convolutions run in the kernels of `ris.ops.layers`, fused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from ris.backbones.graph import Graph, GraphNetwork, Step, window
from ris.ops.calls import Impl, kernels
from ris.ops.layers import Layer, Layers, pack

Network = Callable[[torch.Tensor], dict[str, torch.Tensor]]


class _Unknown(Exception):
    """Something that the kernels do not do."""


def network(graph: Graph, impl: Impl = "auto") -> Network:
    """What runs a graph: any number of threads may share it, and each call runs on one.

    Args:
        graph: the network.
        impl: see `ris.ops.calls.Impl`.

    Raises:
        ValueError: the graph has steps that are not known, or ``native`` where that is
            impossible.
    """
    reference = GraphNetwork(graph)
    library = kernels(impl)
    if library is None:
        return reference
    try:
        layers, rest = _fused(graph)
        asked = _asked(graph, layers, rest)
        packed = pack(library, layers, graph.input, asked) if layers else None
    except _Unknown:
        packed = None
    if packed is None:
        if impl == "native":
            raise ValueError("the kernels do not have all steps of the network")
        return reference
    return _Fused(packed, GraphNetwork(dataclasses.replace(graph, steps=tuple(rest))))


@dataclasses.dataclass(frozen=True)
class _Fused:
    layers: Layers
    rest: GraphNetwork

    def __call__(self, values: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.rest.run(self.layers(values))


def _asked(graph: Graph, layers: list[Layer], rest: list[Step]) -> list[int]:
    made = {layer.target for layer in layers}
    return sorted(made & {*graph.outputs, *(i for step in rest for i in step.inputs)})


def _fused(graph: Graph) -> tuple[list[Layer], list[Step]]:
    """Layers, and the steps that follow them."""
    return _Fuser(graph).result()


class _Fuser:
    """Joins steps to layers. A convolution waits for what may be joined to it until something
    else needs its output."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._layers: list[Layer] = []
        self._rest: list[Step] = []
        self._waiting: dict[int, Layer] = {}
        self._wider: dict[int, int] = {}
        """Values with zeros behind their channels, and the values without."""
        readers = [i for step in graph.steps for i in step.inputs]
        self._single = {i for i in readers if readers.count(i) == 1} - {*graph.outputs}

    def result(self) -> tuple[list[Layer], list[Step]]:
        join = {
            "CONV_2D": self._convolution,
            "DEPTHWISE_CONV_2D": self._depthwise,
            "ADD": self._add,
            "PRELU": self._activation,
            "RELU": self._activation,
            "PAD": self._pad,
            "MAX_POOL_2D": self._pool,
        }
        for step in self._graph.steps:
            if step.kind in join:
                join[step.kind](step)
            else:
                for i in step.inputs:
                    self._settle(i)
                self._rest.append(step)
        for i in self._graph.outputs:
            self._settle(i)
        made = {layer.target for layer in self._layers} | {self._graph.input}
        if any(i not in made for layer in self._layers for i in layer.reads()):
            raise _Unknown
        return self._layers, self._rest

    def _shape(self, number: int) -> tuple[int, int, int]:
        shape = self._graph.values[number].shape
        if len(shape) != 4 or shape[0] != 1:
            raise _Unknown
        return shape[1], shape[2], shape[3]

    def _constant(self, number: int) -> np.ndarray:
        found = self._graph.values[number].constant
        if found is None:
            raise _Unknown
        return found

    def _settle(self, number: int) -> None:
        """Makes a layer of what waits to become one."""
        layer = self._waiting.pop(number, None)
        if number in self._wider or (layer is not None and layer.weight is None):
            raise _Unknown  # zeros behind channels, or a depthwise convolution alone
        if layer is not None:
            self._layers.append(layer)

    def _convolution(self, step: Step) -> None:
        source, *constants = step.inputs
        weight, bias = (self._constant(i) for i in constants)
        if step.options["activation"]:
            raise _Unknown
        before = self._waiting.get(source)
        if before is not None and before.bias is not None and before.weight is None:
            if source not in self._single or (weight.shape[1], self._stride(step)) != (1, 1):
                raise _Unknown
            del self._waiting[source]
            # nothing lies between the two, so the first bias passes through the matrix
            through = weight.reshape(len(weight), -1).astype(np.float64) @ before.bias
            layer = dataclasses.replace(
                before,
                target=step.output,
                made=self._shape(step.output),
                weight=weight,
                bias=bias + through,
            )
        else:
            layer = dataclasses.replace(self._window(step), weight=weight, bias=bias)
        self._waiting[step.output] = layer

    def _depthwise(self, step: Step) -> None:
        source, *constants = step.inputs
        weight, bias = (self._constant(i) for i in constants)
        if weight.shape[1:3] != (3, 3) or source == self._graph.input or step.options["activation"]:
            raise _Unknown
        self._waiting[step.output] = dataclasses.replace(
            self._window(step), taps=weight[0], bias=bias
        )

    def _window(self, step: Step) -> Layer:
        """A layer with a convolution's sizes."""
        source = step.inputs[0]
        self._settle(source)
        shape, stride = self._shape(source), self._stride(step)
        _, high, wide, _ = self._graph.values[step.inputs[1]].shape
        if high != wide:
            raise _Unknown
        top, _ = window(shape[0], high, stride, step.options["padding"])
        left, _ = window(shape[1], wide, stride, step.options["padding"])
        made = self._shape(step.output)
        return Layer(source, step.output, shape, made, stride=stride, before=(top, left))

    def _stride(self, step: Step) -> int:
        if step.options["stride_h"] != step.options["stride_w"]:
            raise _Unknown
        return step.options["stride_h"]

    def _pool(self, step: Step) -> None:
        (source,) = step.inputs
        self._settle(source)
        if source == self._graph.input:
            raise _Unknown  # its pixels are no whole vectors
        self._layers.append(
            Layer(source, step.output, self._shape(source), self._shape(step.output))
        )

    def _pad(self, step: Step) -> None:
        source, borders = step.inputs
        self._settle(source)
        *sides, channels = self._constant(borders).tolist()
        if np.any(sides) or channels[0] or source == self._graph.input:
            raise _Unknown
        self._wider[step.output] = source

    def _add(self, step: Step) -> None:
        for number, other in (step.inputs, step.inputs[::-1]):
            layer = self._waiting.get(number)
            if layer is None or layer.weight is None or number not in self._single:
                continue
            skip = self._wider.get(other, other)
            if self._shape(other) != layer.made or layer.skip is not None or number == other:
                raise _Unknown
            self._settle(skip)
            del self._waiting[number]
            self._waiting[step.output] = dataclasses.replace(layer, skip=skip, target=step.output)
            return
        raise _Unknown

    def _activation(self, step: Step) -> None:
        number, *slopes = step.inputs
        layer = self._waiting.pop(number, None)
        if layer is None or layer.weight is None or number not in self._single:
            raise _Unknown
        channels = layer.made[2]
        slope = self._constant(slopes[0]) if slopes else np.zeros(channels)
        layer = dataclasses.replace(layer, target=step.output, slope=slope.reshape(channels))
        self._layers.append(layer)
