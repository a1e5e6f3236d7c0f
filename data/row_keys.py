"""What a row is to an index: a key of its id and of the vectors that indices are made from.

Paths, times and everything else that a row says may change, and rows may move from shard to
shard: the key stays, and an index that knows it needs not read the vectors again. A shard carries
the keys of its rows in its footer (8 bytes a row), the manifest their sum over each shard, so that
two states of a store that hold the same faces are seen to be equal whatever their files are.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

FOOTER = b"ris.row_keys"
COLUMNS = ("id", "sigma", "scores")
"""Columns behind a key."""


def row_keys(batch: pa.RecordBatch) -> np.ndarray:
    """(n,) uint64 keys of rows that have `COLUMNS`; never 0.

    Two of a million keys are equal by chance with probability 3e-8.
    """
    parts = [_bytes(batch, column) for column in COLUMNS[1:]]
    keys = []
    for i, face in enumerate(batch.column("id").to_pylist()):
        digest = hashlib.sha256(face.encode() + b"\0")
        for part in parts:
            digest.update(part[i])
        keys.append(int.from_bytes(digest.digest()[:8], "little") or 1)
    return np.array(keys, np.uint64)


def sum_of(keys: np.ndarray) -> str:
    """The sum of some keys modulo 2^64 in hex: the same for the same rows in any order."""
    return f"{int(keys.sum(dtype=np.uint64)):016x}"


def to_footer(keys: np.ndarray) -> dict[str, str]:
    """Keys as an entry of a Parquet file's footer."""
    return {FOOTER.decode(): base64.b64encode(keys.astype("<u8").tobytes()).decode()}


def from_footer(footer: Mapping[bytes, bytes] | None, rows: int) -> np.ndarray | None:
    """(rows,) uint64 keys of an entry; None where there is none that fits."""
    try:
        raw = base64.b64decode((footer or {})[FOOTER], validate=True)
    except (KeyError, binascii.Error):
        return None
    return np.frombuffer(raw, "<u8").astype(np.uint64) if len(raw) == 8 * rows else None


def _bytes(batch: pa.RecordBatch, column: str) -> np.ndarray:
    """(n, bytes of a row) uint8 of a fixed-size list column."""
    flat = batch.column(column).flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(flat).view(np.uint8).reshape(len(batch), -1)
