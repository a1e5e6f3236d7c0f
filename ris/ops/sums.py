"""Sums over the bytes of rows that tell whether a row is what was written.

The sum of a row is that of its 16-bit words, each times an odd key of its place, in 32 bits. One
word that changes always changes it (an odd factor loses no bit of a difference below 2^16); what
changes more than one goes unnoticed once in 2^32. That suffices against disks and dead runs; it
is no signature against a forger. It is quicker than reading the row from memory.

Compiled (``scan.cpp``) or in numpy, as `ris.ops.scan`.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ris.ops.native import library
from ris.ops.scan import MOST_DIMS, at, call, int64, numbered, row_slices, threads_for

DAMAGED = -1  # in place of a sum, which is never negative


@cache
def keys(width: int) -> np.ndarray:
    """(2 x width,) odd uint32: of the words at every place of a row; in a sparse row those of
    its values, then those of its channels. Part of the files' format."""
    # splitmix64 of the place
    place = np.arange(1, 2 * MOST_DIMS + 1, dtype=np.uint64).reshape(2, -1)[:, :width].reshape(-1)
    mixed = place * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    odd = (mixed >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
    odd.flags.writeable = False
    return odd


def dense_sums(half: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """(N, D) float16, (n,) row numbers or None for all -> (n,) int64 sums."""
    words = half.view(np.uint16)
    count, width = len(words) if rows is None else len(rows), words.shape[1]
    out = np.empty(count, np.int64)
    own = keys(width)[:width] if width <= MOST_DIMS else np.resize(keys(MOST_DIMS), width)
    kernels = library()
    if kernels is None:
        for start, part in numbered(count, max(1, width)):
            block = words[part] if rows is None else words[rows[part]]
            products = block.astype(np.uint32) * own
            out[start : start + len(block)] = products.sum(axis=1, dtype=np.uint32)
        return out
    call(
        kernels.ris_row_sums,
        *(at(words, np.uint16), int64(len(words)), int64(width), at(own, np.uint32)),
        *(at(rows, np.int64), int64(count), threads_for(2 * count * width), at(out, np.int64)),
    )
    return out


def sparse_sums(
    ends: np.ndarray,
    channels: np.ndarray,
    values: np.ndarray,
    dims: int,
    rows: np.ndarray | None = None,
) -> np.ndarray:
    """The same of rows that are stored by their values other than zero.

    Args:
        ends: (N,) int64, where each row ends in the two arrays below.
        channels: (V,) uint16.
        values: (V,) float16.
        dims: D, the most values that a row can have.
        rows: (n,) int64 row numbers, None for all.

    Returns:
        (n,) int64 sums, `DAMAGED` for a row that cannot end where it says.
    """
    words, own = values.view(np.uint16), keys(dims)
    count = len(ends) if rows is None else len(rows)
    out = np.full(count, DAMAGED, np.int64)
    kernels = library()
    if kernels is None:
        chosen = np.arange(count) if rows is None else rows
        last = ends[chosen]
        first = np.where(chosen > 0, ends[chosen - 1], 0)
        whole = (first >= 0) & (last > first) & (last <= len(words)) & (last - first <= dims)
        where = np.flatnonzero(whole)
        for _, part in numbered(len(where), max(1, 2 * len(words) // len(ends))):
            asked = where[part]
            places, firsts = row_slices(ends, np.arange(len(asked)), chosen[asked])
            within = np.arange(len(channels[places]))
            within -= np.repeat(firsts, np.diff(firsts, append=len(within)))
            products = words[places] * own[within]
            products += channels[places] * own[dims + within]
            out[asked] = np.add.reduceat(products, firsts, dtype=np.uint32)
        return out
    call(
        kernels.ris_sparse_sums,
        *(at(ends, np.int64), int64(len(ends)), at(channels, np.uint16), at(words, np.uint16)),
        *(int64(len(words)), at(own, np.uint32), int64(dims), at(rows, np.int64), int64(count)),
        *(threads_for(4 * count * len(words) // len(ends)), at(out, np.int64)),
    )
    return out
