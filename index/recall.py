"""Recall of an index against the exact scan, at both ends of the ranking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ris.index import kinds
from ris.index.approximate import ApproximateIndex
from ris.index.efforts import Effort, Efforts
from ris.index.exact import ExactIndex
from ris.index.searching import Hits, VectorIndex
from ris.index.sketch import SketchIndex
from ris.index.storage import AnyVectors

QUERIES = 64
K = 10
TIE = 1e-6  # cosine; a row as good as the k-th within this is a hit
TARGET = 0.99  # that `tune` aims at; above the promised 0.95, as it sees only a sample
CLOSE = 0.005  # recall not worth a greater effort
SMALL_TARGET, SMALL_CLOSE = 0.999, 0.001
"""The same for small sketches, which have time for more candidates."""


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

    @property
    def k(self) -> int:
        """Rows per end."""
        return int(self.nearest.shape[1])

    @classmethod
    def measure(
        cls, vectors: AnyVectors, k: int = K, queries: int = QUERIES, seed: int = 0
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
        ends = ExactIndex(vectors).search(asked, k + 1)
        nearest = _without(ends.nearest, own)[:, : max(1, min(k, vectors.rows - 1))]
        return cls(asked, own, nearest, ends.furthest.scores[:, : min(k, vectors.rows)])

    def half(self, which: int) -> Truth:
        """Every other query, starting with the first (0) or the second (1); all if it is one."""
        part = slice(which, None, 2) if len(self.queries) > 1 else slice(None)
        return Truth(self.queries[part], self.own[part], self.nearest[part], self.furthest[part])

    def recall(self, index: VectorIndex) -> Recall:
        """Recall of `index`. A hit is a row that scores at least like the true k-th (- `TIE`)."""
        ends = index.search(self.queries, self.k + 1)
        near = _without(ends.nearest, self.own)[:, : self.nearest.shape[1]]
        far = ends.furthest.scores[:, : self.furthest.shape[1]]
        return Recall(
            _share(near >= self.nearest[:, -1:] - TIE, self.nearest),
            _share(far <= self.furthest[:, -1:] + TIE, self.furthest),
            self.k,
            len(self.queries),
        )


def measure(
    index: VectorIndex, vectors: AnyVectors, k: int = K, queries: int = QUERIES, seed: int = 0
) -> Recall:
    """Recall@k of `index` against the exact scan, with a random sample of rows as queries.

    The query's own row, the trivial neighbour, does not count.
    """
    return Truth.measure(vectors, k, queries, seed).recall(index)


def tune(index: ApproximateIndex | SketchIndex, truth: Truth) -> None:
    """Sets the least effort that reaches a target at each end, or comes close to the best.

    Wider searches cannot mend what the projection loses, and more candidates cannot mend what
    the search did not visit, so all pairs are tried, cheapest first. Queries that find too few
    rows count as they are: the exact scan that completes them would make a poor effort look good.
    """
    widths = kinds.efforts(index.kind, index.rows)
    if isinstance(index, ApproximateIndex):
        index.complete = False
    reached: dict[Effort, Recall] = {}
    factors = kinds.factors(index.kind)
    sketch = isinstance(index, SketchIndex)
    small = sketch and kinds.is_small(index.rows)
    target, close = (SMALL_TARGET, SMALL_CLOSE) if small else (TARGET, CLOSE)
    for effort in (Effort(width, factor) for width in widths for factor in factors):
        index.efforts = Efforts(effort, effort)
        reached[effort] = truth.recall(index)
        best = (max(r.nearest for r in reached.values()), max(r.furthest for r in reached.values()))
        if min(best) >= target:
            break

    def least(end: str) -> Effort:
        shares = {effort: getattr(recall, end) for effort, recall in reached.items()}
        enough = min(target, max(shares.values()) - close)
        return next(effort for effort, share in shares.items() if share >= enough)

    near, far = least("nearest"), least("furthest")
    if sketch:  # one pass finds the candidates of both
        near = far = max(near, far, key=lambda effort: effort.factor)
    index.efforts = Efforts(near, far)
    if isinstance(index, ApproximateIndex):
        index.complete = True


def _without(hits: Hits, own: np.ndarray) -> np.ndarray:
    """(Q, k + 1) hits -> (Q, k) scores with each query's own row (or else the last) left out."""
    drop = hits.rows == own[:, None]
    drop[~drop.any(axis=1), -1] = True
    scores: np.ndarray = hits.scores[~drop].reshape(len(own), -1)
    return scores


def _share(hits: np.ndarray, truth: np.ndarray) -> float:
    return float((hits | np.isnan(truth)).mean())  # NaN: a single row has no neighbour to miss
