"""Indices as the store is now: without the faces that it has lost, with those that it has gained.

An index on disk is as new as the last `ris index` or ingest. A search takes the newest one and the
store's manifest of that moment, leaves out the rows whose face is gone (or has other vectors now),
and scans the faces that the index has not looked at in memory, by vectors made and rounded as the
index's own are, so that a score does not depend on where a face stands. Few faces are added before
a search, since each costs milliseconds (`MOST_VECTORS`); where more are waiting, the search says
how many it did not look at.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np

from ris.data import shards
from ris.data.changes import GONE, Difference, ShardKeys
from ris.data.manifest import Manifest
from ris.data.row_keys import COLUMNS
from ris.data.store import Store
from ris.index.directory import LARGE, index_folder
from ris.index.feature import FeatureIndex
from ris.index.files import damaged
from ris.index.kind import Ends, Hits, unit_rows
from ris.index.meta import read_meta
from ris.ops.scan import half_cosines

MOST_VECTORS = 256
"""Vectors of new faces that are made before a search: about half a second on one core."""
MOST_KEPT = 4096
"""New faces that are kept in memory for each feature: at most 46 MB of the default generator's."""


@dataclass(frozen=True)
class Fresh:
    """Faces that an index has not looked at, in memory.

    Attributes:
        ids: (n,) bytes.
        keys: (n,) uint64.
        half: (n, D) float16 unit vectors.
        absent: (m,) uint64 keys of faces that do not show the feature.
    """

    ids: np.ndarray
    keys: np.ndarray
    half: np.ndarray
    absent: np.ndarray

    @classmethod
    def none(cls, dims: int) -> Fresh:
        """No faces."""
        keys = np.empty(0, np.uint64)
        return cls(np.empty(0, "S1"), keys, np.empty((0, dims), np.float16), keys)

    @property
    def seen(self) -> np.ndarray:
        """Keys of all faces that were looked at."""
        return np.concatenate((self.keys, self.absent))

    def among(self, keys: np.ndarray) -> Fresh:
        """Those of the given keys."""
        if not len(self.seen):
            return self
        here, absent = np.isin(self.keys, keys), np.isin(self.absent, keys)
        return Fresh(self.ids[here], self.keys[here], self.half[here], self.absent[absent])

    def with_rows(self, ids: np.ndarray, keys: np.ndarray, vectors: np.ndarray) -> Fresh:
        """With further faces, whose (n, D) vectors of any length are all zero where they do not
        show the feature."""
        shown = np.flatnonzero(vectors.any(axis=1))
        half = unit_rows(vectors[shown], vectors.shape[1], "index").astype("<f2")
        return Fresh(
            np.concatenate((self.ids, ids[shown])),
            np.concatenate((self.keys, keys[shown])),
            np.concatenate((self.half, half)),
            np.concatenate((self.absent, np.delete(keys, shown))),
        )


class LiveIndex:
    """An index as of one state of the store; never changes, any number of threads may use it.

    Rows are those of the index and, after them, the faces that it has not looked at.

    Args:
        index: the index.
        difference: between it and the state.
        fresh: faces that it has not looked at.
        unsearched: (u,) uint64 keys of those that are in neither.

    Attributes:
        rows: all rows.
        ids: (rows,) bytes; empty where there is no face any more.
        query_vector: as `FeatureIndex`'s.
    """

    def __init__(
        self, index: FeatureIndex, difference: Difference, fresh: Fresh, unsearched: np.ndarray
    ) -> None:
        self.index, self.fresh, self.unsearched = index, fresh, unsearched
        self.query_vector = index.query_vector
        stored = index.vectors.rows
        alive = difference.places[:stored] != GONE
        lost = np.count_nonzero(~alive) > index.meta.gone
        self._alive = alive if lost else None
        """(N,) bool, rows of the index that may be returned; None: all that it says itself."""
        self.ids: np.ndarray = index.ids
        if lost or len(fresh.ids):
            self.ids = np.concatenate((np.where(alive, index.ids, b""), fresh.ids))
        self.rows = len(self.ids)

    def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> Ends:
        """The k nearest and furthest rows of each query; see `ris.index.kind.Kind`."""
        stored = self.index.vectors.rows
        own = None if allowed is None else allowed[:stored]
        if self._alive is not None:
            own = self._alive if own is None else own & self._alive
        ends = self.index.vectors.search(queries, k, allowed=own)
        if not len(self.fresh.ids):
            return ends
        numbers = np.arange(stored, self.rows)
        if allowed is not None:
            numbers = numbers[allowed[stored:]]
        unit = unit_rows(queries, self.index.vectors.dims, "query")
        scores = np.stack([half_cosines(self.fresh.half, query) for query in unit])
        found = Hits(
            np.broadcast_to(numbers, (len(unit), len(numbers))), scores[:, numbers - stored]
        )
        return Ends(*(_joined(h, found, k, h is ends.furthest) for h in ends))

    def all_scores(self, query: np.ndarray) -> np.ndarray:
        """(rows,) float32 cosine with every row."""
        scores = self.index.vectors.all_scores(query)
        if not len(self.fresh.ids):
            return scores
        unit = unit_rows(query[None], self.index.vectors.dims, "query")[0]
        return np.concatenate((scores, half_cosines(self.fresh.half, unit)))

    def row_of(self, face: str) -> int:
        """Row of a face, -1 if it has none."""
        found = np.flatnonzero(self.ids == face.encode())
        return int(found[0]) if len(found) else -1

    def rows_of(self, faces: Iterable[str]) -> np.ndarray:
        """(rows,) bool: which rows belong to the given faces."""
        return np.isin(self.ids, np.array([face.encode() for face in faces]))

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.ids)

    def rows_in(self, other: LiveIndex) -> np.ndarray:
        """(rows,) int64: for each row of this index the same face's row in `other`, or -1."""
        at = np.searchsorted(other.ids, self.ids, sorter=other._order)
        rows = other._order[at.clip(max=other.rows - 1)]
        return np.where((other.ids[rows] == self.ids) & (self.ids != b""), rows, -1)


def _joined(hits: Hits, more: Hits, k: int, furthest: bool) -> Hits:
    """The best k of two sets of rows for each query, padded; among equals the lowest row."""
    rows = np.concatenate((hits.rows, more.rows), axis=1)
    scores = np.concatenate((hits.scores, more.scores), axis=1)
    for i in range(len(rows)):
        by_score = scores[i] if furthest else -scores[i]
        order = np.lexsort((rows[i], by_score))  # padding is NaN, which comes last
        rows[i], scores[i] = rows[i][order], scores[i][order]
    return Hits(rows[:, :k], scores[:, :k])


def _without(keys: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The keys that are not known. (numpy's sets load much that most searches do not need.)"""
    return keys[~np.isin(keys, known)] if len(keys) and len(known) else keys


@dataclass(frozen=True)
class _Kept:
    state: str
    live: LiveIndex


class LiveIndices:
    """The indices of a store's features as it is now, for any number of threads.

    Args:
        store: the store.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._keys = ShardKeys(store)
        self._kept: dict[str, _Kept] = {}
        self._lock = Lock()

    def get(self, features: Iterable[str]) -> dict[str, LiveIndex]:
        """The indices of some features, all as of one state of the store: the present one.

        Raises:
            InputError: the store's catalogue has no such feature.
            IndexMissingError: one was not built yet.
            MismatchError: one was built for another generator, catalogue or resolution.
            StoreError: files of an index or of the store are damaged.
        """
        names = list(features)
        state = self.store.manifest().state
        found = {name: self._current(name, state) for name in names}
        current = {name: kept for name, kept in found.items() if kept is not None}
        if len(current) < len(names):
            with self._lock:
                current = self.store.consistently(lambda manifest: self._at(manifest, names))
        return {name: current[name].live for name in names}

    def _current(self, feature: str, state: str) -> _Kept | None:
        kept = self._kept.get(feature)
        if kept is None or kept.state != state:
            return None
        return kept if self._is_newest(kept.live.index, feature) else None

    def _is_newest(self, index: FeatureIndex, feature: str) -> bool:
        """Whether an open index is the one on disk.

        Raises:
            StoreError: a file of it has become shorter, and reading its end would kill the process.
        """
        folder = index_folder(self.store, feature)
        if index.meta != read_meta(folder):
            return False
        for name in LARGE & index.meta.files.keys():
            with contextlib.suppress(OSError):  # a file that was deleted stays mapped
                if wrong := index.files.problem([name], content=False):
                    raise damaged(folder, wrong)
        return True

    def _at(self, manifest: Manifest, names: Sequence[str]) -> dict[str, _Kept]:
        """Brings the kept indices of some features to a state of the store."""
        found: dict[str, _Kept] = {}
        indices: dict[str, tuple[FeatureIndex, Difference, Fresh]] = {}
        for name in names:
            kept = self._kept.get(name)
            if kept and self._is_newest(kept.live.index, name):
                if kept.state == manifest.state:  # another thread was faster
                    found[name] = kept
                    continue
                index, fresh = kept.live.index, kept.live.fresh
            else:
                index = FeatureIndex.open(self.store, name)
                fresh = Fresh.none(index.vectors.dims)
            difference = index.contents.difference(manifest, self._keys)
            indices[name] = index, difference, fresh
        waiting = self._waiting(manifest, {n: d for n, (_, d, _) in indices.items()})
        fresh_of = {n: fresh.among(waiting[n]) for n, (_, _, fresh) in indices.items()}
        self._add_waiting(manifest, {n: i for n, (i, _, _) in indices.items()}, fresh_of, waiting)
        for name, (index, difference, _) in indices.items():
            fresh = fresh_of[name]
            left = _without(waiting[name], fresh.seen)
            live = LiveIndex(index, difference, fresh, left)
            found[name] = self._kept[name] = _Kept(manifest.state, live)
        self._keys.keep_only(manifest)
        return found

    def _waiting(
        self, manifest: Manifest, differences: Mapping[str, Difference]
    ) -> dict[str, np.ndarray]:
        """Keys of the faces that each index has not looked at."""
        return {
            name: np.concatenate(
                [np.empty(0, np.uint64)]
                + [
                    self._keys(shard).keys[rows]
                    for shard, rows in zip(manifest.shards, difference.fresh, strict=True)
                    if len(rows)
                ]
            )
            for name, difference in differences.items()
        }

    def _add_waiting(
        self,
        manifest: Manifest,
        indices: Mapping[str, FeatureIndex],
        fresh: dict[str, Fresh],
        waiting: Mapping[str, np.ndarray],
    ) -> None:
        """Adds to `fresh` the faces that are waiting, where they are few."""
        missing = {n: _without(waiting[n], fresh[n].seen) for n in indices}
        count = sum(map(len, missing.values()))
        if not 0 < count <= MOST_VECTORS:
            return
        missing = {n: keys for n, keys in missing.items() if len(waiting[n]) <= MOST_KEPT}
        every = np.unique(np.concatenate([np.empty(0, np.uint64), *missing.values()]))
        for shard in manifest.shards:
            if shard not in self._keys:
                continue  # every index has looked at it
            known = self._keys(shard)
            rows = np.flatnonzero(np.isin(known.keys, every))
            path = self.store.folder / "faces" / shard.file
            for part, batch in shards.read_rows(path, rows, COLUMNS):
                sigma = shards.vectors(batch, "sigma")
                scores = shards.vectors(batch, "scores").astype(np.float32)
                scores = scores.reshape(len(batch), len(manifest.settings.classes), -1)
                for name, keys in missing.items():
                    new = np.flatnonzero(np.isin(known.keys[part], keys))
                    if len(new):
                        index = indices[name]
                        vectors = [index.query_vector(sigma[i], scores[i]) for i in new]
                        fresh[name] = fresh[name].with_rows(
                            known.ids[part[new]], known.keys[part[new]], np.stack(vectors)
                        )
