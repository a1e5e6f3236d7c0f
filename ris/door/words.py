"""What the door's functions are given: features, and who is told of progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from ris.errors import InputError
from ris.face_names import FaceId, Seed

if TYPE_CHECKING:
    from ris.ingest.pictures.decode import Photo

FaceName: TypeAlias = "Photo | FaceId | Seed"
"""A photo, a stored face's id, or a seed of the generator."""

Features: TypeAlias = "str | Sequence[str] | Mapping[str, float]"
"""One feature, several of equal weight, or weights by feature: ``"eyes"``, ``["eyes", "mouth"]``,
``{"eyes": 2, "mouth": 1}``. Only ratios of weights matter; a negative one asks for the least
alike."""
Progress: TypeAlias = "Callable[[str, int, int | None], None]"
"""Called while work goes on with the stage's name, what is done, and what there is in all (None as
long as that is unknown): ``("ingesting", 12, 300)``."""


def weights_of(features: Features | None) -> dict[str, float]:
    """Weights by feature.

    Raises:
        InputError: no feature, one that is named twice, or a weight that is zero or not finite.
    """
    if isinstance(features, Mapping):
        pairs = [(str(name), float(weight)) for name, weight in features.items()]
    else:
        names = [features] if isinstance(features, str) else list(features or ())
        pairs = [(name, 1.0) for name in names]
    if not pairs:
        raise InputError('name at least one feature, as in "eyes"')
    found: dict[str, float] = {}
    for name, weight in pairs:
        if not math.isfinite(weight) or weight == 0:
            raise InputError(f"the weight of {name!r} is a number other than 0, not {weight:g}")
        if name in found:
            raise InputError(f"feature {name!r} is given twice")
        found[name] = weight
    return found


def names_of(features: str | Sequence[str]) -> list[str]:
    """Names of features, each once."""
    return list(dict.fromkeys([features] if isinstance(features, str) else features))


def stage(progress: Progress | None, name: str) -> Callable[[int, int | None], None] | None:
    """Progress of one stage, as the engine reports it."""
    return None if progress is None else lambda done, total: progress(name, done, total)
