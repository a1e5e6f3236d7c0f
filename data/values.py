"""Values out of JSON that a file gave, each of the kind that it has to be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeGuard


def members(value: Any, what: str, needed: Iterable[str], allowed: Iterable[str] = ()) -> Any:
    """A JSON object with all of `needed` and nothing else but `allowed`.

    Raises:
        ValueError: as said, naming the member; so do all of these functions.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no object")
    needed = list(needed)
    lacking = [name for name in needed if name not in value]
    if lacking:
        raise ValueError(f"{what} lacks {lacking[0]!r}")
    strange = sorted(set(value) - set(needed) - set(allowed))
    if strange:
        raise ValueError(f"{what} has an unknown {strange[0]!r}")
    return value


def whole(value: Any, what: str, least: int = 0, most: int = 1 << 62) -> int:
    """A whole number within bounds."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{what} is {short(value)}")
    return value


def text(value: Any, what: str, *, empty: bool = False) -> str:
    """A text that can be written as UTF-8."""
    if not isinstance(value, str) or not (value or empty) or not _is_utf8(value):
        raise ValueError(f"{what} is {short(value)}")
    return value


def truth(value: Any, what: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{what} is {short(value)}")
    return value


def items(value: Any, what: str) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is no list")
    return value


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def short(value: Any) -> str:
    """A value for a message."""
    shown = ascii(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
