"""`ris transfer`: what was asked for, made and written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from ris.data.store import Store
from ris.edit.compose import (
    TILE,
    Studio,
    alpha_strip,
    average_scores,
    comparison,
    feature_grid,
    from_query,
    pasted,
)
from ris.edit.drawing import pictures, swing
from ris.edit.feature_edits import TransferOptions
from ris.edit.provenance import save_edit
from ris.edit.request import FRAMES_SUFFIXES, Request
from ris.edit.subjects import Subject, subject
from ris.errors import InputError
from ris.ingest.session import Session


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
