"""How the faces of an edit are named: photos, ids, seeds."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ris.errors import InputError

SEED = re.compile(r"seed:(\d{1,9})(?:@(\d*\.?\d+))?")
"""``seed:7``, or ``seed:7@0.5`` for another truncation than the usual one."""


def parse_seed(argument: str) -> tuple[int, float | None]:
    """Number and truncation (None: the usual one) of a seed.

    Raises:
        InputError: not such a text, or a truncation above 1.
    """
    found = SEED.fullmatch(argument)
    if not found:
        raise InputError(f"{argument!r}: a seed is written seed:7, or seed:7@0.5 with truncation")
    number, truncation = found.groups()
    if truncation is None:
        return int(number), None
    if float(truncation) > 1:
        raise InputError(f"{argument!r}: truncation lies between 0 and 1")
    return int(number), float(truncation)


def check_name(argument: str, *, store: bool) -> None:
    """Refuses what can be no face, before anything is loaded.

    Args:
        argument: a photo's path, ``seed:N``, or, with a store, the id of a face.
        store: whether there is one.

    Raises:
        InputError: no such photo, no seed, or an id without a store.
    """
    if argument.startswith("seed:"):
        parse_seed(argument)
        return
    path = Path(argument).expanduser()
    if os.path.isfile(path):
        return
    if path.suffix or len(path.parts) > 1:
        raise InputError(f"no photo {argument}")
    if not store:
        raise InputError(
            f"{argument!r} is no photo, and there is no store to look up a face's id in"
        )
