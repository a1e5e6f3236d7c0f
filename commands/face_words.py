"""Words that name the faces of searches and edits, and ranges of alpha; nothing heavy is loaded, so
that a mistake is told at once."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from ris.errors import InputError
from ris.face_names import FaceId, Seed

SEED = re.compile(r"seed:(\d{1,9})(?:@(\d*\.?\d+))?")
"""``seed:7``, or ``seed:7@0.5`` for another truncation than the usual one."""


def photo_or_id(word: str) -> Path | FaceId:
    """What a word of the command line means: the photo of that path, or else an id.

    For nothing but what the user of this machine typed: a text that comes from elsewhere and is
    an id must never be read as a path. Whether there is such a photo or id shows when it is read.
    """
    path = Path(word).expanduser()
    # unlike Path's, these take names that are longer than the system's
    there = os.path.isfile(path) or (bool(word.strip()) and os.path.isdir(path))
    return path if there or path.suffix or len(path.parts) > 1 else FaceId(word)


def face_named(word: str, *, store: bool) -> Path | FaceId | Seed:
    """What a word names: a photo that is there by its path, a seed, or else a face's id.

    Args:
        word: a photo's path, ``seed:N``, or, with a store, the id of a face.
        store: whether there is one.

    Raises:
        InputError: no such photo, no seed, or an id without a store.
    """
    if word.startswith("seed:"):
        return _seed(word)
    found = photo_or_id(word)
    if isinstance(found, Path) and not os.path.isfile(found):
        raise InputError(f"no photo {word}")
    if isinstance(found, FaceId) and not store:
        raise InputError(f"{word!r} is no photo, and there is no store to look up a face's id in")
    return found


def sweep_named(text: str) -> tuple[float, float]:
    """First and last alpha of ``-1..2``.

    Raises:
        InputError: no such range.
    """
    first, separator, last = text.partition("..")
    try:
        ends = float(first), float(last)
    except ValueError:
        separator = ""
    if not separator or not all(map(math.isfinite, ends)):
        raise InputError(f"{text!r}: a sweep is written -1..2")
    return ends


def _seed(word: str) -> Seed:
    found = SEED.fullmatch(word)
    if not found:
        raise InputError(f"{word!r}: a seed is written seed:7, or seed:7@0.5 with truncation")
    number, truncation = found.groups()
    try:
        return Seed(int(number), None if truncation is None else float(truncation))
    except InputError as e:
        raise InputError(f"{word!r}: {e}") from e
