"""What the kinds share that look at candidates only: projections, efforts and recall.

Such a kind finds candidates of either end by something smaller than the vectors and scores them
exactly. How hard it searches is tuned, when it is built, against the exact scan of a sample.

Projections to a few hundred dimensions keep inner products. With an orthonormal basis B (D, P) the
inner product of projections is <B'x, B'y> = <x, y> - <x_r, y_r>, x_r being the part of x outside
the basis. The basis spans the principal directions of a sample *without subtracting its mean*: the
residuals are then as short as P directions can make them, and the error is at most |x_r| |y_r|.
(Centring would change the inner products by terms that differ from row to row, and so the ranking.)
Queries come from the rows' population, so the bound holds for them and, the projection being
linear, for their negatives. Projections are not scaled to length 1 again: that would change the
ranking too.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ris.index.exact import Exact
from ris.index.files import FileRecord, write_arrays
from ris.index.kind import RECALL_K, Effort, Efforts, Ends, Hits, Kind, Recall
from ris.index.vectors import StoredVectors

CANDIDATES = 20  # rows scored exactly, per row asked for
MIN_CANDIDATES = 200
QUERIES = 64  # of one measurement of recall
TIE = 1e-6  # cosine; a row as good as the k-th within this is a hit
SAMPLE = 4096  # rows behind a basis
OVERSAMPLE = 16  # extra directions that make the subspace iteration converge fast
ITERATIONS = 3


@dataclass(frozen=True)
class Projection:
    """An orthonormal basis: (D, P) float32."""

    basis: np.ndarray

    @classmethod
    def fit(
        cls, vectors: StoredVectors, width: int, seed: int, *, turned: bool = True
    ) -> Projection:
        """The basis of the `width` leading principal directions of a random sample.

        Turned at random inside the basis, so that all axes carry the same share of the variance,
        or the strongest direction first. They are the leading eigenvectors of the sample's Gram
        matrix, found by subspace iteration: a full decomposition takes ten times as long and any
        basis close to them serves.
        """
        rng = np.random.default_rng(seed)
        sample = sample_rows(vectors, seed)
        tried = min(width + OVERSAMPLE, vectors.dims)
        basis = rng.standard_normal((vectors.dims, tried), dtype=np.float32)
        for _ in range(ITERATIONS):
            basis = np.linalg.qr(sample.T @ (sample @ basis))[0]  # [D, tried]
        inside = sample @ basis
        _, axes = np.linalg.eigh(inside.T @ inside)  # ascending
        axes = axes[:, : -width - 1 : -1]
        if turned:
            axes = axes @ np.linalg.qr(rng.standard_normal((width, width)))[0]
        return cls(np.ascontiguousarray(basis @ axes, dtype=np.float32))

    @property
    def width(self) -> int:
        """P."""
        return int(self.basis.shape[1])

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """(n, D) float32 -> (n, P) float32."""
        out: np.ndarray = np.ascontiguousarray(rows @ self.basis, dtype=np.float32)
        return out

    def save(self, path: Path, revision: int = 0) -> FileRecord:
        """Writes an .npz; as `ris.index.files.write_file`."""
        return write_arrays(path, {"basis": self.basis}, revision)

    @classmethod
    def load(cls, path: Path, dims: int) -> Projection:
        """Reads what `save` wrote.

        Raises:
            ValueError: not such a file, or a basis for other dimensions.
        """
        with np.load(path, allow_pickle=False) as arrays:
            basis = arrays["basis"]
        if basis.dtype != np.float32 or basis.ndim != 2 or basis.shape[0] != dims:
            raise ValueError(f"the basis is {basis.shape} {basis.dtype}, not ({dims}, P) float32")
        return cls(basis)


def sample_rows(vectors: StoredVectors, seed: int) -> np.ndarray:
    """(n, D) float32: at most `SAMPLE` random rows, in their order."""
    rng = np.random.default_rng(seed)
    count = min(SAMPLE, vectors.rows)
    rows = np.sort(rng.choice(vectors.rows, count, replace=False))
    sample = np.empty((count, vectors.dims), np.float32)
    for start, block in vectors.blocks(rows):
        sample[start : start + len(block)] = block
    return sample


def candidates(k: int, factor: int = 1) -> int:
    """Rows to score exactly at one end when k are asked for.

    Args:
        k: rows asked for.
        factor: multiple found necessary when the index was built.
    """
    return max(MIN_CANDIDATES, CANDIDATES * k) * factor


class Approximate(Kind):
    """A kind that finds candidates.

    A query gets all k rows wherever so many are allowed: it is scanned exactly where the
    candidates are a good part of the rows, and where too few were found.

    Args:
        vectors: for exact scores.
        efforts: per end.
        alive: rows that were not deleted.
    """

    tuned = True
    factors: ClassVar[tuple[int, ...]]
    """Multiples of the candidates that tuning may choose, in ascending order."""
    one_pass: ClassVar[bool]
    """Whether one pass finds the candidates of both ends, so that both have the same effort."""
    efforts: Efforts

    def __init__(
        self, vectors: StoredVectors, efforts: Efforts | None, alive: np.ndarray | None = None
    ) -> None:
        super().__init__(vectors, alive)
        least = Effort(self.widths(self.rows)[0])
        self.efforts = efforts or Efforts(least, least)
        self.complete = True
        """Whether a query for which fewer than k rows are found is scanned exactly instead."""
        self._exact = Exact(vectors)

    @classmethod
    @abstractmethod
    def widths(cls, rows: int) -> tuple[int, ...]:
        """Widths of a search that tuning may choose, in ascending order."""

    @classmethod
    def aims(cls, rows: int) -> tuple[float, float]:
        """Recall that tuning aims at, above the promised .95 since it sees only a sample, and how
        much recall is not worth a greater effort."""
        return 0.99, 0.005

    @classmethod
    @abstractmethod
    def scans(cls, rows: int, among: int, count: int) -> bool:
        """Whether scanning rows exactly beats scoring candidates among them.

        Args:
            rows: N.
            among: how many of them are allowed.
            count: of candidates at one end.
        """

    @abstractmethod
    def _candidates(
        self, queries: np.ndarray, counts: tuple[int, int], allowed: np.ndarray | None
    ) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """For each (D,) unit query the row numbers of its candidates at either end.

        Args:
            queries: (Q, D).
            counts: of candidates at either end.
            allowed: (N,) bool, rows to look among; None for all.
        """

    def _find(self, queries: np.ndarray, k: int, allowed: np.ndarray | None, ends: Ends) -> None:
        efforts = self.efforts.nearest, self.efforts.furthest
        counts = candidates(k, efforts[0].factor), candidates(k, efforts[1].factor)
        among = self.rows if allowed is None else int(np.count_nonzero(allowed))
        if self.scans(self.rows, among, max(counts)):
            self._exact._find(queries, k, allowed, ends)
            return
        wanted = min(k, among)
        short = np.zeros(len(queries), bool)
        found = self._candidates(queries, counts, allowed)
        for i, (query, both) in enumerate(zip(queries, found, strict=True)):
            for end, rows in enumerate(both):
                short[i] |= len(rows) < wanted
                self._settle(query, rows, ends, end, i)
        if self.complete and short.any():
            again = Ends.empty(int(short.sum()), k)
            self._exact._find(queries[short], k, allowed, again)
            for hits, full in zip(ends, again, strict=True):
                hits.rows[short], hits.scores[short] = full.rows, full.scores

    def tune(self) -> Recall:
        """Sets the least effort that reaches an aim at each end, or comes close to the best;
        returns the recall with other queries.

        Wider searches cannot mend what candidates lose, and more candidates cannot mend what the
        search did not visit, so all pairs are tried, cheapest first. Queries that find too few
        rows count as they are: the exact scan that completes them would make a poor effort look
        good.
        """
        truth = Truth.measure(self.vectors, queries=2 * QUERIES)
        aim, close = self.aims(self.rows)
        reached: dict[Effort, Recall] = {}
        self.complete = False
        every = [Effort(width, f) for width in self.widths(self.rows) for f in self.factors]
        for effort in every:
            self.efforts = Efforts(effort, effort)
            reached[effort] = truth.half(0).recall(self)
            best = (max(getattr(r, e) for r in reached.values()) for e in Ends._fields)
            if min(best) >= aim:
                break

        def least(end: str) -> Effort:
            shares = {effort: getattr(recall, end) for effort, recall in reached.items()}
            enough = min(aim, max(shares.values()) - close)
            return next(effort for effort, share in shares.items() if share >= enough)

        near, far = (least(end) for end in Ends._fields)
        if self.one_pass:
            near = far = max(near, far, key=lambda effort: effort.factor)
        self.efforts, self.complete = Efforts(near, far), True
        return truth.half(1).recall(self)


@dataclass(frozen=True)
class Truth:
    """Some rows as queries, with their exact rankings.

    Attributes:
        queries: (Q, D) float32.
        own: (Q,) int64 row number of each query, left out of its nearest rows.
        nearest: (Q, k) float32, scores of the true nearest rows.
        furthest: (Q, k) float32.
    """

    queries: np.ndarray
    own: np.ndarray
    nearest: np.ndarray
    furthest: np.ndarray

    @classmethod
    def measure(
        cls, vectors: StoredVectors, k: int = RECALL_K, queries: int = QUERIES, seed: int = 0
    ) -> Truth:
        """Ranks all rows for a random sample of rows by the exact scan.

        Args:
            vectors: the indexed vectors.
            k: rows per end; less where there are fewer.
            queries: number of rows to draw; less where there are fewer.
            seed: of the draw.
        """
        rng = np.random.default_rng(seed)
        own = rng.choice(vectors.rows, min(queries, vectors.rows), replace=False)
        asked = np.empty((len(own), vectors.dims), np.float32)
        for start, block in vectors.blocks(own):
            asked[start : start + len(block)] = block
        ends = Exact(vectors).search(asked, k + 1)
        nearest = _without(ends.nearest, own)[:, : max(1, min(k, vectors.rows - 1))]
        return cls(asked, own, nearest, ends.furthest.scores[:, : min(k, vectors.rows)])

    def half(self, which: int) -> Truth:
        """Every other query, starting with the first (0) or the second (1); all if it is one."""
        part = slice(which, None, 2) if len(self.queries) > 1 else slice(None)
        return Truth(self.queries[part], self.own[part], self.nearest[part], self.furthest[part])

    def recall(self, index: Kind) -> Recall:
        """Recall of `index`. A hit is a row that scores at least like the true k-th (- `TIE`)."""
        k = int(self.nearest.shape[1])
        ends = index.search(self.queries, k + 1)
        near = _without(ends.nearest, self.own)[:, :k]
        far = ends.furthest.scores[:, : self.furthest.shape[1]]
        return Recall(
            _share(near >= self.nearest[:, -1:] - TIE, self.nearest),
            _share(far <= self.furthest[:, -1:] + TIE, self.furthest),
            k,
            len(self.queries),
        )


def _without(hits: Hits, own: np.ndarray) -> np.ndarray:
    """(Q, k + 1) hits -> (Q, k) scores with each query's own row (or else the last) left out."""
    drop = hits.rows == own[:, None]
    drop[~drop.any(axis=1), -1] = True
    scores: np.ndarray = hits.scores[~drop].reshape(len(own), -1)
    return scores


def _share(hits: np.ndarray, truth: np.ndarray) -> float:
    return float((hits | np.isnan(truth)).mean())  # NaN: a single row has no neighbour to miss
