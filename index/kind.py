"""What an index kind is, and what an index of any kind answers.

Convention: a score is the cosine similarity of query and row (Eq. 8), a float32 in [-1, 1]; more
is nearer. Rows are numbered from 0 in the order they were appended. Where an end has fewer than
k rows the tail is padded with row -1 and score NaN.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from ris.index.files import FileRecord, Files
from ris.index.vectors import StoredVectors

NO_ROW = -1
BUFFERS = 64 << 20  # bytes of scan buffers, whatever the kind
RECALL_K = 10  # rows at each end for which recall is measured


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

    @classmethod
    def empty(cls, queries: int, k: int) -> Ends:
        """(Q, k) padding."""
        rows, scores = np.full((queries, k), NO_ROW, np.int64), np.full((queries, k), np.nan, "f4")
        return cls(Hits(rows, scores), Hits(rows.copy(), scores.copy()))


@dataclass(frozen=True)
class Effort:
    """How hard one end is searched.

    Attributes:
        width: inverted lists probed, or width of the graph walk.
        factor: multiple of the usual number of candidates.
    """

    width: int
    factor: int = 1


@dataclass(frozen=True)
class Efforts:
    """The effort of either end."""

    nearest: Effort
    furthest: Effort

    def to_json(self) -> dict[str, dict[str, int]]:
        """For meta.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, dict[str, int]]) -> Efforts:
        """The reverse of `to_json`.

        Raises:
            ValueError, KeyError, TypeError: it is no such thing.
        """
        efforts = cls(Effort(**value["nearest"]), Effort(**value["furthest"]))
        for effort in (efforts.nearest, efforts.furthest):
            if not all(type(n) is int and 1 <= n < 1 << 31 for n in (effort.width, effort.factor)):
                raise ValueError("has an effort that cannot be")
        return efforts


@dataclass(frozen=True)
class Recall:
    """Mean share of the true k best rows that an index finds.

    Attributes:
        nearest: in [0, 1].
        furthest: in [0, 1].
        k: rows asked for.
        queries: number of queries.
    """

    nearest: float
    furthest: float
    k: int
    queries: int


class Kind(ABC):
    """Cosine search over N unit vectors of D dimensions, in one of the ways of `ris.index.KINDS`.

    A new kind is a subclass in a module of its own and a line in that table.

    Args:
        vectors: what is searched; scores come from them, whatever the kind.
        alive: (N,) bool, False for rows that were deleted and are never returned; None: all are
            there.
    """

    name: ClassVar[str]
    """In meta.json and on the command line."""
    cost: ClassVar[str]
    """What it holds in memory; what a search reads. One line."""
    files: ClassVar[frozenset[str]] = frozenset()
    """Names of its files beside those of the vectors."""
    tuned: ClassVar[bool] = False
    """Whether its searches have an effort, which `tune` chooses."""
    efforts: Efforts | None = None

    def __init__(self, vectors: StoredVectors, alive: np.ndarray | None = None) -> None:
        self.vectors, self.alive = vectors, alive
        self.rows, self.dims = vectors.rows, vectors.dims

    @classmethod
    @abstractmethod
    def held_bytes(cls, rows: int, dims: int) -> int:
        """Resident bytes needed to search N rows of D dimensions, without mapped vectors."""

    @classmethod
    def build(cls, vectors: StoredVectors, folder: Path) -> tuple[Kind, dict[str, FileRecord]]:
        """Learns from the vectors, block by block, and writes `files` to the folder.

        Returns:
            an index with the least effort, and the records of the files.

        Raises:
            RisError: a package that it needs is not installed.
            OSError: a file cannot be written.
        """
        return cls(vectors), {}

    @classmethod
    def load(
        cls, vectors: StoredVectors, files: Files, efforts: Efforts | None, alive: np.ndarray | None
    ) -> Kind:
        """Opens what `build` and `save` wrote and the caller has compared with its records.

        Raises:
            ValueError, KeyError: the files do not fit the vectors.
            RisError: a package that it needs is not installed.
        """
        return cls(vectors, alive)

    def tune(self) -> Recall:
        """Chooses `efforts`; returns the recall against the exact scan that is reached."""
        return Recall(1.0, 1.0, RECALL_K, 0)

    def extend(self, rows: np.ndarray) -> None:  # noqa: B027 - nothing to do where there are no files
        """Adds (n, D) float32 rows, as the vectors store them, to what `save` writes; searches of
        this object do not find them."""

    def save(self, revision: int) -> Mapping[str, FileRecord]:
        """Makes durable what `extend` added.

        Args:
            revision: of the files that are written anew.

        Returns:
            the records of the files that have changed.

        Raises:
            OSError: they cannot be written.
        """
        return {}

    def abandon(self) -> None:  # noqa: B027
        """Closes files that `extend` opened; does nothing after `save`."""

    def search(self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None) -> Ends:
        """The k nearest and the k furthest rows of each query.

        Args:
            queries: (Q, D) float32, of any positive length.
            k: at least 1; more than N is padded.
            allowed: (N,) bool; rows that may be returned, None for all.

        Raises:
            ValueError: wrong shape, k below 1, or a query that is zero or not finite.
        """
        if k < 1:
            raise ValueError(f"k is at least 1, not {k}")
        unit = unit_rows(queries, self.dims, "query")
        if allowed is not None:
            allowed = np.ascontiguousarray(allowed)
            if allowed.dtype != bool or allowed.shape != (self.rows,):
                raise ValueError(
                    f"the filter is ({self.rows},) bool, not {allowed.shape} {allowed.dtype}"
                )
            if self.alive is not None:
                allowed = allowed & self.alive
            elif allowed.all():
                allowed = None
        else:
            allowed = self.alive
        ends = Ends.empty(len(unit), k)
        self._find(unit, k, allowed, ends)
        return ends

    @abstractmethod
    def _find(self, queries: np.ndarray, k: int, allowed: np.ndarray | None, ends: Ends) -> None:
        """Writes what (Q, D) unit queries find among the allowed rows to (Q, k) padding."""

    def all_scores(self, query: np.ndarray) -> np.ndarray:
        """(D,) query of any length -> (N,) float32 cosine with every row, exact for every kind.

        Raises:
            ValueError: wrong shape, or a query that is zero or not finite.
        """
        return self.vectors.cosines(unit_rows(np.asarray(query)[None], self.dims, "query")[0])

    def _settle(self, query: np.ndarray, rows: np.ndarray, ends: Ends, end: int, i: int) -> None:
        """Scores candidate rows of one query exactly and writes the best k.

        Args:
            query: (D,) float32 of length 1.
            rows: (n,) distinct candidate row numbers in any order.
            ends: to write to.
            end: which of them, 0 for the nearest.
            i: the query's number.
        """
        scores = self.vectors.cosines(query, rows)
        order = np.lexsort((rows, scores if end else -scores))[: ends[end].rows.shape[1]]
        ends[end].rows[i, : len(order)] = rows[order]
        ends[end].scores[i, : len(order)] = scores[order]


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
