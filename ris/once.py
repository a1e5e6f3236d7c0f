"""Values that are made once, whatever number of threads ask for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from threading import RLock
from typing import Any, TypeVar, overload

T = TypeVar("T")


class once(cached_property[T]):  # noqa: N801, a decorator
    """`functools.cached_property` of which threads wait for the first to have made the value.

    Python's own stopped waiting in 3.12: two threads would load a network each.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        super().__init__(make)
        self._making = RLock()

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> once[T]: ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...

    def __get__(self, instance: object, owner: type[Any] | None = None) -> once[T] | T:
        if instance is None:
            return self
        name, values = str(self.attrname), instance.__dict__
        if name not in values:
            with self._making:
                if name not in values:
                    values[name] = self.func(instance)
        value: T = values[name]
        return value
