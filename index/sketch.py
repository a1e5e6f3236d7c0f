"""The sketch: one byte for each of the leading principal directions, and exact scores of the best.

A search reads the codes of all rows once, in integers, and takes the candidates of both ends from
that single pass; the vectors themselves are read for the candidates only. Lists or graphs would
read less, but the rows furthest from a query are spread over all lists and few links lead there,
and they would have to be visited once for each end.

The inner product of codes and query differs from the cosine by what lies outside the basis, at
most |x_r| |y_r| (see `ris.index.projection`), and by the rounding of the codes, which is smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ris.index import kinds
from ris.index.efforts import Effort, Efforts
from ris.index.exact import ExactIndex, all_scores, empty_ends, settle
from ris.index.files import CheckedFile, FileRecord, write_arrays, write_file
from ris.index.projection import Projection, sample_rows
from ris.index.searching import Ends, check_filter, check_k, unit_rows
from ris.index.storage import AnyVectors
from ris.ops.scan import CODE_LEVELS, MOST_WIDTH, QUERY_LEVELS, code_ends, half_cosines

MARGIN = 1.1  # of the steps over the sample's extremes


@dataclass(frozen=True)
class Coder:
    """Vectors to codes.

    Attributes:
        projection: (D, P).
        steps: (P,) float32, size of one level in each direction.
    """

    projection: Projection
    steps: np.ndarray

    @cached_property
    def _rows(self) -> np.ndarray:
        """(P, D) float16: the basis, direction by direction."""
        return np.ascontiguousarray(self.projection.basis.T, np.float16)

    @classmethod
    def fit(cls, vectors: AnyVectors, seed: int = 0) -> Coder:
        """Directions and steps from a random sample of the vectors."""
        width = kinds.sketch_width(vectors.rows, vectors.dims)
        projection = Projection.fit(vectors, width, seed, turned=False)
        inside = projection(sample_rows(vectors, seed))
        steps = np.abs(inside).max(axis=0) * (MARGIN / CODE_LEVELS)
        return cls(projection, np.maximum(steps, 1e-12).astype(np.float32))

    def codes(self, blocks: Iterable[tuple[int, np.ndarray]]) -> Iterable[np.ndarray]:
        """Blocks of (n, D) float32 rows -> (n, P) int8."""
        for _, block in blocks:
            levels = np.rint(self.projection(block) / self.steps)
            yield levels.clip(-CODE_LEVELS, CODE_LEVELS).astype(np.int8)

    def query(self, query: np.ndarray) -> np.ndarray:
        """(D,) float32 -> (P,) int16 whose products with codes order rows as the cosine does."""
        # Matrix libraries wake their threads for this, which takes longer than the product.
        weights = half_cosines(self._rows, query) * self.steps
        largest = float(np.abs(weights).max()) or 1.0
        scaled: np.ndarray = np.rint(weights * (QUERY_LEVELS / largest)).astype(np.int16)
        return scaled

    def save(self, path: Path) -> FileRecord:
        """Writes an .npz; as `ris.index.files.write_file`."""
        return write_arrays(path, {"basis": self.projection.basis, "steps": self.steps})

    @classmethod
    def load(cls, path: Path, dims: int) -> Coder:
        """Reads what `save` wrote.

        Raises:
            ValueError: not such a file, or one for other dimensions.
            KeyError: something is missing in it.
        """
        projection = Projection.load(path, dims)
        with np.load(path, allow_pickle=False) as arrays:
            steps = arrays["steps"]
        if steps.dtype != np.float32 or steps.shape != (projection.width,):
            raise ValueError(f"{path.name}: {steps.shape} {steps.dtype} steps")
        if projection.width > MOST_WIDTH:
            raise ValueError(f"{path.name}: {projection.width} directions")
        return cls(projection, steps)


class SketchIndex:
    """Cosine search by codes; see `ris.index.searching.VectorIndex`.

    Args:
        vectors: for exact scores.
        coder: that the codes were made with.
        codes: (N, P) int8, usually memory-mapped.
        efforts: candidates per end; the width means nothing here.
        alive: rows that were not deleted.
        check: called once, before the codes are first used.
    """

    kind = "sketch"

    def __init__(
        self,
        vectors: AnyVectors,
        coder: Coder,
        codes: np.ndarray,
        efforts: Efforts,
        alive: np.ndarray | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        self.vectors = vectors
        self.rows, self.dims = vectors.rows, vectors.dims
        self.coder, self.codes, self.efforts, self.alive = coder, codes, efforts, alive
        self._exact = ExactIndex(vectors)
        self._check = check

    @classmethod
    def build(
        cls, vectors: AnyVectors, codes: Path, seed: int = 0
    ) -> tuple[SketchIndex, FileRecord]:
        """Fits the coder and writes the file of codes, reading the vectors block by block.

        Raises:
            OSError: the file cannot be written.
        """
        coder = Coder.fit(vectors, seed)

        def write(file: CheckedFile) -> None:
            for part in coder.codes(vectors.blocks()):
                file.write(part)

        record = write_file(codes, write)
        least = Effort(1)
        made = cls(vectors, coder, open_codes(codes, vectors, coder), Efforts(least, least))
        return made, record

    def search(self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None) -> Ends:
        """The k nearest and furthest rows; see the protocol."""
        queries = unit_rows(queries, self.dims, "query")
        allowed = check_filter(allowed, self.rows, self.alive)
        ends = empty_ends(len(queries), check_k(k))
        counts = [
            kinds.candidates(k, effort.factor)
            for effort in (self.efforts.nearest, self.efforts.furthest)
        ]
        among = self.rows if allowed is None else int(np.count_nonzero(allowed))
        if 2 * max(counts) >= among:  # no fewer vectors to read than the exact scan
            return self._exact.search(queries, k, allowed=allowed)
        if (check := self._check) is not None:
            check()
            self._check = None
        for i, query in enumerate(queries):
            found = code_ends(self.codes, self.coder.query(query), max(counts), allowed)
            for hits, rows, count in zip(ends, found, counts, strict=True):
                settle(self.vectors, query, rows[:count], hits, i, hits is ends.furthest)
        return ends

    def all_scores(self, query: np.ndarray) -> np.ndarray:
        """(N,) cosine with every row; see the protocol."""
        return all_scores(self.vectors, query)


def open_codes(path: Path, vectors: AnyVectors, coder: Coder) -> np.ndarray:
    """(N, P) int8, memory-mapped; the file may be longer.

    Raises:
        ValueError: it is shorter.
    """
    shape = (vectors.rows, coder.projection.width)
    return np.memmap(path, dtype=np.int8, mode="r", shape=shape).view(np.ndarray)
