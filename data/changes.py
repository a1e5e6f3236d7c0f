"""What a store has gained and lost since somebody looked at its faces.

Who has looked at them remembers their keys (`ris.data.row_keys`) and the shards in which they were.
Shards never change, so faces in shards that are still there need no look; those of a shard that is
gone are searched for, by key, in the shards that are new. Photos that are touched, renamed or
moved, new metadata and merged shards therefore change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from ris.data import shards
from ris.data.manifest import Manifest, Shard
from ris.data.row_keys import COLUMNS
from ris.data.shards import RowKeys
from ris.data.store import Store
from ris.errors import StoreError

GONE = -1


def mark(shard: Shard) -> str:
    """A shard's name and content: no two shards share it."""
    return f"{shard.file}:{shard.sha256[:16]}"


class ShardKeys:
    """Ids and keys of shards, each read once; shards that are no longer listed are forgotten.

    Args:
        store: whose shards they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[str, RowKeys] = {}

    def __call__(self, shard: Shard) -> RowKeys:
        """Ids and keys of a shard's rows.

        Raises:
            StoreError: it is missing or damaged.
        """
        name = mark(shard)
        if name not in self._kept:
            found = shards.read_keys(self._store.folder / "faces" / shard.file, shard.keys)
            if len(found.keys) != shard.rows:
                raise StoreError(
                    f"{shard.file} has {len(found.keys)} rows, the store lists {shard.rows}",
                    "`Collection.verify` lists what is lost",
                )
            self._kept[name] = found
        return self._kept[name]

    def __contains__(self, shard: Shard) -> bool:
        """Whether a shard was read."""
        return mark(shard) in self._kept

    def keep_only(self, manifest: Manifest) -> None:
        """Forgets shards that a state of the store does not list."""
        listed = {mark(shard) for shard in manifest.shards}
        self._kept = {name: kept for name, kept in self._kept.items() if name in listed}


@dataclass(frozen=True)
class Difference:
    """What a state of the store has that somebody has not looked at, and the
    other way round.

    Attributes:
        places: (n,) int32 for every face that was looked at the number of its shard in the
            manifest, `GONE` where the store has it no more.
        fresh: for each shard of the manifest the ascending numbers of the rows that were
            not looked at.
    """

    places: np.ndarray
    fresh: list[np.ndarray]

    @cached_property
    def gone(self) -> np.ndarray:
        """(n,) bool: faces that the store has no more."""
        gone: np.ndarray = self.places == GONE
        return gone

    @property
    def new(self) -> int:
        """Number of faces that were not looked at."""
        return sum(map(len, self.fresh))


@dataclass(frozen=True)
class Contents:
    """The faces that an index has looked at: first those of its rows, then those that do not show
    its feature.

    Attributes:
        marks: `mark` of the shards that were read.
        keys: (n,) uint64; 0 for rows that were deleted.
        places: (n,) int32 number in `marks` of the shard of each; `GONE` for deleted rows.
    """

    marks: np.ndarray
    keys: np.ndarray
    places: np.ndarray

    @classmethod
    def none(cls) -> Contents:
        """Of an index that has not looked at anything."""
        return cls(np.empty(0, "U1"), np.empty(0, np.uint64), np.empty(0, np.int32))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """What is kept with the index."""
        return {"shards": self.marks, "keys": self.keys, "places": self.places}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], rows: int) -> Contents:
        """Reads what `to_arrays` gave, for an index of so many rows.

        Raises:
            KeyError: something is missing.
            ValueError: it does not fit.
        """
        marks, keys, places = (arrays[name] for name in ("shards", "keys", "places"))
        fits = marks.dtype.kind == "U" and keys.dtype == np.uint64 and places.dtype == np.int32
        if not fits or len(keys) != len(places) or len(keys) < rows or marks.ndim != 1:
            raise ValueError("does not say which faces it was made from")
        if len(places) and not (places.min() >= GONE and places.max() < len(marks)):
            raise ValueError("names a shard that it does not know")
        return cls(marks, keys, places)

    def difference(self, manifest: Manifest, keys_of: ShardKeys) -> Difference:
        """Compared with a state of the store.

        Args:
            manifest: the state.
            keys_of: asked for the shards that are new only.

        Raises:
            StoreError: a shard is missing or damaged.
        """
        now = {mark(shard): number for number, shard in enumerate(manifest.shards)}
        moved = np.array([now.get(name, GONE) for name in self.marks.tolist()] + [GONE], np.int32)
        places = moved[self.places]  # a place that is GONE takes the last one
        seen = set(self.marks.tolist())
        lost = np.flatnonzero((places == GONE) & (self.keys != 0))
        lost = lost[np.argsort(self.keys[lost], kind="stable")]
        keys = self.keys[lost]
        fresh = []
        for number, shard in enumerate(manifest.shards):
            if mark(shard) in seen:
                fresh.append(np.empty(0, np.int64))
                continue
            rows = keys_of(shard).keys
            at = np.searchsorted(keys, rows)
            known = at < len(keys)
            known[known] = keys[at[known]] == rows[known]
            places[lost[at[known]]] = number
            fresh.append(np.flatnonzero(~known))
        return Difference(places, fresh)

    def at(self, manifest: Manifest, difference: Difference, read: Collection[int]) -> Contents:
        """These contents as of a state of the store that they were compared with.

        Args:
            manifest: the state.
            difference: from it.
            read: numbers of the shards whose fresh rows were looked at; the others stay unknown.
        """
        seen = set(self.marks.tolist())
        names = [mark(shard) for shard in manifest.shards]
        marks = [name if name in seen or i in read else "" for i, name in enumerate(names)]
        keys = np.where(difference.gone, np.uint64(0), self.keys)
        return Contents(np.array(marks, dtype="U"), keys, difference.places)

    def plus(self, keys: np.ndarray, places: np.ndarray) -> Contents:
        """With further faces at the end."""
        more = (self.keys, keys), (self.places, places.astype(np.int32))
        return Contents(self.marks, *map(np.concatenate, more))

    def arranged(self, rows: int, before: int, shown: np.ndarray) -> Contents:
        """In the order of an index, after faces were looked at that stand at the end here.

        Args:
            rows: faces at the beginning that are rows of the index.
            before: faces that it had looked at before.
            shown: (n,) bool of the faces after those: whether they have become rows.
        """
        new = np.arange(before, len(self.keys))
        absent = np.concatenate((np.arange(rows, before), new[~shown]))
        absent = absent[self.places[absent] != GONE]
        order = np.concatenate((np.arange(rows), new[shown], absent))
        return Contents(self.marks, self.keys[order], self.places[order])


def read_new(
    store: Store,
    contents: Contents,
    take: Callable[[pa.RecordBatch], None],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Manifest, Contents]:
    """Reads the faces of a store that were not looked at, whatever other processes add, merge and
    remove meanwhile.

    Args:
        store: the store.
        contents: what was looked at.
        take: called with rows (columns `COLUMNS`), some dozens at a time.
        progress: called with rows read and rows to read.

    Returns:
        a state of the store of which every face has been looked at, and the contents as of that
        state, those that were read at their end in the order in which they were given to `take`.

    Raises:
        StoreError: a shard is missing or damaged.
    """
    keys_of, done = ShardKeys(store), 0
    while True:
        manifest = store.manifest()
        read: list[int] = []
        keys, places = [np.empty(0, np.uint64)], [np.empty(0, np.int32)]
        difference = None
        try:
            difference = contents.difference(manifest, keys_of)
            total = done + difference.new
            for number, rows in enumerate(difference.fresh):
                if len(rows):
                    shard = manifest.shards[number]
                    path = store.folder / "faces" / shard.file
                    for part, batch in shards.read_rows(path, rows, COLUMNS):
                        take(batch)
                        keys.append(keys_of(shard).keys[part])
                        places.append(np.full(len(part), number, np.int32))
                        done += len(part)
                        if progress:
                            progress(done, total)
                read.append(number)
        except StoreError:
            if store.manifest().state == manifest.state:
                raise  # else the shard was merged or replaced: on from the new state
        if difference is not None:
            contents = contents.at(manifest, difference, read)
            contents = contents.plus(np.concatenate(keys), np.concatenate(places))
            if len(read) == len(manifest.shards):
                return manifest, contents
