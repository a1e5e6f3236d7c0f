"""The faces of a store that an index has not looked at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from ris.data import shards
from ris.data.manifest import Manifest, Shard
from ris.data.row_keys import COLUMNS
from ris.data.store import Store
from ris.errors import StoreError
from ris.index.contents import Contents, KeyCache


def keys_in(store: Store) -> KeyCache:
    """Ids and keys of the shards of a store."""

    def read(shard: Shard) -> shards.RowKeys:
        return shards.read_keys(store.folder / "faces" / shard.file, shard.keys)

    return KeyCache(read)


def read_new(
    store: Store,
    contents: Contents,
    take: Callable[[pa.RecordBatch], None],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Manifest, Contents]:
    """Reads the faces of the store that an index has not looked at, whatever other processes add,
    merge and remove meanwhile.

    Args:
        store: the store.
        contents: what the index has looked at.
        take: called with rows (columns `COLUMNS`), some dozens at a time.
        progress: called with rows read and rows to read.

    Returns:
        a state of the store of which every face has been looked at, and the contents as of that
        state, those that were read at their end in the order in which they were given to `take`.

    Raises:
        StoreError: a shard is missing or damaged.
    """
    keys_of, done = keys_in(store), 0
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
