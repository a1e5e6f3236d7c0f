"""The faces of an edit: photos, faces of a store, seeds of the generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from ris.data.manifest import Manifest
from ris.data.row_tensors import row_tensors
from ris.data.shards import vectors
from ris.data.store import Store
from ris.edit.request import FaceName
from ris.errors import InputError
from ris.face_names import FaceId, Seed
from ris.ingest.embedding import Embedder
from ris.ingest.loaded_models import Models
from ris.ingest.sampling import sample_w
from ris.method.contribution import AverageScores
from ris.method.eis import AVERAGED_FACES
from ris.query.query_face import QueryFace, face_of_id, face_of_photo
from ris.query.searcher import search

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
        face: what was read of a photo, or stored; None for a seed.
    """

    name: str
    sigma: torch.Tensor
    scores: torch.Tensor
    face: QueryFace | None = None


def subject(name: FaceName, models: Models, store: Store | None = None) -> Subject:
    """Reads what was named.

    Args:
        name: a photo, a seed, or, with a store, the id of a face (which may be abbreviated).
        models: those of the store if there is one.
        store: where ids, and photos that were ingested, are looked up.

    Raises:
        InputError: the photo gives no face, or an id without a store.
        QueryError: no such photo or face.
        MismatchError: the models are not the store's.
    """
    if isinstance(name, Seed):
        given = {} if name.truncation is None else {"truncation": name.truncation}
        face = edit_embedder(models).embed(sample_w(models.generator, name.number, **given))
        return Subject(str(name), face.sigma, face.scores)
    if not isinstance(name, FaceId):
        return subject_of(face_of_photo(name, models, store), models)
    if store is None:
        raise InputError(f"there is no store to look up the face {name} in")
    return subject_of(face_of_id(store, name.id), models)


def edit_embedder(models: Models) -> Embedder:
    """The models' embedder, with scores as wide as edits need them."""
    embedder = models.embedder
    limit = embedder.max_resolution
    if limit is None or limit >= EDIT_RESOLUTION:
        return embedder
    return replace(embedder, max_resolution=EDIT_RESOLUTION)


def subject_of(face: QueryFace, models: Models) -> Subject:
    """The subject of a face that was read already; scores that it lacks are computed."""
    w, known = torch.tensor(face.w), torch.tensor(face.scores)
    scores = edit_scores(w, known, edit_embedder(models))
    return Subject(
        face.path.name if face.path else face.name, torch.tensor(face.sigma), scores, face
    )


def edit_scores(w: torch.Tensor, known: torch.Tensor, embedder: Embedder) -> torch.Tensor:
    """(K, C') scores of a face under an embedder, from its (L, 512) code unless they are known."""
    if known.shape[1] == embedder.settings().covered.channels:
        return known
    return embedder.embed(w).scores


def found_subject(
    source: Subject, features: dict[str, float], rank: int, store: Store | None, models: Models
) -> Subject:
    """The face that a search by a source's features finds.

    Args:
        source: a photo or a stored face.
        features: weight of each feature.
        rank: from 1, the nearest; negative: from -1, the furthest.
        store: with indices of the features.
        models: see `subject`.

    Raises:
        InputError: there is no store, the source is a seed, or fewer faces are found than that.
        RisError: see `ris.query.searcher.search`.
    """
    if store is None:
        raise InputError("`from_query` searches a store", "run `Collection.ingest` first")
    if source.face is None:
        raise InputError(f"a search starts from a photo or a stored face, not from {source.name}")
    found = search(store, source.face, features, k=abs(rank))
    matches = found.nearest if rank > 0 else found.furthest
    if len(matches) < abs(rank):
        raise InputError(f"the search found {len(matches)} faces, there is no rank {rank}")
    return subject(FaceId(matches[abs(rank) - 1].id), models, store)


def average_scores(
    models: Models,
    store: Store | None = None,
    *,
    faces: int = AVERAGED_FACES,
    progress: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """(K, C') scores averaged over faces: a store's first ones, or else of the generator's.

    Args:
        models: see `subject`.
        store: its faces are taken if there are enough.
        faces: how many.
        progress: called with faces done and faces in all.
    """

    def averaged(scores: Iterator[torch.Tensor]) -> torch.Tensor:
        average = AverageScores()
        for face in scores:
            average.add(face[None])
            if progress:
                progress(average.count, faces)
        return average.mean()

    if store is not None and store.manifest().rows >= faces:
        embedder = edit_embedder(models)
        return store.consistently(
            lambda manifest: averaged(_stored_scores(store, manifest, faces, embedder))
        )
    return averaged(subject(Seed(seed), models).scores for seed in range(faces))


def _stored_scores(
    store: Store, manifest: Manifest, faces: int, embedder: Embedder
) -> Iterator[torch.Tensor]:
    """(K, C') scores of each of a store's first faces."""
    settings = store.settings
    for batch in store.batches(["w", "sigma", "scores"], manifest):
        scores = row_tensors(batch, settings)[1]
        codes = torch.tensor(vectors(batch, "w")).view(len(batch), settings.latent_rows, -1)
        for code, known in zip(codes, scores, strict=True):
            yield edit_scores(code, known, embedder)
            faces -= 1
            if not faces:
                return
