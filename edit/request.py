"""What an edit is asked for; loads no torch, so that a mistake is told at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ris.choices import ALPHA, Blend, Rule
from ris.errors import InputError
from ris.face_names import FaceId, Seed
from ris.method.features import TRANSFER_MASK, EisOptions, MaskOptions

if TYPE_CHECKING:
    import os

    import numpy as np
    from PIL import Image

FaceName: TypeAlias = "str | os.PathLike[str] | Image.Image | np.ndarray | bytes | FaceId | Seed"
"""A photo (its path, a picture, (H, W, 3) uint8 pixels, or a file's bytes), a stored face, or one
that the generator makes up."""
MAX_STEPS = 200


@dataclass(frozen=True)
class EditRequest:
    """One feature, or several, of one face put on another.

    Attributes:
        sources: the faces that are edited; several give a grid.
        references: whose features they get; likewise; none if `from_query` names one.
        features: weight of each feature.
        from_query: the reference is this rank of a search by the features; negative: of its far
            end.
        alpha: how far to go.
        sweep: first and last alpha of a strip or animation instead.
        steps: faces of a sweep.
        compare: draw source, reference, result and change side by side.
        paste: put the result back into the source's photo: the whole crop, or what changed.
        rule: see `ris.method.transfer`.
        mask: the method's mask options.
        eis: edit by EIS with these options.
        size: pixels of a face; by default the generator's own, in sheets less.

    Raises:
        InputError: options that do not go together, or out of range.
    """

    sources: Sequence[FaceName]
    references: Sequence[FaceName]
    features: Mapping[str, float]
    from_query: int | None = None
    alpha: float = ALPHA
    sweep: tuple[float, float] | None = None
    steps: int = 7
    compare: bool = False
    paste: Blend | None = None
    rule: Rule = "paper"
    mask: MaskOptions = TRANSFER_MASK
    eis: EisOptions | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if bool(self.references) == (self.from_query is not None):
            raise InputError("name a reference, or take one with `from_query` (one of the two)")
        if self.from_query == 0:
            raise InputError("`from_query` counts from 1, and from -1 for the least alike")
        if not math.isfinite(self.alpha):
            raise InputError(f"`alpha` is a number, not {self.alpha}")
        if self.sweep is not None and not all(map(math.isfinite, self.sweep)):
            raise InputError(f"a sweep leads from one number to another, not {self.sweep}")
        kinds = [
            name
            for name, wanted in (
                ("`sweep`", self.sweep is not None),
                ("`compare`", self.compare),
                ("`paste`", self.paste is not None),
                ("several sources or references", self.is_grid),
            )
            if wanted
        ]
        if len(kinds) > 1:
            raise InputError(f"{kinds[0]} and {kinds[1]} make different pictures", "ask for one")
        if not 1 < self.steps <= MAX_STEPS:
            raise InputError(f"a sweep has 2 to {MAX_STEPS} `steps`, not {self.steps}")
        if self.size is not None and self.size < 16:
            raise InputError(f"`size` is at least 16 pixels, not {self.size}")

    @property
    def is_grid(self) -> bool:
        """Whether the result is a sheet of several pairs."""
        return len(self.sources) > 1 or len(self.references) > 1
