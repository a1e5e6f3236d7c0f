"""Ranks the faces of a store by one feature or a weighted mix of several (Eq. 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.store import Store
from data.views import select_ids
from index.feature import FeatureIndex
from index.protocol import Ends, Hits
from query.faces import FaceReader, QueryFace, query_face
from ris.errors import InputError, MismatchError, QueryError


@dataclass(frozen=True)
class Match:
    """One result.

    Attributes:
        rank: from 1.
        id: of the face.
        path: its photo.
        score: cosine similarity in [-1, 1].
        quad: (4, 2) the face's square in the photo; None where the photo was taken as it is.
    """

    rank: int
    id: str
    path: Path
    score: float
    quad: np.ndarray | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class SearchResult:
    """Both ends of a ranking.

    Attributes:
        features: weight of each feature.
        k: number of results asked for; there are fewer where the collection is smaller.
        query: the face that was searched for.
        nearest: most similar first.
        furthest: least similar first.
    """

    features: dict[str, float]
    k: int
    query: QueryFace
    nearest: list[Match]
    furthest: list[Match]

    @property
    def label(self) -> str:
        """The features as they are typed: ``eyes`` or ``eyes:2 mouth:1``."""
        if len(self.features) == 1:
            return next(iter(self.features))
        return " ".join(f"{name}:{weight:g}" for name, weight in self.features.items())


def parse_features(values: Sequence[str]) -> dict[str, float]:
    """``["eyes:2", "mouth"]`` -> ``{"eyes": 2.0, "mouth": 1.0}``.

    Raises:
        InputError: a weight that is no number, zero or not finite, or a feature named twice.
    """
    features: dict[str, float] = {}
    for value in (part for text in values for part in text.replace(",", " ").split()):
        name, _, weight = value.partition(":")
        try:
            number = float(weight) if weight else 1.0
        except ValueError as e:
            raise InputError(f"{value!r}: a weight is a number, as in eyes:2") from e
        if not np.isfinite(number) or number == 0:
            raise InputError(f"{value!r}: a weight is a number other than 0")
        if name in features:
            raise InputError(f"feature {name!r} is given twice")
        features[name] = number
    if not features:
        raise InputError("name at least one feature, as in --feature eyes")
    return features


def search(
    store: Store,
    query: str | QueryFace,
    features: Mapping[str, float],
    *,
    k: int = 5,
    where: str | None = None,
    reader: FaceReader | None = None,
) -> SearchResult:
    """The k nearest and the k furthest faces.

    With several features the score is the weighted mean of their cosines, over the faces that
    show all of them. A query that is itself in the store is left out of its results.

    Args:
        store: with an up-to-date index of every feature.
        query: a photo's path, the id of a face in the store, or a face read before.
        features: weight of each feature; only ratios matter.
        k: number of results at each end, at least 1.
        where: SQL condition on the view ``faces``; only faces that satisfy it are ranked.
        reader: reads a photo that is not in the store; by default as the store's were read.

    Raises:
        IndexMissingError: a feature has no index.
        MismatchError: an index is older than the store.
        QueryError: the query does not show a feature, or the condition is wrong.
    """
    if k < 1:
        raise InputError(f"--k is at least 1, not {k}")
    indices = {name: FeatureIndex.open(store, name) for name in features}
    face = query
    if isinstance(face, str):  # after the indices: a missing one should not cost an inversion
        face = query_face(store, face, reader)
    vectors = {name: index.query_vector(face.sigma, face.scores) for name, index in indices.items()}
    for name, vector in vectors.items():
        if not vector.any():
            raise QueryError(f"{face.path} shows no {name!r}, so there is nothing to compare")
    first_name, first = next(iter(indices.items()))
    allowed = None
    if where is not None:
        chosen = select_ids(store, where)
        if not chosen - {face.id}:
            raise QueryError(f"no face satisfies --where {where!r}")
        allowed = first.rows_of(chosen)
    if len(indices) == 1 and features[first_name] > 0:
        ends = _one(first, next(iter(vectors.values())), face.id, k, allowed)
    else:
        ends = _several(indices, vectors, features, face.id, k, allowed)
    nearest, furthest = (_matches(store, first, hits) for hits in ends)
    return SearchResult(dict(features), k, face, nearest, furthest)


def _one(
    index: FeatureIndex, vector: np.ndarray, own: str | None, k: int, allowed: np.ndarray | None
) -> Ends:
    """Search in one index, without the query's own row."""
    wanted = min(k + (own is not None), index.vectors.rows)
    ends = index.vectors.search(vector[None], wanted, allowed=allowed)
    row = -1 if own is None else index.row_of(own)
    near, far = (_drop(hits, row, k) for hits in ends)
    return Ends(near, far)


def _drop(hits: Hits, own: int, k: int) -> Hits:
    keep = np.flatnonzero((hits.rows[0] >= 0) & (hits.rows[0] != own))[:k]
    return Hits(hits.rows[:, keep], hits.scores[:, keep])


def _several(
    indices: Mapping[str, FeatureIndex],
    vectors: Mapping[str, np.ndarray],
    weights: Mapping[str, float],
    own: str | None,
    k: int,
    allowed: np.ndarray | None,
) -> Ends:
    """Weighted mean of exact cosines, over the rows that every index has."""
    first = next(iter(indices.values()))
    total = np.zeros(len(first.ids), np.float32)
    common = np.ones(len(first.ids), bool) if allowed is None else allowed.copy()
    largest = max(abs(w) for w in weights.values())  # first, so that the sum cannot overflow
    norm = sum(abs(w / largest) for w in weights.values())
    for name, index in indices.items():
        rows = first.rows_in(index)
        common &= rows >= 0
        scores = index.vectors.all_scores(vectors[name])
        total += np.float32(weights[name] / largest / norm) * scores[rows]
    if own is not None and (row := first.row_of(own)) >= 0:
        common[row] = False
    candidates = np.flatnonzero(common)
    order = candidates[np.lexsort((candidates, -total[candidates]))]
    far = candidates[np.lexsort((candidates, total[candidates]))]
    near_hits, far_hits = (Hits(rows[None, :k], total[rows[:k]][None]) for rows in (order, far))
    return Ends(near_hits, far_hits)


def _matches(store: Store, index: FeatureIndex, hits: Hits) -> list[Match]:
    ids = [index.ids[row].decode() for row in hits.rows[0]]
    places = store.places(ids)
    if any(face not in places for face in ids):
        raise MismatchError("the store changed while it was searched: run the command again")
    return [
        Match(rank, face, store.resolve(places[face][0]), float(score), places[face][1])
        for rank, (face, score) in enumerate(zip(ids, hits.scores[0], strict=True), 1)
    ]
