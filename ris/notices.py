"""Notes for a person who waits, such as that a model is fetched; a program shows them or not."""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[str], None]] = []


def listen(show: Callable[[str], None]) -> None:
    """Has every later note shown by `show`, which takes one line; as a library RIS is silent."""
    if show not in _listeners:
        _listeners.append(show)


def tell(note: str) -> None:
    """Says what takes its time now."""
    for show in _listeners:
        show(note)
