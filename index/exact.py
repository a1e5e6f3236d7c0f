"""Exact search: one scan of the vectors gives both ends of the ranking.

The permanent member of the family: the choice for small sets, the fallback of the others and the
oracle that they are measured against. It needs numpy only. Memory is bounded by the scan's
buffers and one score a row.

Few queries, and any over sparse vectors, are scored one by one with their final scores. Many over
dense vectors share a scan by matrix products, whose float32 sums are settled by final scores.
"""

from __future__ import annotations

import numpy as np

from ris.index.kind import BUFFERS, Ends, Kind
from ris.index.vectors import Vectors
from ris.ops.native import library
from ris.ops.scan import score_ends

STRIDE = 16384  # rows between two updates of the running top k
FEW = 8  # queries up to which compiled scans of their own beat shared matrix products
QUERIES = 128  # scanned together; bounds the score buffer to QUERIES x STRIDE float32
TIE = 1e-6  # products of equal rows in float32 differ by less
SLACK = 16  # rows kept beyond k: float32 products order near-ties less finely than final scores


class Exact(Kind):
    """Scans all vectors; has no files of its own."""

    name = "exact"
    cost = "nothing but buffers; reads all vectors"

    @classmethod
    def held_bytes(cls, rows: int, dims: int) -> int:
        """Buffers, whatever the size."""
        return BUFFERS

    def _find(self, queries: np.ndarray, k: int, allowed: np.ndarray | None, ends: Ends) -> None:
        rows = None if allowed is None else np.flatnonzero(allowed)
        if isinstance(self.vectors, Vectors) and (len(queries) > FEW or library() is None):
            for start in range(0, len(queries), QUERIES):
                part = slice(start, start + QUERIES)
                self._shared_scan(self.vectors, queries[part], k, rows, ends, start)
        else:
            for i, query in enumerate(queries):
                self._own_scan(query, k, rows, ends, i)

    def _own_scan(
        self, query: np.ndarray, k: int, rows: np.ndarray | None, ends: Ends, i: int
    ) -> None:
        """Writes the ends of one query to row `i`."""
        scores = self.vectors.cosines(query, rows)
        if not len(scores):
            return
        for hits, best in zip(ends, score_ends(scores, k), strict=True):
            hits.rows[i, : len(best)] = best if rows is None else rows[best]
            hits.scores[i, : len(best)] = scores[best]

    def _shared_scan(
        self,
        vectors: Vectors,
        queries: np.ndarray,
        k: int,
        rows: np.ndarray | None,
        ends: Ends,
        first: int,
    ) -> None:
        """Writes the ends of several queries, from row `first` on."""
        for end, tops in enumerate(_scan(vectors, queries, k + SLACK, rows)):
            for i, (query, top) in enumerate(zip(queries, tops, strict=True)):
                tied = top.is_tied(k)
                found = _tied(vectors, query, top, k, rows) if tied else top.rows
                self._settle(query, found, ends, end, first + i)


def _tied(
    vectors: Vectors, query: np.ndarray, top: _Top, k: int, rows: np.ndarray | None
) -> np.ndarray:
    """All rows that are as good as the k-th, where those kept are not enough to tell."""
    if rows is None:
        rows = np.arange(vectors.rows)
    products = vectors.products_of(query[None], rows)[0] * top.sign
    found: np.ndarray = rows[products > top.scores[k - 1] - TIE]
    return found


def _scan(
    vectors: Vectors, queries: np.ndarray, keep: int, rows: np.ndarray | None
) -> tuple[list[_Top], list[_Top]]:
    """Each query's `keep` highest and lowest products."""
    count = vectors.rows if rows is None else len(rows)
    high, low = ([_Top(keep, sign) for _ in queries] for sign in (1.0, -1.0))
    for start in range(0, count, STRIDE):
        stop = min(start + STRIDE, count)
        if rows is None:
            numbers = np.arange(start, stop)
            products = vectors.products(queries, start, stop)
        else:
            numbers = rows[start:stop]
            products = vectors.products_of(queries, numbers)
        for end in (high, low):
            for top, scores in zip(end, products, strict=True):
                top.add(numbers, scores)
    return high, low


class _Top:
    """The running `keep` best rows of one query at one end; among equals the lowest rows."""

    def __init__(self, keep: int, sign: float) -> None:
        self.keep, self.sign = keep, np.float32(sign)
        self.rows = np.empty(0, np.int64)
        self.scores = np.empty(0, np.float32)

    def is_tied(self, k: int) -> bool:
        """Whether rows that were not kept may be as good as the k-th."""
        full = len(self.rows) == self.keep
        return full and bool(self.scores[k - 1] - self.scores[-1] < TIE)

    def add(self, rows: np.ndarray, scores: np.ndarray) -> None:
        scores = scores * self.sign
        if len(self.rows) == self.keep:
            # Later rows lose ties, so only what beats the worst kept score can enter.
            better = np.flatnonzero(scores > self.scores[-1])
            if not len(better):
                return
            rows, scores = rows[better], scores[better]
        elif len(scores) > self.keep:
            floor = np.partition(scores, -self.keep)[-self.keep]
            best = np.flatnonzero(scores >= floor)
            rows, scores = rows[best], scores[best]
        rows = np.concatenate((self.rows, rows))
        scores = np.concatenate((self.scores, scores))
        order = np.lexsort((rows, -scores))[: self.keep]
        self.rows, self.scores = rows[order], scores[order]
