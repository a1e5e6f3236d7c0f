"""Reads a network from a ``.tflite`` file (a flatbuffer) with numpy alone.

A flatbuffer is tables of offsets to further tables, none of which can be trusted: every read is
checked against the end of the file, every list against a limit, and nothing follows an offset
deeper than the fixed path model, graph, operator, options. Constants stay within the file's own
size together, though a file may name the same bytes many times.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from ris.errors import ModelFileError
from ris.networks.graph import Graph, Step, Value

T = TypeVar("T")

VALUES, STEPS, RANK, ARGUMENTS, NAME = 4096, 4096, 6, 16, 512
"""How many of each a file may have: values, steps, sizes of a value, values of a step, bytes of a
name."""
NUMBERS = 1 << 22
"""Numbers that one value may hold."""

_DTYPES = {0: "<f4", 1: "<f2", 2: "<i4"}
"""By the format's ``TensorType``."""
_DEQUANTIZE = "DEQUANTIZE"
_KINDS: dict[int, tuple[str, dict[str, tuple[int, str, int]]]] = {
    # BuiltinOperator: its name; field, type and default of each of its options
    0: ("ADD", {"activation": (0, "b", 0)}),
    2: ("CONCATENATION", {"axis": (0, "i", 0), "activation": (1, "b", 0)}),
    3: (
        "CONV_2D",
        {
            "padding": (0, "b", 0), "stride_w": (1, "i", 0), "stride_h": (2, "i", 0),
            "activation": (3, "b", 0), "dilation_w": (4, "i", 1), "dilation_h": (5, "i", 1),
        },
    ),
    4: (
        "DEPTHWISE_CONV_2D",
        {
            "padding": (0, "b", 0), "stride_w": (1, "i", 0), "stride_h": (2, "i", 0),
            "activation": (4, "b", 0), "dilation_w": (5, "i", 1), "dilation_h": (6, "i", 1),
        },
    ),
    6: (_DEQUANTIZE, {}),
    14: ("LOGISTIC", {}),
    17: (
        "MAX_POOL_2D",
        {
            "padding": (0, "b", 0), "stride_w": (1, "i", 0), "stride_h": (2, "i", 0),
            "filter_w": (3, "i", 0), "filter_h": (4, "i", 0), "activation": (5, "b", 0),
        },
    ),
    18: ("MUL", {"activation": (0, "b", 0)}),
    19: ("RELU", {}),
    22: ("RESHAPE", {}),
    34: ("PAD", {}),
    39: ("TRANSPOSE", {}),
    40: ("MEAN", {"keep_dims": (0, "?", 0)}),
    41: ("SUB", {"activation": (0, "b", 0)}),
    42: ("DIV", {"activation": (0, "b", 0)}),
    45: (
        "STRIDED_SLICE",
        {
            "begin_mask": (0, "i", 0), "end_mask": (1, "i", 0), "ellipsis_mask": (2, "i", 0),
            "new_axis_mask": (3, "i", 0), "shrink_axis_mask": (4, "i", 0),
        },
    ),
    54: ("PRELU", {}),
    59: ("NEG", {}),
    74: ("SUM", {"keep_dims": (0, "?", 0)}),
    75: ("SQRT", {}),
    76: ("RSQRT", {}),
    99: ("SQUARED_DIFFERENCE", {}),
}  # fmt: skip
"""Those that networks read here have; any other ends the reading."""


class _Table:
    """One table of the file: fields by number, each of which may be left out."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content, self._at = content, at
        self._fields = at - int(_read(content, at, "i"))
        self._count = (int(_read(content, self._fields, "H")) - 4) // 2

    def number(self, field: int, kind: str, default: int) -> int:
        """A scalar of a `struct` type."""
        at = self._place(field)
        return default if at is None else int(_read(self._content, at, kind))

    def has(self, field: int) -> bool:
        """Whether the field stands there."""
        return self._place(field) is not None

    def table(self, field: int) -> _Table | None:
        """A table inside this one."""
        at = self._place(field)
        return None if at is None else _Table(self._content, self._follow(at))

    def tables(self, field: int, limit: int, read: Callable[[_Table], T]) -> list[T]:
        """What `read` makes of each table of a list."""
        start, count = self._list(field, 4, limit)
        places = range(start, start + 4 * count, 4)
        return [read(_Table(self._content, self._follow(at))) for at in places]

    def integers(self, field: int, limit: int) -> tuple[int, ...]:
        """A list of int32."""
        start, count = self._list(field, 4, limit)
        return struct.unpack_from(f"<{count}i", self._content, start)

    def bytes(self, field: int, limit: int) -> memoryview:
        """A list of bytes, not copied."""
        start, count = self._list(field, 1, limit)
        return memoryview(self._content)[start : start + count]

    def _place(self, field: int) -> int | None:
        if field >= self._count:
            return None
        offset = int(_read(self._content, self._fields + 4 + 2 * field, "H"))
        return self._at + offset if offset else None

    def _follow(self, at: int) -> int:
        return at + int(_read(self._content, at, "I"))

    def _list(self, field: int, size: int, limit: int) -> tuple[int, int]:
        """Where a list's items start and how many there are."""
        at = self._place(field)
        if at is None:
            return 0, 0
        start = self._follow(at)
        count = int(_read(self._content, start, "I"))
        if count > limit:
            raise ValueError(f"a list of {count} where at most {limit} are expected")
        if start + 4 + count * size > len(self._content):
            raise ValueError("a list goes beyond the end of the file")
        return start + 4, count


def _read(content: bytes, at: int, kind: str) -> int:
    # a negative place would be counted from the end
    if at < 0 or at + struct.calcsize(f"<{kind}") > len(content):
        raise ValueError("an offset leads out of the file")
    (value,) = struct.unpack_from(f"<{kind}", content, at)
    return int(value)


def read_tflite(content: bytes, name: str) -> Graph:
    """The network of a file; half-precision constants become float32.

    Args:
        content: the file's bytes.
        name: what errors call it.

    Raises:
        ModelFileError: it is no such file, is damaged, or has operators or number formats that
            are not read here.
    """
    try:
        return _graph(content)
    except (ValueError, KeyError, IndexError, struct.error, OverflowError) as e:
        raise ModelFileError(f"{name} is not a TFLite network that can be read: {e}") from e


def _graph(content: bytes) -> Graph:
    if content[4:8] != b"TFL3":
        raise ValueError("it does not begin as one")
    model = _Table(content, _read(content, 0, "I"))
    buffers = model.tables(4, VALUES, lambda t: t.bytes(0, len(content)))
    kinds = model.tables(1, len(_KINDS), _kind)
    graphs = model.tables(2, 1, lambda t: t)
    if len(graphs) != 1:
        raise ValueError("it holds no graph")
    (graph,) = graphs
    budget = _Budget(len(content))
    values = graph.tables(0, VALUES, lambda t: _value(t, buffers, budget))
    inputs, outputs = graph.integers(1, 1), graph.integers(2, ARGUMENTS)
    steps = graph.tables(3, STEPS, lambda t: _step(t, kinds))
    if len(inputs) != 1 or not outputs:
        raise ValueError("it has no input or no output")
    return _checked(values, steps, inputs[0], outputs)


class _Budget:
    """Bytes that constants may still take."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueError("its constants are larger than the file")


def _kind(code: _Table) -> int:
    # files from before the hundred and twenty-eighth operator have the byte alone
    found = max(code.number(0, "b", 0), code.number(3, "i", 0))
    if found not in _KINDS:
        raise ValueError(f"operator {found} is not read here")
    return found


def _value(tensor: _Table, buffers: list[memoryview], budget: _Budget) -> Value:
    name = bytes(tensor.bytes(3, NAME)).decode("utf-8", errors="replace")
    shape = tensor.integers(0, RANK)
    if any(n < 1 for n in shape) or math.prod(shape) > NUMBERS:
        raise ValueError(f"{name!r} has the shape {shape}")
    kind = tensor.number(1, "b", 0)
    if kind not in _DTYPES:
        raise ValueError(f"{name!r} has number format {kind}")
    if tensor.has(6):
        raise ValueError(f"{name!r} is stored sparsely")
    buffer = tensor.number(2, "I", 0)
    if buffer >= len(buffers):
        raise ValueError(f"{name!r} has no buffer")
    stored = buffers[buffer]
    if not len(stored):
        return Value(name, shape)
    numbers = np.frombuffer(stored, _DTYPES[kind])
    if len(numbers) != math.prod(shape):
        raise ValueError(f"{name!r} of shape {shape} has {len(numbers)} numbers")
    budget.take(len(stored))
    if kind == 1:
        numbers = numbers.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name!r} holds numbers that are not finite")
    return Value(name, shape, numbers.reshape(shape))


def _step(operator: _Table, kinds: list[int]) -> Step:
    number = operator.number(0, "I", 0)
    if number >= len(kinds):
        raise ValueError("a step has no operator")
    kind, names = _KINDS[kinds[number]]
    options = operator.table(4)
    found = {
        option: default if options is None else options.number(field, code, default)
        for option, (field, code, default) in names.items()
    }
    (made,) = operator.integers(2, 1)
    return Step(kind, operator.integers(1, ARGUMENTS), made, found)


def _checked(values: list[Value], steps: list[Step], given: int, outputs: tuple[int, ...]) -> Graph:
    """The graph without the steps that only say that a constant is stored in half precision."""
    numbers = {i for step in steps for i in (*step.inputs, step.output)} | {given, *outputs}
    if any(not 0 <= i < len(values) for i in numbers):
        raise ValueError("a step names a value that is not there")
    known = {i for i, value in enumerate(values) if value.constant is not None}
    if given in known:
        raise ValueError("its input is a constant")
    known.add(given)
    kept = []
    for step in steps:
        if not known.issuperset(step.inputs) or not step.inputs:
            raise ValueError(f"a {step.kind} reads what nothing has written")
        if step.output in known:
            raise ValueError(f"a {step.kind} writes what is there already")
        known.add(step.output)
        if step.kind == _DEQUANTIZE:
            (source,), target = step.inputs, values[step.output]
            if values[source].constant is None or values[source].shape != target.shape:
                raise ValueError(f"{target.name!r} is no constant")
            values[step.output] = Value(target.name, target.shape, values[source].constant)
        else:
            kept.append(step)
    if not known.issuperset(outputs):
        raise ValueError("an output is never written")
    return Graph(tuple(values), tuple(kept), given, outputs)
