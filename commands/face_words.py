"""Faces, features and ranges as they are typed."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ris import FaceId, Seed
from ris.errors import InputError

SEED = r"seed:(\d{1,9})(?:@(\d*\.?\d+))?"
"""``seed:7``, or ``seed:7@0.5`` for another truncation than the usual one."""


def photo_or_id(word: str) -> Path | FaceId:
    """What one word of a query names: a photo where it is, or looks like, a path; else the id of a
    stored face."""
    path = Path(word).expanduser()
    is_path = os.path.exists(path) or path.suffix or os.sep in word
    return path if is_path and word.strip() else FaceId(word)


def face_named(word: str) -> Path | FaceId | Seed:
    """What one word of a transfer names: a seed, or what `photo_or_id` says.

    Raises:
        InputError: no seed.
    """
    return _seed(word) if word.startswith("seed:") else photo_or_id(word)


def parse_features(values: Sequence[str]) -> dict[str, float]:
    """``["eyes:2", "mouth"]`` -> ``{"eyes": 2.0, "mouth": 1.0}``.

    Raises:
        InputError: a weight that is no number, or a feature that is named twice, or none.
    """
    features: dict[str, float] = {}
    for value in (part for text in values for part in text.replace(",", " ").split()):
        name, _, weight = value.partition(":")
        try:
            number = float(weight) if weight else 1.0
        except ValueError as e:
            raise InputError(f"{value!r}: a weight is a number, as in eyes:2") from e
        if name in features:
            raise InputError(f"feature {name!r} is given twice")
        features[name] = number
    if not features:
        raise InputError("name at least one feature, as in --feature eyes")
    return features


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
    found = re.fullmatch(SEED, word)
    if not found:
        raise InputError(f"{word!r}: a seed is written seed:7, or seed:7@0.5 with truncation")
    number, truncation = found.groups()
    try:
        return Seed(int(number), None if truncation is None else float(truncation))
    except InputError as e:
        raise InputError(f"{word!r}: {e}") from e
