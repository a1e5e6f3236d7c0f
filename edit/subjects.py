"""The faces of an edit: photos, faces of a store, seeds of the generator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ris.data.store import Store
from ris.edit.named import check_name, parse_seed
from ris.ingest.embedding import Embedder
from ris.ingest.sampling import sample_w
from ris.ingest.session import Session
from ris.query.query_face import QueryFace, query_face, read_face

EDIT_RESOLUTION = 128
"""Widest activation whose channels are edited, at least: a search needs less, but the colour of
hair comes from there."""


@dataclass(frozen=True)
class Subject:
    """A face that takes part in an edit.

    Attributes:
        name: for captions and notes: a file's name, an id, a seed.
        sigma: (C,) float32 style coefficients.
        scores: (K, C') float32 contribution scores.
        path: the photo; None for a seed.
        quad: (4, 2) the face's square in the photo; None where the photo is a face crop.
    """

    name: str
    sigma: torch.Tensor
    scores: torch.Tensor
    path: Path | None = None
    quad: np.ndarray | None = None


def subject(argument: str, session: Session, store: Store | None = None) -> Subject:
    """Reads what was named.

    Args:
        argument: a photo's path, ``seed:N``, or, with a store, the id of a face (which may be
            abbreviated).
        session: models and options, those of the store if there is one.
        store: where ids, and photos that were ingested, are looked up.

    Raises:
        InputError: no such photo or seed, the photo gives no face, or an id without a store.
        QueryError: no such face.
        MismatchError: the session's options are not the store's.
    """
    check_name(argument, store=store is not None)
    if argument.startswith("seed:"):
        return seed_subject(argument, session)
    if store is not None:
        return from_face(query_face(store, argument, session), session)
    return from_face(read_face(Path(argument).expanduser(), session), session)


def edit_embedder(session: Session) -> Embedder:
    """The session's embedder, with scores as wide as edits need them."""
    embedder = session.embedder()
    limit = embedder.max_resolution
    if limit is None or limit >= EDIT_RESOLUTION:
        return embedder
    return replace(embedder, max_resolution=EDIT_RESOLUTION)


def from_face(face: QueryFace, session: Session) -> Subject:
    """The subject of a face that was read already; scores that it lacks are computed."""
    return Subject(
        face.path.name,
        torch.tensor(face.sigma),
        edit_scores(torch.tensor(face.w), torch.tensor(face.scores), edit_embedder(session)),
        face.path,
        face.quad,
    )


def edit_scores(w: torch.Tensor, known: torch.Tensor, embedder: Embedder) -> torch.Tensor:
    """(K, C') scores of a face under an embedder, from its (L, 512) code unless they are known."""
    if known.shape[1] == embedder.settings().covered.channels:
        return known
    return embedder.embed(w).scores


def seed_subject(argument: str, session: Session) -> Subject:
    """The generator's face of ``seed:N``.

    Raises:
        InputError: not such a text, or a truncation above 1.
    """
    number, truncation = parse_seed(argument)
    given = {} if truncation is None else {"truncation": truncation}
    face = edit_embedder(session).embed(sample_w(session.generator, number, **given))
    return Subject(argument, face.sigma, face.scores)
