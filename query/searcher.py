"""Ranks the faces of a store by one feature or a weighted mix of several (Eq. 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ris.data.store import Store
from ris.errors import InputError, QueryError, RisError
from ris.face_names import FaceId
from ris.index.kind import Ends, Hits
from ris.index.live import LiveIndex, LiveIndices
from ris.query.query_face import QueryFace, face_of_id, new_face, stored_photo
from ris.query.ranking import Query, ranked, vectors_of

if TYPE_CHECKING:
    from ris.ingest.loaded_models import Models
    from ris.ingest.pictures.decode import Photo


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
        unsearched: faces of the store that were not looked at, since they are newer than an index
            and too many to be added on the way (`ris.index.live`).
    """

    features: dict[str, float]
    k: int
    query: QueryFace
    nearest: list[Match]
    furthest: list[Match]
    unsearched: int = 0

    @property
    def label(self) -> str:
        """The features as they are typed: ``eyes`` or ``eyes:2 mouth:1``."""
        if len(self.features) == 1:
            return next(iter(self.features))
        return " ".join(f"{name}:{weight:g}" for name, weight in self.features.items())


def search(
    store: Store,
    query: Photo | FaceId | QueryFace,
    features: Mapping[str, float],
    *,
    k: int = 5,
    where: str | None = None,
    models: Models | None = None,
) -> SearchResult:
    """The k nearest and the k furthest faces.

    With several features the score is the weighted mean of their cosines, over the faces that
    show all of them. A query that is itself in the store is left out of its results. Faces that
    were removed since an index was built are left out, new ones are added where they are few.

    Args:
        store: with an index of every feature.
        query: a photo, the id of a face in the store, or a face read before.
        features: weight of each feature; only ratios matter.
        k: number of results at each end, at least 1.
        where: SQL condition on the view ``faces``; only faces that satisfy it are ranked.
        models: read a photo that is not in the store; by default as the store's were read.

    Raises:
        IndexMissingError: a feature has no index.
        MismatchError: an index is of other settings, or a photo would be read by others, than
            the store's faces.
        QueryError: the query does not show a feature, or the condition is wrong.
    """
    return Searcher(store, models).search(query, features, k=k, where=where)


class Searcher:
    """Searches of one store that share all they load: indices, networks, generator.

    Made once and kept, it answers a photo in a fraction of the time that loading takes. Every
    search looks whether the store or an index has changed and answers for the present state, so it
    can be kept for as long as a program runs, while other processes ingest, index and remove. Any
    number of threads may use it at once: indices and models are loaded once for all of them, and
    photos are inverted by as many threads at a time as there are cores.

    Args:
        store: with an index of every feature that is asked for.
        models: read photos that are not in the store, or give what does; by default as the
            store's were read.
    """

    def __init__(self, store: Store, models: Models | Callable[[], Models] | None = None) -> None:
        self.store = store
        self._given = models
        self._indices = LiveIndices(store)
        self._lock = Lock()

    @property
    def models(self) -> Models:
        """What reads photos; each is loaded when it is needed."""
        with self._lock:
            if self._given is None:
                from ris.ingest.loaded_models import Models

                self._given = Models.of_store(self.store)
            elif callable(self._given):
                self._given = self._given()
            return self._given

    def search(
        self,
        query: Photo | FaceId | QueryFace,
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
        queries: Sequence[Photo | FaceId | QueryFace],
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
            raise InputError(f"`k` is at least 1, not {k}")
        indices = self._indices.get(features)  # a missing one should not cost an inversion
        faces: list[QueryFace | RisError] = []
        for query in queries:
            try:
                faces.append(self._face(query))
            except RisError as e:
                faces.append(e)
        if any(isinstance(face, QueryFace) and face.id is None for face in faces):
            indices = self._indices.get(features)  # reading photos takes its time
        while True:
            found = self._ranked(indices, faces, features, k, where)
            if found is not None:
                return found
            indices = self._indices.get(features)

    def _ranked(
        self,
        indices: Mapping[str, LiveIndex],
        faces: Sequence[QueryFace | RisError],
        features: Mapping[str, float],
        k: int,
        where: str | None,
    ) -> list[SearchResult | RisError] | None:
        """The results as of the indices' state of the store; None where a face that was found has
        been removed meanwhile."""
        first = next(iter(indices.values()))
        chosen = allowed = None
        if where is not None:
            from ris.data.views import select_ids

            chosen = select_ids(self.store, where)
            allowed = first.rows_of(chosen)
        found: list[SearchResult | RisError | None] = [None] * len(faces)
        ready: dict[int, Query] = {}
        for number, face in enumerate(faces):
            try:
                if isinstance(face, RisError):
                    raise face
                if chosen is not None and not chosen - {face.id}:
                    raise QueryError(f"no face satisfies `where` {where!r}")
                ready[number] = Query(face, vectors_of(indices, face))
            except RisError as e:
                found[number] = e
        both = _matches(
            self.store, first, ranked(indices, list(ready.values()), features, k, allowed)
        )
        if both is None:
            return None
        unsearched = _unsearched(indices.values())
        for number, (nearest, furthest) in zip(ready, both, strict=True):
            found[number] = SearchResult(
                dict(features), k, ready[number].face, nearest, furthest, unsearched
            )
        return [result for result in found if result is not None]

    def _face(self, query: Photo | FaceId | QueryFace) -> QueryFace:
        if isinstance(query, QueryFace):
            return query
        if isinstance(query, FaceId):
            return face_of_id(self.store, query.id)
        return stored_photo(self.store, query) or new_face(query, self.models, self.store)


def _unsearched(indices: Iterable[LiveIndex]) -> int:
    """Faces that one index or another has not looked at."""
    keys = [index.unsearched for index in indices]
    return len(np.unique(np.concatenate(keys))) if any(map(len, keys)) else 0


def _matches(
    store: Store, index: LiveIndex, found: Sequence[Ends]
) -> list[tuple[list[Match], list[Match]]] | None:
    """The faces behind both ends of each query, looked up together; None where the store has one
    of them no more."""
    rows = {int(row) for ends in found for hits in ends for row in hits.rows[0]}
    ids = {row: index.ids[row].decode() for row in sorted(rows)}
    places = store.places(list(ids.values()))
    if any(face not in places for face in ids.values()):
        return None

    def matches(hits: Hits) -> list[Match]:
        result = []
        for rank, (row, score) in enumerate(zip(hits.rows[0], hits.scores[0], strict=True), 1):
            face = ids[int(row)]
            path, quad = places[face]
            result.append(Match(rank, face, store.resolve(path), float(score), quad))
        return result

    return [(matches(ends.nearest), matches(ends.furthest)) for ends in found]
