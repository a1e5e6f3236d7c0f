"""Notes and warnings for the person at the terminal, where the work goes on all the same."""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[str], None]] = []


def listen(show: Callable[[str], None]) -> None:
    """Has every later note shown by `show`, which takes one line; as a library RIS is silent."""
    if show not in _listeners:
        _listeners.append(show)


def tell(note: str) -> None:
    """Says what takes its time now, such as that a model is fetched."""
    for show in _listeners:
        show(note)


def warn(message: str) -> None:
    """A warning, such as that a damaged file was put aside; shown whether anybody listens or not,
    by the logger ``ris``."""
    import logging

    logging.getLogger("ris").warning("ris: %s", " ".join(message.split()))
