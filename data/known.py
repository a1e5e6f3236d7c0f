"""What the store already holds, small enough to keep in memory at any size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa

from ris.data.shards import photo_of

ALL = "all"
FURTHER = "further"


def key(*parts: object) -> np.uint64:
    """64-bit hash of a tuple; two of a million keys collide with probability 3e-8."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


class KnownFaces:
    """Hashes of ids, files and paths of all rows: 24 bytes a face, 40 for one of a photo whose
    faces were all taken.

    Ids are looked up exactly at commit; here a hash serves to skip work early.
    """

    COLUMNS = ("id", "path", "file_size", "file_mtime_ns", "selection")

    def __init__(self) -> None:
        self._shards: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def update(self, shards: set[str], read: Callable[[str], Iterable[pa.RecordBatch]]) -> None:
        """Takes in the shards that are new, and drops what is no longer part of the store.

        Args:
            shards: names of all that there are.
            read: gives the rows of one of them (columns `COLUMNS`).
        """
        for gone in self._shards.keys() - shards:
            del self._shards[gone]
        for shard in shards - self._shards.keys():
            self._add(shard, read(shard))

    def _add(self, shard: str, batches: Iterable[pa.RecordBatch]) -> None:
        rows = [r for batch in batches for r in batch.select(list(self.COLUMNS)).to_pylist()]
        ids = [key(r["id"]) for r in rows]
        files = [key(r["path"], r["file_size"], r["file_mtime_ns"]) for r in rows]
        paths = [key(r["path"]) for r in rows]
        complete = [r for r in rows if r["selection"] == ALL]
        ids += [key(r["id"], ALL) for r in complete]
        ids += [key(photo_of(r["id"]), FURTHER) for r in rows if photo_of(r["id"]) != r["id"]]
        files += [key(r["path"], r["file_size"], r["file_mtime_ns"], ALL) for r in complete]
        sorted_ids, sorted_files, sorted_paths = (
            np.sort(np.array(keys, dtype=np.uint64)) for keys in (ids, files, paths)
        )
        self._shards[shard] = (sorted_ids, sorted_files, sorted_paths)

    def has_id(self, face: str, selection: str = "largest") -> bool:
        """Whether a face of that id is in the store, of a photo of which no fewer faces were
        taken than `selection` says."""
        return bool(self._find(0, key(face, ALL) if selection == ALL else key(face)))

    def has_photo(self, photo: str) -> bool:
        """Whether any face of a photo is in the store."""
        return bool(self.shards_with_photo(photo))

    def has_file(self, path: str, size: int, mtime_ns: int, selection: str = "largest") -> bool:
        """Whether the unchanged file has a row, likewise."""
        parts = (path, size, mtime_ns)
        return bool(self._find(1, key(*parts, ALL) if selection == ALL else key(*parts)))

    def shards_with_id(self, face: str) -> list[str]:
        """Shards that (very likely) hold a row of that id."""
        return self._find(0, key(face))

    def shards_with_photo(self, photo: str) -> list[str]:
        """Shards that (very likely) hold a face of that photo."""
        return list({*self.shards_with_id(photo), *self._find(0, key(photo, FURTHER))})

    def shards_with_path(self, path: str) -> list[str]:
        """Shards that (very likely) hold a row of that path."""
        return self._find(2, key(path))

    def _find(self, which: int, wanted: np.uint64) -> list[str]:
        found = []
        for shard, arrays in self._shards.items():
            i = int(np.searchsorted(arrays[which], wanted))
            if i < len(arrays[which]) and arrays[which][i] == wanted:
                found.append(shard)
        return found
