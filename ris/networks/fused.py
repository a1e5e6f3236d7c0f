"""A graph whose convolutions run in the kernels of `ris.ops.layers`, joined to layers; what the
kernels do not do runs in torch between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch

from ris.networks.graph import Graph, GraphNetwork, Step, window
from ris.networks.norms import with_norms
from ris.ops.calls import Impl, kernels
from ris.ops.layers import Kind, Layer, Layers, Limits, limits, pack

Network = Callable[[torch.Tensor], dict[str, torch.Tensor]]


def network(graph: Graph, impl: Impl = "auto") -> Network:
    """What runs a graph: any number of threads may share it.

    Args:
        graph: the network.
        impl: see `ris.ops.calls.Impl`.

    Raises:
        ValueError: the graph has steps that are not known, or ``native`` where that is
            impossible.
    """
    graph = with_norms(graph)
    reference = GraphNetwork(graph)  # says what is wrong with the graph
    library = kernels(impl)
    if library is None:
        return reference
    stages = _Fuser(graph, limits(library)).stages()
    if not any(isinstance(stage, _Joined) for stage in stages):
        if impl == "native":
            raise ValueError("the kernels do nothing of this network")
        return reference
    parts: list[Layers | GraphNetwork] = []
    needed = {*graph.outputs}
    for joined, group in reversed([(k, list(g)) for k, g in groupby(stages, _is_joined)]):
        made = {stage.made for stage in group}
        asked = sorted(made & needed)
        needed |= {i for stage in group for i in stage.reads()} - made
        if joined:
            layers = [stage.layer for stage in group if isinstance(stage, _Joined)]
            parts.append(pack(library, layers, asked))
        else:
            steps = tuple(stage.step for stage in group if isinstance(stage, _Plain))
            part = dataclasses.replace(graph, steps=steps, outputs=tuple(asked))
            parts.append(GraphNetwork(part))
    return _Fused(graph, tuple(reversed(parts)))


@dataclass(frozen=True)
class _Fused:
    graph: Graph
    parts: tuple[Layers | GraphNetwork, ...]

    def __call__(self, values: torch.Tensor) -> dict[str, torch.Tensor]:
        known = {self.graph.input: values}
        with torch.inference_mode():
            for part in self.parts:
                known |= part.run(known)
        return {self.graph.values[i].name: known[i] for i in self.graph.outputs}


@dataclass
class _Plain:
    """A step that torch runs."""

    step: Step

    @property
    def made(self) -> int:
        return self.step.output

    def reads(self) -> tuple[int, ...]:
        return self.step.inputs


@dataclass
class _Joined:
    """A layer, and the steps that it stands for."""

    layer: Layer
    steps: list[Step] = field(default_factory=list)

    @property
    def made(self) -> int:
        return self.layer.target

    def reads(self) -> list[int]:
        return self.layer.reads()

    def joined(self, step: Step, **changes: object) -> _Joined:
        """With one step more, which makes its output."""
        layer = dataclasses.replace(self.layer, target=step.output, **changes)  # type: ignore[arg-type]
        return _Joined(layer, [*self.steps, step])


def _is_joined(stage: _Plain | _Joined) -> bool:
    return isinstance(stage, _Joined)


class _Fuser:
    """Joins the steps of a graph. A layer waits for what may be joined to it until something
    else needs its output."""

    def __init__(self, graph: Graph, bounds: Limits) -> None:
        self._graph, self._limits = graph, bounds
        self._stages: list[_Plain | _Joined] = []
        self._run: set[int] = set()
        """What the layers since the last plain step have made: it lies in whole vectors."""
        self._waiting: dict[int, _Joined] = {}
        self._padded: dict[int, Step] = {}
        """Values that another has with zeros behind its channels, until they are needed."""
        readers = [i for step in graph.steps for i in step.inputs]
        self._single = {i for i in readers if readers.count(i) == 1} - {*graph.outputs}

    def stages(self) -> list[_Plain | _Joined]:
        """Layers and plain steps in the order in which they run."""
        join = {
            "CONV_2D": self._convolution,
            "DEPTHWISE_CONV_2D": self._depthwise,
            "ADD": self._add,
            "PRELU": self._activation,
            "RELU": self._activation,
            "PAD": self._pad,
            "MAX_POOL_2D": self._pool,
            "LAYER_NORM": self._norm,
            "TRANSPOSE": self._transpose,
        }
        for step in self._graph.steps:
            fixed = self._graph.values[step.inputs[0]].constant is not None
            if fixed or step.kind not in join or not join[step.kind](step):
                for i in step.inputs:
                    self._settle(i)
                self._plain(step)
        for i in self._graph.outputs:
            self._settle(i)
        return self._stages

    def _plain(self, step: Step) -> None:
        self._stages.append(_Plain(step))
        self._run.clear()

    def _settle(self, number: int) -> None:
        """Makes sure that a value is there."""
        if number in self._padded:
            self._plain(self._padded.pop(number))
        if number in self._waiting:
            self._emit(self._waiting.pop(number))

    def _emit(self, joined: _Joined) -> None:
        layer = joined.layer
        whole = [] if layer.skip is None else [layer.skip]
        whole += [layer.source] if layer.reads_vectors() else []
        width = self._limits.width
        loose = [i for i in whole if i not in self._run and self._shape(i)[2] % width]
        if loose or not layer.fits(self._limits):
            for step in joined.steps:
                self._plain(step)
        else:
            self._stages.append(joined)
            self._run.add(layer.target)

    def _shape(self, number: int) -> tuple[int, int, int]:
        height, width, channels = self._graph.values[number].shape[1:]
        return height, width, channels

    def _is_image(self, *numbers: int) -> bool:
        shapes = [self._graph.values[i].shape for i in numbers]
        return all(len(shape) == 4 and shape[0] == 1 for shape in shapes)

    def _constants(self, step: Step) -> list[np.ndarray] | None:
        """Of all inputs but the first."""
        found = [self._graph.values[i].constant for i in step.inputs[1:]]
        kept = [c for c in found if c is not None]
        return kept if len(kept) == len(found) else None

    def _layer(self, step: Step, kind: Kind, **more: object) -> _Joined:
        source = step.inputs[0]
        self._settle(source)
        shapes = self._shape(source), self._shape(step.output)
        layer = Layer(kind, source, step.output, *shapes, **more)  # type: ignore[arg-type]
        return _Joined(layer, [step])

    def _convolution(self, step: Step) -> bool:
        constants = self._constants(step)
        if constants is None:
            return False
        weight, bias = constants
        before = self._waiting.get(step.inputs[0])
        if (
            before is not None
            and before.layer.bias is not None
            and before.layer.weight is None
            and step.inputs[0] in self._single
            and (weight.shape[1:3], step.options["stride_h"], step.options["stride_w"])
            == ((1, 1), 1, 1)
        ):
            del self._waiting[step.inputs[0]]
            # nothing lies between the two, so the first bias passes through the matrix
            through = weight.reshape(len(weight), -1).astype(np.float64) @ before.layer.bias
            made = self._shape(step.output)
            joined = before.joined(step, made=made, weight=weight, bias=bias + through)
        else:
            found = self._window(step)
            if found is None:
                return False
            joined = found.joined(step, weight=weight, bias=bias)
            joined.steps = [step]
        if step.options["activation"]:
            joined.layer.slope = np.zeros(len(weight), np.float32)
            self._emit(joined)
        else:
            self._waiting[step.output] = joined
        return True

    def _depthwise(self, step: Step) -> bool:
        constants, found = self._constants(step), self._window(step)
        if constants is None or found is None or step.options["activation"]:
            return False
        weight, bias = constants
        if weight.shape[1:3] != (3, 3):
            return False
        found.layer.taps, found.layer.bias = weight[0], bias
        self._waiting[step.output] = found
        return True

    def _window(self, step: Step) -> _Joined | None:
        """A layer with a convolution's sizes; None unless they are the same in both directions."""
        height, width, _ = self._shape(step.inputs[0])
        _, high, wide, _ = self._graph.values[step.inputs[1]].shape
        stride = step.options["stride_h"]
        if high != wide or stride != step.options["stride_w"]:
            return None
        top, _ = window(height, high, stride, step.options["padding"])
        left, _ = window(width, wide, stride, step.options["padding"])
        return self._layer(step, Kind.CONVOLUTION, stride=stride, before=(top, left))

    def _pool(self, step: Step) -> bool:
        self._emit(self._layer(step, Kind.POOL))
        return True

    def _norm(self, step: Step) -> bool:
        constants = self._constants(step)
        if constants is None or not self._is_image(step.output):
            return False
        gain, epsilon = constants
        self._emit(self._layer(step, Kind.NORM, slope=gain, bias=epsilon.reshape(1)))
        return True

    def _transpose(self, step: Step) -> bool:
        constants = self._constants(step)
        if constants is None or constants[0].tolist() != [0, 1, 3, 2]:
            return False
        if not self._is_image(step.output) or self._shape(step.output)[0] != 1:
            return False
        self._waiting[step.output] = self._layer(step, Kind.TRANSPOSE)
        return True

    def _pad(self, step: Step) -> bool:
        constants = self._constants(step)
        if constants is None or not self._is_image(step.output):
            return False
        *sides, channels = constants[0].tolist()
        if np.any(sides) or channels[0]:
            return False
        self._settle(step.inputs[0])
        self._padded[step.output] = step
        return True

    def _add(self, step: Step) -> bool:
        if step.options["activation"] or not self._is_image(step.output):
            return False
        for number, other in (step.inputs, step.inputs[::-1]):
            joined = self._waiting.get(number)
            if (
                joined is None
                or joined.layer.skip is not None
                or not joined.layer.sums()
                or number not in self._single
                or self._graph.values[other].shape != self._graph.values[number].shape
                or self._graph.values[other].constant is not None
            ):
                continue
            pad = self._padded.get(other) if other in self._single else None
            skip = other if pad is None else pad.inputs[0]
            self._settle(skip)
            del self._waiting[number]
            more = joined.joined(step, skip=skip, skip_channels=self._shape(skip)[2])
            if pad is not None:
                del self._padded[other]
                more.steps.insert(0, pad)
            self._waiting[step.output] = more
            return True
        return False

    def _activation(self, step: Step) -> bool:
        constants = self._constants(step)
        joined = self._waiting.get(step.inputs[0])
        if (
            constants is None
            or joined is None
            or joined.layer.weight is None
            or step.inputs[0] not in self._single
        ):
            return False
        del self._waiting[step.inputs[0]]
        channels = joined.layer.made[2]
        slope = constants[0].reshape(channels) if constants else np.zeros(channels, np.float32)
        self._emit(joined.joined(step, slope=slope))
        return True
