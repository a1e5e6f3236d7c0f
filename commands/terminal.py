"""What is printed, and how."""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, TypeAlias

from ris.commands.wording import worded

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with a stage's name, what is done, and what there is in all, None while unknown."""
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, ends of lines, turns of the writing direction, and bytes of a file name
that are no text."""


def plain(value: object) -> str:
    r"""Text on one line, for a terminal or a column: what would end the line, begin a column or
    move the cursor is written as in Python (``\n``, ``\t``, ``\x1b``), and so are bytes that are no
    UTF-8 (``\xff``)."""
    return _UNPRINTABLE.sub(lambda m: _escaped(m[0]), str(value))


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python keeps such a byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def notify(message: object) -> None:
    """One line on stderr, whatever breaks the message (or error) has, in the terminal's words."""
    with contextlib.suppress(OSError):  # there is no other place to say it
        print("ris: " + plain(" ".join(worded(message).split())), file=sys.stderr)


def print_json(value: Any) -> None:
    """For --json, see `as_json`."""
    print(json.dumps(as_json(value), indent=2, allow_nan=False))


def as_json(value: Any) -> Any:
    """A value as JSON has it.

    What is not a number becomes null, bytes become hexadecimal digits, decimals become numbers
    where that says the same and else text, keys become text, and what JSON does not know (a
    path, a date) becomes text.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        near = float(value)
        return (
            as_json(near) if not value.is_finite() or Decimal(repr(near)) == value else str(value)
        )
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {k if isinstance(k, str) else _key(k): as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(v) for v in value]
    if hasattr(value, "tolist"):  # of numpy
        return as_json(value.tolist())
    return str(value)


def _key(key: Any) -> str:
    value = as_json(key)
    return value if isinstance(value, str) else json.dumps(value)


@contextlib.contextmanager
def progress_bar(first: str, quiet: bool) -> Iterator[Progress | None]:
    """Progress bars on stderr, one a stage, or None where nobody looks.

    Args:
        first: name of the first stage, whose bar is there at once.
        quiet: nobody looks.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    label = TextColumn("{task.description}")
    columns = (label, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        stages = {first: bars.add_task(first, total=None)}

        def show(stage: str, done: int, total: int | None) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=None)
            bars.update(stages[stage], completed=done, total=total)

        yield show
