"""The vectors of one index: a raw file of float16, read as float32.

The file is little-endian float16, row-major (N, D), without a header: N and D stand in the
index's meta.json. It is memory-mapped, so resident memory does not grow with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ris.index.damage import CheckedRows
from ris.ops.scan import half_cosines
from ris.ops.sums import dense_sums

BLOCK_BYTES = 2 << 20  # of float32 per block: it stays in the cache between decoding and product
SPARSE = 0.2  # share of used columns below which gathering them beats decoding whole rows
_SIGN_AND_VALUE = np.int32(-0x70002000)  # 0x8FFFE000
_REBIAS = np.float32(2.0**112)  # float32's exponent bias less float16's: 127 - 15


def decode(half: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Finite float16 (n, D) -> float32, exactly as `astype` does but several times faster.

    Shifting a float16's bits into a float32's fields gives the value times 2^-112 (subnormals
    included); the sign, spread over the top bits by the widening, is masked back to one bit.

    Args:
        half: (n, D) float16.
        out: (n, D) float32, contiguous, overwritten and returned.
    """
    bits = out.view(np.int32)
    bits[...] = half.view(np.int16)
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, _SIGN_AND_VALUE, out=bits)
    np.multiply(out, _REBIAS, out=out)
    return out


CHECKED_BYTES = 16 << 20
"""Of rows that are compared with their sums and then scored, so that a file that is larger than
the memory is read once."""


def in_parts(rows: int, row_bytes: float) -> Iterator[np.ndarray]:
    """The numbers of all rows, in parts of `CHECKED_BYTES`."""
    size = max(1, int(CHECKED_BYTES / row_bytes))
    for start in range(0, rows, size):
        yield np.arange(start, min(start + size, rows))


def row_blocks(count: int, dims: int, width: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yields (start, stop, (stop - start, width) float32 to write to) over `count` rows of `dims`
    channels. The array is reused: it is valid until the next block."""
    size = max(1, BLOCK_BYTES // (4 * dims))
    buffer = np.empty((min(size, count), width), np.float32)
    for start in range(0, count, size):
        stop = min(start + size, count)
        yield start, stop, buffer[: stop - start]


class Vectors:
    """N unit vectors of D dimensions in a float16 file.

    Args:
        path: the file.
        rows: N, at least 1.
        dims: D, at least 1.
        sums: file of the rows' sums, which are compared when a row is first used: every method
            may raise a StoreError then. None: they are believed.

    Raises:
        ValueError: the file is shorter than N x D values.
    """

    def __init__(self, path: Path, rows: int, dims: int, sums: Path | None = None) -> None:
        self.rows, self.dims = rows, dims
        self.row_bytes = 2.0 * dims
        mapped = np.memmap(path, dtype="<f2", mode="r", shape=(rows, dims))
        self._half = mapped.view(np.ndarray)  # plain slices are cheaper than memmap's
        self._checked = CheckedRows(rows, sums, partial(dense_sums, self._half))

    def blocks(self, rows: np.ndarray | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (start, (n, D) float32) over all rows or over the given ones, in order.

        `start` counts within `rows`. The array is reused: it is valid until the next block.
        """
        count = self.rows if rows is None else len(rows)
        for start, stop, block in row_blocks(count, self.dims, self.dims):
            self._checked.check(np.arange(start, stop) if rows is None else rows[start:stop])
            half = self._half[start:stop] if rows is None else self._half[rows[start:stop]]
            yield start, decode(half, block)

    def products(self, queries: np.ndarray, start: int, stop: int) -> np.ndarray:
        """(Q, D) float32 queries -> (Q, stop - start) float32 inner products."""
        self._checked.check(np.arange(start, stop))
        return self._products(queries, self._half[start:stop])

    def products_of(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(Q, D) float32 queries, (n,) row numbers -> (Q, n) float32 inner products."""
        self._checked.check(rows)
        return self._products(queries, self._half, rows)

    def _products(
        self, queries: np.ndarray, half: np.ndarray, rows: np.ndarray | None = None
    ) -> np.ndarray:
        count = len(half) if rows is None else len(rows)
        columns = used_columns(queries)
        if columns is not None:
            queries = np.ascontiguousarray(queries[:, columns])
        out = np.empty((len(queries), count), np.float32)
        for start, stop, room in row_blocks(count, self.dims, queries.shape[1]):
            block = half[start:stop] if rows is None else half[rows[start:stop]]
            if columns is not None:
                block = block.take(columns, axis=1)
            np.matmul(queries, decode(block, room).T, out=out[:, start:stop])
        return out

    def cosines(self, query: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Final scores: (D,) float32 unit query -> (n,) float32, for (n,) rows or for all.

        Summed in float64 and rounded once, so that a row's score depends neither on the index
        kind nor on its place in a block, and equal rows get equal scores.
        """
        if rows is not None:
            self._checked.check(rows)
        elif not self._checked.done:
            parts = in_parts(self.rows, self.row_bytes)
            return np.concatenate([self.cosines(query, part) for part in parts])
        return half_cosines(self._half, query, rows)


def used_columns(queries: np.ndarray) -> np.ndarray | None:
    """Columns where any query is not zero, or None where they are too many to gather."""
    columns = np.flatnonzero(queries.any(axis=0))
    return columns if len(columns) < SPARSE * queries.shape[1] else None
