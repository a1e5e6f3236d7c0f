"""Scans of a collection: inner products of one query with rows, and the best rows of either end.

Every function runs compiled (``scan.cpp``) or, where `library` is None, in numpy. Both sum
products of float16 rows in float64 and round once, and products of codes in integers, so that
the two agree on which rows are the best and on their order: by score, among equals by row.

Arrays may be memory-mapped; they are C-contiguous and little-endian.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache

import numpy as np

from ris.cores import usable_cores
from ris.ops.native import library

MOST_DIMS = 1 << 16  # that 16-bit channel numbers can name
SMALL = 2 << 20  # bytes of rows below which a second thread does not pay
MOST_THREADS = 16  # a scan is limited by the memory, not by the cores
QUERY_LEVELS = 32767
CODE_LEVELS = 127
MOST_WIDTH = 512  # 512 x 32,767 x 128 is just below 2^31
MOST_ROWS = (1 << 32) - 1  # that an order of scores and rows in 64 bits can name
_BLOCK = 4 << 20  # values that a reference converts at a time


@cache
def cores() -> int:
    """Threads of a large scan: the usable cores, or fewer where OMP_NUM_THREADS says so."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    allowed = int(limit) if limit.isdecimal() and int(limit) > 0 else MOST_THREADS
    return max(1, min(usable_cores(), allowed, MOST_THREADS))


def code_ends(
    codes: np.ndarray, query: np.ndarray, keep: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the highest and of the lowest inner products, in one pass.

    Args:
        codes: (N, P) int8 in [-127, 127], P at most `MOST_WIDTH`, N below 2^32.
        query: (P,) int16.
        keep: rows per end, at least 1; fewer where fewer are allowed.
        allowed: (N,) bool, None for all.

    Returns:
        two arrays of int64 row numbers, by descending and by ascending product.

    Raises:
        ValueError: the shapes do not fit each other, or P is too large.
    """
    rows, width = codes.shape
    _fits(query.shape == (width,) and width <= MOST_WIDTH and rows <= MOST_ROWS)
    _fits(allowed is None or allowed.shape == (rows,))
    kernels = library()
    if kernels is None:
        products = np.concatenate(
            [
                (part.astype(np.float64) @ query.astype(np.float64)).astype(np.int32)
                for part in _parts(codes)
            ]
        )
        return _ends(products, keep, allowed)
    out = _Rows(keep, len(codes))
    call(
        kernels.ris_code_ends,
        *(at(codes, np.int8), int64(rows), int64(width), at(query, np.int16), at(allowed, bool)),
        *(int64(out.keep), threads_for(codes.nbytes), *out.places),
    )
    return out.found()


def score_ends(
    scores: np.ndarray, keep: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Likewise the rows of the highest and of the lowest of (N,) float32 scores."""
    _fits(scores.ndim == 1 and len(scores) <= MOST_ROWS)
    _fits(allowed is None or allowed.shape == scores.shape)
    kernels = library()
    if kernels is None:
        return _ends(scores, keep, allowed)
    out = _Rows(keep, len(scores))
    call(
        kernels.ris_score_ends,
        *(at(scores, np.float32), int64(len(scores)), at(allowed, bool)),
        *(int64(out.keep), threads_for(scores.nbytes), *out.places),
    )
    return out.found()


def half_cosines(half: np.ndarray, query: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Inner products of unit rows with a unit query, in [-1, 1].

    Args:
        half: (N, D) finite float16.
        query: (D,) float32.
        rows: (n,) int64 row numbers, None for all.

    Returns:
        (n,) float32.

    Raises:
        ValueError: the shapes do not fit each other, or there is no such row.
    """
    _fits(query.shape == half.shape[1:])
    kernels = library()
    count = len(half) if rows is None else len(rows)
    out = np.empty(count, np.float32)
    wide = query.astype(np.float64)
    if kernels is None:
        used = np.flatnonzero(query)
        for start, part in numbered(count, max(1, half.shape[1])):
            block = half[part] if rows is None else half[rows[part]]
            if len(used) < half.shape[1]:
                block = block[:, used]
            out[start : start + len(block)] = _clipped(block.astype(np.float64) @ wide[used])
        return out
    call(
        kernels.ris_half_products,
        *(at(half, np.float16), int64(len(half)), int64(half.shape[1]), at(wide, np.float64)),
        *(at(rows, np.int64), int64(count), threads_for(2 * count * half.shape[1])),
        at(out, np.float32),
    )
    return out


def sparse_cosines(
    ends: np.ndarray,
    channels: np.ndarray,
    values: np.ndarray,
    query: np.ndarray,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """`half_cosines` of rows that are stored by their values other than zero.

    Args:
        ends: (N,) int64, where each row ends in the two arrays below; no row is empty.
        channels: (V,) uint16.
        values: (V,) finite float16.
        query: (D,) float32.
        rows: (n,) int64 row numbers, None for all.

    Raises:
        ValueError: there is no such row, or it cannot end where it says.
    """
    _fits(len(channels) == len(values) and len(query) <= MOST_DIMS)
    kernels = library()
    count = len(ends) if rows is None else len(rows)
    out = np.empty(count, np.float32)
    wide = query.astype(np.float64)
    if kernels is None:
        width = max(1, int(ends[-1]) // len(ends))
        for start, part in numbered(count, 4 * width):
            where, firsts = row_slices(ends, np.arange(start, min(part.stop, count)), rows)
            products = values[where].astype(np.float64) * wide[channels[where]]
            out[start : start + len(firsts)] = _clipped(np.add.reduceat(products, firsts))
        return out
    # a place for every channel that a file can name: none is beyond it, whatever the file says
    places = np.zeros(MOST_DIMS)
    places[: len(wide)] = wide
    call(
        kernels.ris_sparse_products,
        *(at(ends, np.int64), int64(len(ends)), at(channels, np.uint16), at(values, np.float16)),
        *(int64(len(values)), at(places, np.float64), at(rows, np.int64), int64(count)),
        *(threads_for(4 * count * len(values) // len(ends)), at(out, np.float32)),
    )
    return out


def row_slices(
    ends: np.ndarray, wanted: np.ndarray, rows: np.ndarray | None
) -> tuple[np.ndarray | slice, np.ndarray]:
    """Where the values of some rows lie in sparse storage.

    Args:
        ends: (N,) int64 as in `sparse_cosines`.
        wanted: (n,) consecutive int64, positions in `rows`, or row numbers where that is None.
        rows: int64 row numbers or None.

    Returns:
        an index into the values, row after row, and (n,) where each row begins in its result.
    """
    if rows is None:
        first = int(ends[wanted[0] - 1]) if wanted[0] else 0
        stops = ends[wanted] - first
        return slice(first, first + int(stops[-1])), np.concatenate(([0], stops[:-1]))
    chosen = rows[wanted]
    begins = np.where(chosen > 0, ends[chosen - 1], 0)
    lengths = ends[chosen] - begins
    firsts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    return np.repeat(begins - firsts, lengths) + np.arange(int(lengths.sum())), firsts


class _Rows:
    """Room for the rows that a kernel finds."""

    def __init__(self, keep: int, rows: int) -> None:
        self.keep = max(1, min(keep, rows))
        self._near, self._far = (np.empty(self.keep, np.int64) for _ in range(2))
        self._counts = np.zeros(2, np.int64)
        self.places = tuple(at(room, np.int64) for room in (self._near, self._far, self._counts))

    def found(self) -> tuple[np.ndarray, np.ndarray]:
        return self._near[: self._counts[0]], self._far[: self._counts[1]]


def _ends(
    scores: np.ndarray, keep: int, allowed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    rows = np.arange(len(scores)) if allowed is None else np.flatnonzero(allowed)
    scores = scores if allowed is None else scores[rows]

    def best(values: np.ndarray) -> np.ndarray:
        among = np.arange(len(values))
        if len(values) > keep:
            among = np.flatnonzero(values <= np.partition(values, keep - 1)[keep - 1])
        found: np.ndarray = rows[among[np.argsort(values[among], kind="stable")[:keep]]]
        return found

    return best(-scores), best(scores)


def _parts(matrix: np.ndarray) -> list[np.ndarray]:
    return [matrix[part] for _, part in numbered(len(matrix), matrix.shape[1])]


def numbered(count: int, width: int) -> list[tuple[int, slice]]:
    """(start, slice) of the blocks in which a reference takes `count` rows of `width` values."""
    size = max(1, _BLOCK // width)
    return [(start, slice(start, start + size)) for start in range(0, count, size)]


def _clipped(products: np.ndarray) -> np.ndarray:
    """Rounding to float16 leaves lengths up to 1e-4 off 1."""
    out: np.ndarray = np.clip(products, -1, 1).astype(np.float32)
    return out


def call(kernel: Callable[..., int], *arguments: object) -> None:
    """Runs a kernel.

    Raises:
        MemoryError: it found too little.
        ValueError: a row that it was asked for cannot be.
    """
    failed = kernel(*arguments)
    if failed == 1:
        raise MemoryError("no memory left for a compiled kernel")
    if failed:
        raise ValueError("there is no such row, or it cannot end where it says")


def threads_for(size: int) -> int:
    """How many for rows of so many bytes."""
    return 1 if size < SMALL else cores()


def at(array: np.ndarray | None, kind: type) -> ctypes.c_void_p | None:
    """Where the numbers of an array begin, for a kernel that takes that kind; None for None.

    Raises:
        ValueError: they are of another kind or not next to each other.
    """
    if array is None:
        return None
    if array.dtype != kind or not array.flags.c_contiguous:
        raise ValueError(f"a kernel takes contiguous {np.dtype(kind)}, not {array.dtype}")
    return ctypes.c_void_p(array.ctypes.data)


def _fits(whether: bool) -> None:
    if not whether:
        raise ValueError("the arrays of a scan do not fit each other")


int64 = ctypes.c_int64
