"""Notes and warnings for the person at the terminal, where the work goes on all the same.

Their texts speak of parameters and next steps as those of `ris.errors` do.
"""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[str], None]] = []
_spellings: list[Callable[[str], str]] = []


def listen(show: Callable[[str], None]) -> None:
    """Has every later note shown by `show`, which takes one line; as a library RIS is silent."""
    if show not in _listeners:
        _listeners.append(show)


def spell(spelling: Callable[[str], str]) -> None:
    """Has the texts of later notes and warnings put into the words of who reads them."""
    _spellings[:] = [spelling]


def tell(note: str) -> None:
    """Says what takes its time now, such as that a model is fetched."""
    for show in _listeners:
        show(_spelled(note))


def warn(message: str) -> None:
    """A warning, such as that a damaged file was put aside; shown whether anybody listens or not,
    by the logger ``ris``."""
    import logging

    logging.getLogger("ris").warning("ris: %s", " ".join(_spelled(message).split()))


def _spelled(text: str) -> str:
    for spelling in _spellings:
        text = spelling(text)
    return text
