"""The vectors of one index where most channels of a row are zero (hard masks).

Three raw little-endian files without headers, which only ever grow: for every value other than
zero its channel (uint16) and itself (float16), row after row, and for every row where it ends
(int64). A row takes 4 bytes a value and 8 more; all of it is memory-mapped.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ris.index.damage import CheckedRows
from ris.index.vectors import in_parts, row_blocks
from ris.ops.scan import MOST_DIMS, row_slices, sparse_cosines
from ris.ops.sums import sparse_sums

MOST_USED = 0.4  # share of non-zero values below which this storage is the smaller one


def saves_room(rows: np.ndarray) -> bool:
    """Whether rows like these (n, D) take less room here than as `ris.index.vectors.Vectors`."""
    return rows.shape[1] <= MOST_DIMS and bool(np.count_nonzero(rows) < MOST_USED * rows.size)


def pack(half: np.ndarray, before: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What (n, D) float16 rows, none of them zero, add to the three files.

    Args:
        half: the rows.
        before: number of values stored before them.

    Returns:
        (n,) int64 ends, (V,) uint16 channels and (V,) float16 values.
    """
    at, channels = np.nonzero(half)
    ends = before + np.cumsum(np.bincount(at, minlength=len(half)))
    return ends.astype("<i8"), channels.astype("<u2"), half[at, channels].astype("<f2")


class SparseVectors:
    """N unit vectors of D dimensions by their values other than zero.

    Args:
        ends: file of the (N,) ends.
        channels: file of the channels.
        values: file of the values.
        rows: N, at least 1.
        dims: D, at most `MOST_DIMS`.
        sums: as in `ris.index.vectors.Vectors`.

    Raises:
        ValueError: a file is too short or the ends are not those of N rows.
    """

    def __init__(
        self,
        ends: Path,
        channels: Path,
        values: Path,
        rows: int,
        dims: int,
        sums: Path | None = None,
    ) -> None:
        self.rows, self.dims = rows, dims
        self._ends = _mapped(ends, "<i8", rows)
        count = int(self._ends[-1])
        if not rows <= count <= rows * dims or dims > MOST_DIMS:
            raise ValueError(f"{ends.name} does not hold the ends of {rows} rows")
        self._channels = _mapped(channels, "<u2", count)
        self._values = _mapped(values, "<f2", count)
        self.row_bytes = 8 + 4 * count / rows
        arrays = (self._ends, self._channels, self._values)
        self._checked = CheckedRows(rows, sums, partial(sparse_sums, *arrays, dims))

    @property
    def count(self) -> int:
        """Number of values."""
        return len(self._values)

    def blocks(self, rows: np.ndarray | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (start, (n, D) float32) over all rows or over the given ones, in order.

        `start` counts within `rows`. The array is reused: it is valid until the next block.
        """
        count = self.rows if rows is None else len(rows)
        for start, stop, block in row_blocks(count, self.dims, self.dims):
            self._checked.check(np.arange(start, stop) if rows is None else rows[start:stop])
            at, firsts = row_slices(self._ends, np.arange(start, stop), rows)
            channels = self._channels[at]
            lengths = np.diff(firsts, append=len(channels))
            block[...] = 0
            block[np.repeat(np.arange(len(block)), lengths), channels] = self._values[at]
            yield start, block

    def cosines(self, query: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Final scores; see `ris.index.vectors.Vectors.cosines`."""
        if rows is not None:
            self._checked.check(rows)
        elif not self._checked.done:
            parts = in_parts(self.rows, self.row_bytes)
            return np.concatenate([self.cosines(query, part) for part in parts])
        return sparse_cosines(self._ends, self._channels, self._values, query, rows)


def _mapped(path: Path, kind: str, count: int) -> np.ndarray:
    return np.memmap(path, dtype=kind, mode="r", shape=(count,)).view(np.ndarray)
