"""`ris transfer`: what was asked for, checked, made and written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.store import Store
from edit.compose import (
    TILE,
    Studio,
    alpha_strip,
    average_scores,
    comparison,
    feature_grid,
    from_query,
    pasted,
)
from edit.drawing import pictures, swing
from edit.paste import Blend
from edit.provenance import ANIMATED, STILLS, save_edit
from edit.subjects import Subject, subject
from edit.transfer import TransferOptions
from ingest.session import Session
from ris.eis import EisOptions
from ris.errors import InputError
from ris.masks import MaskOptions
from ris.transfer import ALPHA, Rule

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
        rule: see `ris.transfer`.
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
    mask: MaskOptions = field(default_factory=lambda: TransferOptions().mask)
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


def carry_out(
    request: Request,
    out: Path,
    store: Store | None = None,
    progress: Callable[[int, int], None] | None = None,
    session: Session | None = None,
) -> dict[str, Any]:
    """Makes and writes what was asked for; returns the facts that are written with it.

    Args:
        request: what to do.
        out: the picture's file; its suffix says the format.
        store: for ids, searches, and photos that were ingested.
        progress: called while EIS's masks are averaged.
        session: models; by default those of the store, or the shipped ones.

    Raises:
        RisError: says what is wrong.
    """
    request.check(out)
    alphas = request.alphas()
    if session is None:
        session = Session() if store is None else Session.of_store(store)
    sources = [subject(name, session, store) for name in request.sources]
    references = _references(request, session, store)
    studio = Studio.of_session(session, TransferOptions(request.mask, request.rule))
    if request.eis is not None:
        average = average_scores(session, store, progress=progress)
        studio = studio.with_averaged_masks(average, request.eis)
    picture, frames = _draw(request, studio, sources, references, alphas, out)
    facts = studio.facts(sources, references, request.features, alphas)
    save_edit(picture, out, facts, frames=frames, mark=request.mark)
    return facts


def _references(request: Request, session: Session, store: Store | None) -> list[Subject]:
    if request.from_query is None:
        return [subject(name, session, store) for name in request.references]
    if store is None:
        raise InputError("--from-query searches a store: run `ris ingest FOLDER` first")
    rank = request.from_query
    return [from_query(store, request.sources[0], request.features, rank, session)]


def _draw(
    request: Request,
    studio: Studio,
    sources: list[Subject],
    references: list[Subject],
    alphas: list[float],
    out: Path,
) -> tuple[Image.Image, list[Image.Image]]:
    """The picture, and further frames of an animation."""
    pair, features, size = (sources[0], references[0]), request.features, request.size
    if request.is_grid:
        sheet = feature_grid(studio, sources, references, features, alphas[0], size or TILE)
        return sheet, []
    if request.sweep is not None:
        sheet, frames = alpha_strip(studio, *pair, features, alphas, size or TILE)
        if out.suffix.lower() in FRAMES_SUFFIXES:
            first, *others = swing(frames)
            return first, others
        return sheet, []
    if request.compare:
        return comparison(studio, *pair, features, alphas[0], size), []
    if request.paste is not None:
        return pasted(studio, *pair, features, alphas[0], request.paste), []
    return pictures(studio.edited(*pair, features, alphas), size)[0], []
