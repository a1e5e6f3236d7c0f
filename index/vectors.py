"""The vectors of one index: raw files of float16, mapped, appended to and never rewritten.

Two layouts, little-endian and without headers; N and D stand in the index's meta.json. Resident
memory does not grow with either.

- dense: row-major (N, D) float16;
- sparse, where most channels of a row are zero (hard masks): for every value other than zero its
  channel (uint16) and itself (float16), row after row, and for every row where it ends (int64).
  A row takes 4 bytes a value and 8 more.

Beside them lies a sum of every row's bytes, which is compared when the row is first used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ris.index.files import DENSE, SPARSE, SUMS, CheckedFile, FileRecord, damaged
from ris.ops.scan import MOST_DIMS, half_cosines, row_slices, sparse_cosines
from ris.ops.sums import dense_sums, sparse_sums

BLOCK_BYTES = 2 << 20  # of float32 per block: it stays in the cache between decoding and product
CHECKED_BYTES = 16 << 20
"""Of rows that are compared with their sums and then scored, so that a file that is larger than
the memory is read once."""
GATHERED = 0.2  # share of used columns below which gathering them beats decoding whole rows
MOST_USED = 0.4  # share of non-zero values below which the sparse layout is the smaller one
_SIGN_AND_VALUE = np.int32(-0x70002000)  # 0x8FFFE000
_REBIAS = np.float32(2.0**112)  # float32's exponent bias less float16's: 127 - 15


class StoredVectors(ABC):
    """N unit vectors of D dimensions in mapped files, read as float32.

    A row is compared with its sum when it is first used, by any method, which may raise a
    StoreError then: reading everything when an index is opened would take seconds; a row's sum
    takes a tenth of the time of its first use, and nothing later. May be used by several threads.

    Args:
        rows: N, at least 1.
        dims: D, at least 1.
        row_bytes: mean size of a row.
        sums: file of (N,) uint32 sums, whose folder's folder is the index's; None: all rows are
            believed.
    """

    def __init__(self, rows: int, dims: int, row_bytes: float, sums: Path | None) -> None:
        self.rows, self.dims, self.row_bytes = rows, dims, row_bytes
        self._checked = sums is None
        """Whether every row has been compared."""
        if sums is not None:
            self._folder = sums.parent.parent
            self._sums = _mapped(sums, "<u4", rows)
            self._seen = np.zeros(rows, bool)

    def blocks(self, rows: np.ndarray | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (start, (n, D) float32) over all rows or over the given ones, in order.

        `start` counts within `rows`. The array is reused: it is valid until the next block.
        """
        count = self.rows if rows is None else len(rows)
        for start, stop, block in row_blocks(count, self.dims, self.dims):
            self._check(np.arange(start, stop) if rows is None else rows[start:stop])
            self._read(slice(start, stop) if rows is None else rows[start:stop], block)
            yield start, block

    def cosines(self, query: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Final scores: (D,) float32 unit query -> (n,) float32, for (n,) rows or for all.

        Summed in float64 and rounded once, so that a row's score depends neither on the index
        kind nor on its place in a block, and equal rows get equal scores.
        """
        if rows is not None:
            self._check(rows)
        elif not self._checked:
            size = max(1, int(CHECKED_BYTES / self.row_bytes))
            starts = range(0, self.rows, size)
            parts = (np.arange(start, min(start + size, self.rows)) for start in starts)
            return np.concatenate([self.cosines(query, part) for part in parts])
        return self._cosines(query, rows)

    def _check(self, rows: np.ndarray) -> None:
        """Compares (n,) rows, given by number, with their sums; StoreError if one differs."""
        if self._checked:
            return
        fresh = rows[~self._seen[rows]]
        if not len(fresh):
            return
        bad = np.flatnonzero(self._sums_of(fresh) != self._sums[fresh])
        if len(bad):
            raise damaged(self._folder, f"row {fresh[bad[0]]} is not what was written")
        self._seen[fresh] = True
        self._checked = len(fresh) == len(self._seen) or bool(self._seen.all())

    @abstractmethod
    def _sums_of(self, rows: np.ndarray) -> np.ndarray:
        """(n,) row numbers -> (n,) int64 sums as they are."""

    @abstractmethod
    def _read(self, rows: slice | np.ndarray, block: np.ndarray) -> None:
        """Writes rows to (n, D) float32."""

    @abstractmethod
    def _cosines(self, query: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        """As `cosines`."""


class Vectors(StoredVectors):
    """The dense layout.

    Args:
        path: the file.
        rows: N.
        dims: D.
        sums: as in `StoredVectors`.

    Raises:
        ValueError: the file is shorter than N x D values.
    """

    def __init__(self, path: Path, rows: int, dims: int, sums: Path | None = None) -> None:
        mapped = np.memmap(path, dtype="<f2", mode="r", shape=(rows, dims))
        self._half = mapped.view(np.ndarray)  # plain slices are cheaper than memmap's
        super().__init__(rows, dims, 2.0 * dims, sums)

    def products(self, queries: np.ndarray, start: int, stop: int) -> np.ndarray:
        """(Q, D) float32 queries -> (Q, stop - start) float32 inner products."""
        self._check(np.arange(start, stop))
        return self._products(queries, self._half[start:stop])

    def products_of(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(Q, D) float32 queries, (n,) row numbers -> (Q, n) float32 inner products."""
        self._check(rows)
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

    def _sums_of(self, rows: np.ndarray) -> np.ndarray:
        return dense_sums(self._half, rows)

    def _read(self, rows: slice | np.ndarray, block: np.ndarray) -> None:
        decode(self._half[rows], block)

    def _cosines(self, query: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        return half_cosines(self._half, query, rows)


class SparseVectors(StoredVectors):
    """The sparse layout.

    Args:
        ends: file of the (N,) ends.
        channels: file of the channels.
        values: file of the values.
        rows: N.
        dims: D, at most `MOST_DIMS`.
        sums: as in `StoredVectors`.

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
        self._ends = _mapped(ends, "<i8", rows)
        count = int(self._ends[-1])
        if not rows <= count <= rows * dims or dims > MOST_DIMS:
            raise ValueError(f"{ends.name} does not hold the ends of {rows} rows")
        self._channels = _mapped(channels, "<u2", count)
        self._values = _mapped(values, "<f2", count)
        super().__init__(rows, dims, 8 + 4 * count / rows, sums)

    def _sums_of(self, rows: np.ndarray) -> np.ndarray:
        return sparse_sums(self._ends, self._channels, self._values, self.dims, rows)

    def _read(self, rows: slice | np.ndarray, block: np.ndarray) -> None:
        if isinstance(rows, slice):
            at, firsts = row_slices(self._ends, np.arange(rows.start, rows.stop), None)
        else:
            at, firsts = row_slices(self._ends, np.arange(len(rows)), rows)
        channels = self._channels[at]
        lengths = np.diff(firsts, append=len(channels))
        block[...] = 0
        block[np.repeat(np.arange(len(block)), lengths), channels] = self._values[at]

    def _cosines(self, query: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
        return sparse_cosines(self._ends, self._channels, self._values, query, rows)


def open_vectors(folder: Path, rows: int, dims: int) -> StoredVectors:
    """The vectors in a folder; the files may be longer than N rows.

    Raises:
        ValueError: they are shorter.
        OSError: they cannot be read.
    """
    if (folder / SPARSE[0]).exists():
        ends, channels, values = (folder / name for name in SPARSE)
        return SparseVectors(ends, channels, values, rows, dims, folder / SUMS)
    return Vectors(folder / DENSE[0], rows, dims, folder / SUMS)


class VectorFiles:
    """Appends rows to the files of a folder, until `close`.

    The first rows decide between the two layouts.

    Args:
        folder: where the files are or will be.
        dims: D.
        rows: number of rows that are there already; what a dead run wrote beyond is cut off.
        records: of their files.
    """

    def __init__(
        self,
        folder: Path,
        dims: int,
        rows: int = 0,
        records: Mapping[str, FileRecord] | None = None,
    ) -> None:
        self.folder, self.dims, self.rows = folder, dims, rows
        self._records = records or {}
        self._files: dict[str, CheckedFile] = {}
        self._values = self._records[SPARSE[1]].bytes // 2 if SPARSE[1] in self._records else 0

    def append(self, unit: np.ndarray) -> None:
        """Adds (n, D) float32 unit rows."""
        if not len(unit):
            return
        if not self._files:
            sparse = SPARSE[0] in self._records if self._records else _is_sparse(unit)
            for name in (*(SPARSE if sparse else DENSE), SUMS):
                self._files[name] = CheckedFile(self.folder / name, self._records.get(name))
        half = unit.astype("<f2")
        if SPARSE[0] in self._files:
            ends, channels, values = pack(half, self._values)
            sums = sparse_sums(ends - self._values, channels, values, self.dims)
            parts = dict(zip(SPARSE, (ends, channels, values), strict=True))
            self._values += len(values)
        else:
            sums = dense_sums(half)
            parts = {DENSE[0]: half}
        for name, part in (parts | {SUMS: sums.astype("<u4")}).items():
            self._files[name].write(part)
        self.rows += len(unit)

    def close(self) -> dict[str, FileRecord]:
        """Makes the files durable; returns their records.

        Raises:
            OSError: some of it could not be written.
        """
        return {name: file.close() for name, file in self._files.items()}

    def abandon(self) -> None:
        """Closes the files, whatever becomes of them; does nothing after `close`."""
        for file in self._files.values():
            file.abandon()


def _is_sparse(rows: np.ndarray) -> bool:
    """Whether rows like these (n, D) take less room in the sparse layout."""
    return rows.shape[1] <= MOST_DIMS and bool(np.count_nonzero(rows) < MOST_USED * rows.size)


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


def row_blocks(count: int, dims: int, width: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yields (start, stop, (stop - start, width) float32 to write to) over `count` rows of `dims`
    channels. The array is reused: it is valid until the next block."""
    size = max(1, BLOCK_BYTES // (4 * dims))
    buffer = np.empty((min(size, count), width), np.float32)
    for start in range(0, count, size):
        stop = min(start + size, count)
        yield start, stop, buffer[: stop - start]


def used_columns(queries: np.ndarray) -> np.ndarray | None:
    """Columns where any query is not zero, or None where they are too many to gather."""
    columns = np.flatnonzero(queries.any(axis=0))
    return columns if len(columns) < GATHERED * queries.shape[1] else None


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


def _mapped(path: Path, kind: str, count: int) -> np.ndarray:
    return np.memmap(path, dtype=kind, mode="r", shape=(count,)).view(np.ndarray)
