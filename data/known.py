"""What the store already holds, small enough to keep in memory at any size."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa


def key(*parts: object) -> np.uint64:
    """64-bit hash of a tuple; two of a million keys collide with probability 3e-8."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


class KnownFaces:
    """Hashes of ids, files and paths of all rows: 24 bytes a face.

    Ids are looked up exactly at commit; here a hash serves to skip work early.
    """

    COLUMNS = ("id", "path", "file_size", "file_mtime_ns")

    def __init__(self) -> None:
        self._shards: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def shards(self) -> set[str]:
        """Names of the shards that were read."""
        return set(self._shards)

    def add(self, shard: str, batches: list[pa.RecordBatch]) -> None:
        """Takes in one shard's rows (columns `COLUMNS`)."""
        rows = [r for batch in batches for r in batch.select(list(self.COLUMNS)).to_pylist()]
        keys = (
            [key(r["id"]) for r in rows],
            [key(r["path"], r["file_size"], r["file_mtime_ns"]) for r in rows],
            [key(r["path"]) for r in rows],
        )
        ids, files, paths = (np.sort(np.array(k, dtype=np.uint64)) for k in keys)
        self._shards[shard] = (ids, files, paths)

    def forget(self, shards: set[str]) -> None:
        """Drops shards that are no longer part of the store."""
        for shard in shards:
            del self._shards[shard]

    def has_id(self, face: str) -> bool:
        """Whether a face of that id is in the store."""
        return bool(self._find(0, key(face)))

    def has_file(self, path: str, size: int, mtime_ns: int) -> bool:
        """Whether the unchanged file has a row."""
        return bool(self._find(1, key(path, size, mtime_ns)))

    def shards_with_id(self, face: str) -> list[str]:
        """Shards that (very likely) hold a row of that id."""
        return self._find(0, key(face))

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
