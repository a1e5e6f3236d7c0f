"""What every index over the masked style vectors of one feature answers, and in which form.

Convention: a score is the cosine similarity of query and row (Eq. 8), a float32 in [-1, 1]; more
is nearer. Rows are numbered from 0 in the order they were appended. Where an end has fewer than
k rows the tail is padded with row -1 and score NaN.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

NO_ROW = -1


class Hits(NamedTuple):
    """One end of a ranking.

    Attributes:
        rows: (Q, k) int64 row numbers, -1 where there is none.
        scores: (Q, k) float32 cosine in [-1, 1], NaN where there is none.
    """

    rows: np.ndarray
    scores: np.ndarray


class Ends(NamedTuple):
    """Both ends of the ranking of all rows by cosine similarity to a query.

    `nearest` is sorted by descending, `furthest` by ascending score; equal scores come in
    ascending row order at either end.
    """

    nearest: Hits
    furthest: Hits


class VectorIndex(Protocol):
    """Cosine search over N unit vectors of D dimensions."""

    kind: str
    """One of `ris.index.kinds.KINDS`."""
    rows: int
    """N."""
    dims: int
    """D."""
    alive: np.ndarray | None
    """(N,) bool, False for rows that were deleted and are never returned; None: all are there."""

    def search(self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None) -> Ends:
        """The k nearest and the k furthest rows of each query.

        Args:
            queries: (Q, D) float32, of any positive length.
            k: at least 1; more than N is padded.
            allowed: (N,) bool; rows that may be returned, None for all.

        Raises:
            ValueError: wrong shape, k below 1, or a query that is zero or not finite.
        """
        ...

    def all_scores(self, query: np.ndarray) -> np.ndarray:
        """(D,) query -> (N,) float32 cosine with every row, exact for every kind.

        Raises:
            ValueError: wrong shape, or a query that is zero or not finite.
        """
        ...


def unit_rows(rows: np.ndarray, dims: int, what: str) -> np.ndarray:
    """(n, D) -> (n, D) float32 rows of length 1.

    Args:
        rows: (n, D) numbers.
        dims: D that is expected.
        what: the rows' name for messages, e.g. ``"query"``.

    Raises:
        ValueError: another shape, or a row that is zero or not finite (the first is named).
    """
    rows = np.asarray(rows)
    if rows.ndim != 2 or rows.shape[1] != dims:
        raise ValueError(f"{what} vectors are (n, {dims}), not {rows.shape}")
    # A float64 sum cannot overflow or vanish for any float32 input.
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(bad):
        kind = "zero" if norms[bad[0]] == 0 else "not finite"
        raise ValueError(f"{what} vector {bad[0]} is {kind}: it has no direction")
    unit: np.ndarray = (rows / norms[:, None]).astype(np.float32)
    return unit


def check_k(k: int) -> int:
    """`k` itself; ValueError below 1."""
    if k < 1:
        raise ValueError(f"k is at least 1, not {k}")
    return k


def check_filter(
    allowed: np.ndarray | None, rows: int, alive: np.ndarray | None = None
) -> np.ndarray | None:
    """The rows that may be returned as (N,) bool, or None where that is every row.

    Args:
        allowed: the caller's filter, None for all.
        rows: N.
        alive: (N,) bool, rows that were not deleted, None for all.

    Raises:
        ValueError: the filter is no (N,) bool array.
    """
    if allowed is None:
        return alive
    allowed = np.ascontiguousarray(allowed)
    if allowed.dtype != bool or allowed.shape != (rows,):
        raise ValueError(f"the filter is ({rows},) bool, not {allowed.shape} {allowed.dtype}")
    if alive is not None:
        both: np.ndarray = allowed & alive
        return both
    return None if allowed.all() else allowed
