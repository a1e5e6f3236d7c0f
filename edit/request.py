"""What a `ris transfer` asks for; loads no torch, so that a mistake is told at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ris.choices import ALPHA, Rule
from ris.edit.provenance import ANIMATED, STILLS
from ris.errors import InputError
from ris.method.features import TRANSFER_MASK, EisOptions, MaskOptions

if TYPE_CHECKING:
    from ris.edit.paste import Blend

MAX_STEPS = 200
FRAMES_SUFFIXES = {".gif"} | (set(ANIMATED) - {".png"})
"""A sweep written under these is an animation; as .png or .jpg it is a strip."""


@dataclass(frozen=True)
class Request:
    """An edit as a user asks for it.

    Attributes:
        sources: photos, ids or seeds; several give a grid.
        references: likewise; none if `from_query` names one.
        features: weight of each feature.
        from_query: the reference is this rank of a search by the features; negative: of its far
            end.
        alpha: how far to go.
        sweep: range of alpha instead, as ``-1..2``.
        steps: faces of a sweep.
        compare: draw source, reference, result and change side by side.
        paste: put the result back into the source's photo.
        rule: see `ris.method.transfer`.
        mask: the method's mask options.
        eis: edit by EIS with these options.
        size: pixels of a face.
        mark: note in the picture that it is synthetic.
    """

    sources: Sequence[str]
    references: Sequence[str]
    features: dict[str, float]
    from_query: int | None = None
    alpha: float = ALPHA
    sweep: str | None = None
    steps: int = 7
    compare: bool = False
    paste: Blend | None = None
    rule: Rule = "paper"
    mask: MaskOptions = TRANSFER_MASK
    eis: EisOptions | None = None
    size: int | None = None
    mark: bool = True

    def check(self, out: Path) -> None:
        """Refuses what does not go together, before anything is loaded.

        Raises:
            InputError: says what.
        """
        if bool(self.references) == (self.from_query is not None):
            raise InputError("name a reference, or take one with --from-query (one of the two)")
        if not np.isfinite(self.alpha):
            raise InputError(f"alpha is a number, not {self.alpha}")
        kinds = [
            name
            for name, wanted in (
                ("--sweep", self.sweep is not None),
                ("--compare", self.compare),
                ("--paste", self.paste is not None),
                ("several sources or references", self.is_grid),
            )
            if wanted
        ]
        if len(kinds) > 1:
            raise InputError(f"{kinds[0]} and {kinds[1]} make different pictures: ask for one")
        if not 1 < self.steps <= MAX_STEPS:
            raise InputError(f"a sweep has 2 to {MAX_STEPS} steps, not {self.steps}")
        if self.size is not None and self.size < 16:
            raise InputError(f"a face has at least 16 pixels, not {self.size}")
        known = {*STILLS, *(FRAMES_SUFFIXES if self.sweep is not None else ())}
        if out.suffix.lower() not in known:
            raise InputError(f"{out}: this is written as {', '.join(sorted(known))}")

    @property
    def is_grid(self) -> bool:
        """Whether the result is a sheet of several pairs."""
        return len(self.sources) > 1 or len(self.references) > 1

    def alphas(self) -> list[float]:
        """The steps of a sweep, or the one alpha.

        Raises:
            InputError: no such range.
        """
        if self.sweep is None:
            return [self.alpha]
        first, separator, last = self.sweep.partition("..")
        try:
            low, high = float(first), float(last)
        except ValueError as e:
            raise InputError(f"{self.sweep!r}: a sweep is written -1..2") from e
        if not separator or not np.isfinite([low, high]).all():
            raise InputError(f"{self.sweep!r}: a sweep is written -1..2")
        return [float(a) for a in np.linspace(low, high, self.steps)]
