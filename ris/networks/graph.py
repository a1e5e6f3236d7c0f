"""A network as a file lists it, step by step, and what runs it in plain torch.

Images are (1, H, W, C), as in the format that such networks come in (TFLite). What a step makes
follows from what it reads; a graph that says otherwise is refused before anything runs, so a
damaged file can neither ask for memory nor for time that its values do not show.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

NUMBERS, PRODUCTS = 1 << 26, 1 << 33
"""Numbers that all values of a graph may hold together, and multiplications that it may take."""

Shape = tuple[int, ...]
Operation = Callable[..., torch.Tensor]


@dataclass(frozen=True)
class Value:
    """Something that a step reads or writes.

    Attributes:
        name: as the file has it.
        shape: its sizes; images are (1, H, W, C).
        constant: its numbers, float32 or int32.
    """

    name: str
    shape: Shape
    constant: np.ndarray | None = None


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        kind: its name in the format, such as ``CONV_2D``.
        inputs: numbers of the values that it reads.
        output: number of the value that it writes.
        options: what else it needs, by the format's names.
    """

    kind: str
    inputs: tuple[int, ...]
    output: int
    options: Mapping[str, int]


@dataclass(frozen=True)
class Graph:
    """A network with one input. Every step reads constants, the input or what steps before it
    wrote, and no value is written twice.

    Attributes:
        values: all of them, by number.
        steps: in the order in which they run.
        input: number of the value that is given.
        outputs: numbers of the values that are asked for.
    """

    values: tuple[Value, ...]
    steps: tuple[Step, ...]
    input: int
    outputs: tuple[int, ...]


class GraphNetwork:
    """Runs a graph, one torch operation a step. It keeps nothing from one call to the next, so
    any number of threads may share it.

    Raises:
        ValueError: a step is of a kind, or has options or shapes, that are not known here; or
            the graph is too large.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        _bounded(graph)
        read = {i for step in graph.steps for i in step.inputs}
        constants = {i: graph.values[i].constant for i in read}
        self._constants = {
            i: torch.from_numpy(np.array(c)) for i, c in constants.items() if c is not None
        }
        self._steps = [(operation(graph, step), step.inputs, step.output) for step in graph.steps]
        self._spent = _spent(graph)

    def __call__(self, values: torch.Tensor) -> dict[str, torch.Tensor]:
        """The outputs by name, for an input of the graph's shape."""
        made = self.run({self._graph.input: values})
        return {self._graph.values[i].name: value for i, value in made.items()}

    def run(self, given: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        """The outputs by number, from other values by number."""
        known = self._constants | {**given}
        with torch.inference_mode():
            for (run, inputs, output), spent in zip(self._steps, self._spent, strict=True):
                known[output] = run(*[known[i] for i in inputs])
                for i in spent:
                    del known[i]
        return {i: known[i] for i in self._graph.outputs}


def _bounded(graph: Graph) -> None:
    numbers = sum(math.prod(value.shape) for value in graph.values)
    products = 0
    for step in graph.steps:
        if step.kind.endswith("CONV_2D") and len(step.inputs) > 1:
            made, weight = (graph.values[i].shape for i in (step.output, step.inputs[1]))
            products += math.prod(made) * math.prod(weight[1:])
    if numbers > NUMBERS or products > PRODUCTS:
        raise ValueError(f"{numbers} numbers and {products} multiplications are too many")


def _spent(graph: Graph) -> list[list[int]]:
    """For each step the values that nobody reads after it."""
    last = {i: n for n, step in enumerate(graph.steps) for i in step.inputs}
    kept = {i for i, v in enumerate(graph.values) if v.constant is not None} | {*graph.outputs}
    spent: list[list[int]] = [[] for _ in graph.steps]
    for i, n in last.items():
        if i not in kept:
            spent[n].append(i)
    return spent


def operation(graph: Graph, step: Step) -> Operation:
    """The function that turns a step's inputs into its output.

    Raises:
        ValueError: see `GraphNetwork`.
    """
    values = [graph.values[i] for i in step.inputs]
    name, shape = graph.values[step.output].name, graph.values[step.output].shape
    if step.kind not in _MAKERS:
        raise ValueError(f"there is no {step.kind} here")
    constants = [
        v.constant for v in (values[:1] if step.kind in _TOLD else values) if v.constant is not None
    ]
    if any(constant.dtype.kind != "f" for constant in constants):
        raise ValueError(f"the {step.kind} that makes {name!r} would compute with integers")
    try:
        made, run = _MAKERS[step.kind](values, step.options, shape)
    except (TypeError, ValueError, IndexError) as e:
        raise ValueError(f"the {step.kind} that makes {name!r} is not known here: {e}") from e
    if made != shape:
        raise ValueError(f"the {step.kind} that makes {name!r} makes {made}, not {shape}")
    return run


# -- what each kind of step does: its output's shape and its function ---------------------------


def _convolution(
    values: list[Value], options: Mapping[str, int], _: Shape, *, depthwise: bool = False
) -> tuple[Shape, Operation]:
    image, weight, bias = values
    one, height, width, channels = image.shape
    if one != 1:
        raise ValueError(f"{one} images")
    first, high, wide, last = weight.shape  # (C_out, k, k, C), or depthwise (1, k, k, C)
    made = last if depthwise else first
    if (first != 1 if depthwise else last != channels) or made != bias.shape[0]:
        raise ValueError(f"weights {weight.shape} and {bias.shape} for {channels} channels")
    if depthwise and made != channels:
        raise ValueError(f"{made} depthwise weights for {channels} channels")
    if options["dilation_w"] != 1 or options["dilation_h"] != 1:
        raise ValueError("it is dilated")
    strides = options["stride_h"], options["stride_w"]
    top, rows = window(height, high, strides[0], options["padding"])
    left, columns = window(width, wide, strides[1], options["padding"])
    bottom = (rows - 1) * strides[0] + high - height - top
    right = (columns - 1) * strides[1] + wide - width - left
    border = [n if n > 0 else 0 for n in (0, 0, left, right, top, bottom)]
    order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
    rectify = _rectify(options)
    groups = channels if depthwise else 1

    def run(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        if any(border):
            x = F.pad(x, border)
        x = x.permute(0, 3, 1, 2)  # channels-last in memory
        return rectify(F.conv2d(x, w.permute(order), b, strides, groups=groups).permute(0, 2, 3, 1))

    return (1, rows, columns, made), run


def _depthwise(
    values: list[Value], options: Mapping[str, int], shape: Shape
) -> tuple[Shape, Operation]:
    return _convolution(values, options, shape, depthwise=True)


def window(length: int, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Zeros before the first pixel, and windows along a side."""
    if stride < 1 or padding not in (0, 1):
        raise ValueError(f"stride {stride}, padding {padding}")
    if padding == 1:  # none: only whole windows
        if kernel > length:
            raise ValueError(f"a kernel of {kernel} for {length} pixels")
        return 0, (length - kernel) // stride + 1
    windows = -(-length // stride)
    # the format puts the odd zero behind the last pixel
    return max(0, (windows - 1) * stride + kernel - length) // 2, windows


def _rectify(options: Mapping[str, int]) -> Operation:
    """The activation within a step: none or ReLU."""
    found = options["activation"]
    if found not in (0, 1):
        raise ValueError(f"activation {found}")
    return torch.relu if found else lambda x: x


def _pool(values: list[Value], options: Mapping[str, int], _: Shape) -> tuple[Shape, Operation]:
    ((one, height, width, channels),) = [v.shape for v in values]
    sizes = [options[n] for n in ("filter_h", "filter_w", "stride_h", "stride_w")]
    if one != 1 or sizes != [2] * 4 or height % 2 or width % 2 or options["activation"]:
        raise ValueError(f"it is not over 2x2 pixels of an even number ({height}x{width})")

    def run(x: torch.Tensor) -> torch.Tensor:
        return F.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    return (one, height // 2, width // 2, channels), run


def _prelu(values: list[Value], _: Mapping[str, int], __: Shape) -> tuple[Shape, Operation]:
    image, slope = (v.shape for v in values)
    if math.prod(slope) != image[-1] or slope[-1] != image[-1]:
        raise ValueError(f"slopes {slope} for {image[-1]} channels")

    def run(x: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        return torch.prelu(rows, below.reshape(-1)).reshape(x.shape)

    return image, run


def _norm(values: list[Value], _: Mapping[str, int], __: Shape) -> tuple[Shape, Operation]:
    value, gain, epsilon = values
    if gain.shape != value.shape[-1:] or epsilon.constant is None or epsilon.constant.size != 1:
        raise ValueError(f"gains {gain.shape} for {value.shape}")
    added = float(epsilon.constant.reshape(()))
    return value.shape, lambda x, g, _: F.layer_norm(x, g.shape, g, eps=added)


def _each(function: Operation) -> Callable[..., tuple[Shape, Operation]]:
    def maker(values: list[Value], *_: object) -> tuple[Shape, Operation]:
        (value,) = values
        return value.shape, function

    return maker


def _both(function: Operation) -> Callable[..., tuple[Shape, Operation]]:
    def maker(values: list[Value], options: Mapping[str, int], _: Shape) -> tuple[Shape, Operation]:
        first, second = values
        rectify = _rectify({"activation": 0, **options})
        shape = np.broadcast_shapes(first.shape, second.shape)
        return shape, lambda a, b: rectify(function(a, b))

    return maker


def _over(function: Operation) -> Callable[..., tuple[Shape, Operation]]:
    def maker(values: list[Value], options: Mapping[str, int], _: Shape) -> tuple[Shape, Operation]:
        value, given = values
        axes = sorted({_axis(n, len(value.shape)) for n in _numbers(given)})
        if not axes or not options["keep_dims"]:
            raise ValueError("it drops axes")
        shape = tuple(1 if i in axes else n for i, n in enumerate(value.shape))
        return shape, lambda x, _: function(x, axes, keepdim=True)

    return maker


def _pad(values: list[Value], _: Mapping[str, int], __: Shape) -> tuple[Shape, Operation]:
    value, given = values
    numbers = _numbers(given)
    borders = list(zip(numbers[::2], numbers[1::2], strict=True))
    if len(borders) != len(value.shape) or any(n < 0 for pair in borders for n in pair):
        raise ValueError(f"borders {borders}")
    flat = [n for pair in reversed(borders) for n in pair]
    shape = tuple(n + a + b for n, (a, b) in zip(value.shape, borders, strict=True))
    return shape, lambda x, _: F.pad(x, flat)


def _reshape(values: list[Value], _: Mapping[str, int], to: Shape) -> tuple[Shape, Operation]:
    if math.prod(values[0].shape) != math.prod(to):
        raise ValueError(f"it is given {values[0].shape}")
    return to, lambda x, *_: x.reshape(to)


def _transpose(values: list[Value], _: Mapping[str, int], __: Shape) -> tuple[Shape, Operation]:
    value, given = values
    order = _numbers(given)
    if sorted(order) != list(range(len(value.shape))):
        raise ValueError(f"order {order}")
    return tuple(value.shape[i] for i in order), lambda x, _: x.permute(order)


def _concatenation(
    values: list[Value], options: Mapping[str, int], _: Shape
) -> tuple[Shape, Operation]:
    if options["activation"]:
        raise ValueError(f"activation {options['activation']}")
    shapes = [list(v.shape) for v in values]
    axis = _axis(options["axis"], len(shapes[0]))
    total = sum(shape.pop(axis) for shape in shapes)
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError("its inputs do not fit")
    return (*shapes[0][:axis], total, *shapes[0][axis:]), lambda *x: torch.cat(x, axis)


def _slice(values: list[Value], options: Mapping[str, int], _: Shape) -> tuple[Shape, Operation]:
    value, *given = values
    begins, ends, steps = (_numbers(v) for v in given)
    rank = len(value.shape)
    if {len(begins), len(ends)} != {rank} or steps != [1] * rank:
        raise ValueError("it does not name every axis, or skips some")
    if options["ellipsis_mask"] or options["new_axis_mask"]:
        raise ValueError("it adds axes")
    parts: list[int | slice] = []
    shape = []
    for i, n in enumerate(value.shape):
        begin = None if options["begin_mask"] >> i & 1 else begins[i]
        end = None if options["end_mask"] >> i & 1 else ends[i]
        if options["shrink_axis_mask"] >> i & 1:
            parts.append(range(n)[begin or 0])
        else:
            parts.append(slice(begin, end))
            shape.append(len(range(n)[begin:end]))
    return tuple(shape), lambda x, *_: x[tuple(parts)]


def _numbers(value: Value) -> list[int]:
    """The numbers of a constant that says how, not what, to compute."""
    if value.constant is None or value.constant.dtype.kind != "i":
        raise ValueError(f"{value.name!r} is not fixed")
    return [int(n) for n in value.constant.reshape(-1)]


def _axis(number: int, rank: int) -> int:
    return range(rank)[number]


_TOLD = {"MEAN", "PAD", "RESHAPE", "STRIDED_SLICE", "SUM", "TRANSPOSE"}
"""Kinds whose inputs but for the first say how to compute."""
_MAKERS: dict[str, Callable[..., tuple[Shape, Operation]]] = {
    "ADD": _both(torch.add),
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DIV": _both(torch.div),
    "LAYER_NORM": _norm,
    "LOGISTIC": _each(torch.sigmoid),
    "MAX_POOL_2D": _pool,
    "MEAN": _over(torch.mean),
    "MUL": _both(torch.mul),
    "NEG": _each(torch.neg),
    "PAD": _pad,
    "PRELU": _prelu,
    "RELU": _each(torch.relu),
    "RESHAPE": _reshape,
    "RSQRT": _each(torch.rsqrt),
    "SQRT": _each(torch.sqrt),
    "SQUARED_DIFFERENCE": _both(lambda a, b: (a - b).square()),
    "STRIDED_SLICE": _slice,
    "SUB": _both(torch.sub),
    "SUM": _over(torch.sum),
    "TRANSPOSE": _transpose,
}
