"""Ranks the faces of a store by one feature or a weighted mix of several (Eq. 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.store import Store
from index.feature import FeatureIndex
from index.protocol import Ends, Hits
from query.faces import FaceReader, QueryFace, new_face, stored_face
from ris.errors import InputError, MismatchError, QueryError, RisError


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
    return Searcher(store, reader).search(query, features, k=k, where=where)


class Searcher:
    """Searches of one store that share all they load: indices, networks, generator.

    Made once and kept, it answers a photo in a fraction of the time that loading takes. Every
    search looks whether the store or an index has changed and opens anew what did, so it can be
    kept for as long as a program runs. Serves one thread.

    Args:
        store: with an up-to-date index of every feature that is asked for.
        reader: reads photos that are not in the store; by default as the store's were read.
    """

    def __init__(self, store: Store, reader: FaceReader | None = None) -> None:
        self.store = store
        self._reader = reader
        self._indices: dict[str, FeatureIndex] = {}

    @property
    def reader(self) -> FaceReader:
        """What reads photos; its models are loaded when they are needed."""
        if self._reader is None:
            from ingest.session import Session

            self._reader = Session.of_store(self.store)
        return self._reader

    def search(
        self,
        query: str | QueryFace,
        features: Mapping[str, float],
        *,
        k: int = 5,
        where: str | None = None,
    ) -> SearchResult:
        """The k nearest and the k furthest faces; arguments and errors as `search`'s."""
        (found,) = self.search_all([query], features, k=k, where=where)
        if isinstance(found, RisError):
            raise found
        return found

    def search_all(
        self,
        queries: Sequence[str | QueryFace],
        features: Mapping[str, float],
        *,
        k: int = 5,
        where: str | None = None,
    ) -> list[SearchResult | RisError]:
        """Several queries at once, with one scan of an index for all of them.

        A query that fails, such as a photo without a face, leaves the others alone.

        Returns:
            for each query its result, or the error that it alone met.

        Raises:
            RisError: as `search`, where it is not the fault of one query.
        """
        if k < 1:
            raise InputError(f"--k is at least 1, not {k}")
        # before the queries: a missing index should not cost an inversion
        indices = {name: self._index(name) for name in features}
        first = next(iter(indices.values()))
        chosen = allowed = None
        if where is not None:
            from data.views import select_ids

            chosen = select_ids(self.store, where)
            allowed = first.rows_of(chosen)
        found: list[SearchResult | RisError | None] = [None] * len(queries)
        ready: dict[int, _Query] = {}
        for number, query in enumerate(queries):
            try:
                face = self._face(query)
                if chosen is not None and not chosen - {face.id}:
                    raise QueryError(f"no face satisfies --where {where!r}")
                ready[number] = _Query(face, _vectors(indices, face))
            except RisError as e:
                found[number] = e
        if len(indices) == 1 and features[next(iter(indices))] > 0:
            ends = _one(first, list(ready.values()), k, allowed)
        else:
            ends = _several(indices, list(ready.values()), features, k, allowed)
        ranked = _matches(self.store, first, ends)
        for number, (nearest, furthest) in zip(ready, ranked, strict=True):
            found[number] = SearchResult(dict(features), k, ready[number].face, nearest, furthest)
        return [result for result in found if result is not None]

    def _index(self, feature: str) -> FeatureIndex:
        index = self._indices.get(feature)
        if index is None or not index.is_current(self.store):
            index = self._indices[feature] = FeatureIndex.open(self.store, feature)
        return index

    def _face(self, query: str | QueryFace) -> QueryFace:
        if isinstance(query, QueryFace):
            return query
        return stored_face(self.store, query) or new_face(self.store, query, self.reader)


class _Query(NamedTuple):
    """A face and its vector under each feature."""

    face: QueryFace
    vectors: dict[str, np.ndarray]


def _vectors(indices: Mapping[str, FeatureIndex], face: QueryFace) -> dict[str, np.ndarray]:
    found = {}
    for name, index in indices.items():
        found[name] = index.query_vector(face.sigma, face.scores)
        if not found[name].any():
            raise QueryError(f"{face.path} shows no {name!r}, so there is nothing to compare")
    return found


def _one(
    index: FeatureIndex, queries: Sequence[_Query], k: int, allowed: np.ndarray | None
) -> list[Ends]:
    """Search in one index, each query without its own row."""
    if not queries:
        return []
    stacked = np.stack([next(iter(query.vectors.values())) for query in queries])
    both = index.vectors.search(stacked, min(k + 1, index.vectors.rows), allowed=allowed)
    found = []
    for i, query in enumerate(queries):
        row = -1 if query.face.id is None else index.row_of(query.face.id)
        near, far = (_drop(Hits(h.rows[i : i + 1], h.scores[i : i + 1]), row, k) for h in both)
        found.append(Ends(near, far))
    return found


def _drop(hits: Hits, own: int, k: int) -> Hits:
    keep = np.flatnonzero((hits.rows[0] >= 0) & (hits.rows[0] != own))[:k]
    return Hits(hits.rows[:, keep], hits.scores[:, keep])


def _several(
    indices: Mapping[str, FeatureIndex],
    queries: Sequence[_Query],
    weights: Mapping[str, float],
    k: int,
    allowed: np.ndarray | None,
) -> list[Ends]:
    """Weighted mean of exact cosines, over the rows that every index has."""
    first = next(iter(indices.values()))
    rows_of = {name: first.rows_in(index) for name, index in indices.items()}
    common = np.ones(len(first.ids), bool) if allowed is None else allowed.copy()
    for rows in rows_of.values():
        common &= rows >= 0
    largest = max(abs(w) for w in weights.values())  # first, so that the sum cannot overflow
    norm = sum(abs(w / largest) for w in weights.values())
    found = []
    for query in queries:
        total = np.zeros(len(first.ids), np.float32)
        for name, index in indices.items():
            scores = index.vectors.all_scores(query.vectors[name])
            total += np.float32(weights[name] / largest / norm) * scores[rows_of[name]]
        candidates = np.flatnonzero(common)
        if query.face.id is not None:
            candidates = candidates[candidates != first.row_of(query.face.id)]
        near = candidates[np.lexsort((candidates, -total[candidates]))][:k]
        far = candidates[np.lexsort((candidates, total[candidates]))][:k]
        found.append(Ends(*(Hits(rows[None], total[rows][None]) for rows in (near, far))))
    return found


def _matches(
    store: Store, index: FeatureIndex, found: Sequence[Ends]
) -> list[tuple[list[Match], list[Match]]]:
    """The faces behind both ends of each query, looked up together."""
    rows = {int(row) for ends in found for hits in ends for row in hits.rows[0]}
    ids = {row: index.ids[row].decode() for row in sorted(rows)}
    places = store.places(list(ids.values()))
    if any(face not in places for face in ids.values()):
        raise MismatchError("the store changed while it was searched: run the command again")

    def matches(hits: Hits) -> list[Match]:
        result = []
        for rank, (row, score) in enumerate(zip(hits.rows[0], hits.scores[0], strict=True), 1):
            face = ids[int(row)]
            path, quad = places[face]
            result.append(Match(rank, face, store.resolve(path), float(score), quad))
        return result

    return [(matches(ends.nearest), matches(ends.furthest)) for ends in found]
