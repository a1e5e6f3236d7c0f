"""What a measure is, and the set of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import torch

VERSION = 2
"""To be raised when a measure changes: values under another version are not mixed."""
Values = dict[str, float | None]
"""By name; None where one of the pictures has nothing to measure."""


class Measure(Protocol):
    """One way to compare two pictures of a face."""

    higher_is_better: ClassVar[dict[str, bool]]
    """The names of its values, and which way they improve."""

    def describe(self, picture: torch.Tensor) -> Any:
        """What the measure sees of a (1, 3, S, S) picture in [-1, 1]."""
        ...

    def compare(self, photo: Any, other: Any) -> Values:
        """The values for the descriptions of a photo and of another picture."""
        ...


@torch.no_grad()
def describe_all(measures: Sequence[Measure], picture: torch.Tensor) -> list[Any]:
    """One description a measure."""
    return [measure.describe(picture) for measure in measures]


@torch.no_grad()
def compare_all(measures: Sequence[Measure], photo: list[Any], other: list[Any]) -> Values:
    """All values for two lists of descriptions."""
    values: Values = {}
    for measure, a, b in zip(measures, photo, other, strict=True):
        values |= measure.compare(a, b)
    return values
