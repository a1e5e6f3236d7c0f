"""The FAISS kinds: candidates from inverted lists or from a graph over projected vectors.

A search runs FAISS once per end, the furthest end with the negated query (the inner product is
linear, so the lowest cosine of q is the highest of -q), and scores the candidates exactly. The
two ends have their own search effort: rows far from a query are spread over more lists and lead
to fewer graph links than its neighbours.

FAISS is imported when an index is built or loaded, never by importing this module.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ris.errors import RisError
from ris.index.approximate import Approximate, Projection
from ris.index.files import FAISS, PROJECTION, CheckedFile, FileRecord, Files, write_file
from ris.index.kind import BUFFERS, Effort, Efforts
from ris.index.vectors import StoredVectors

DIMS = 256
"""Dimensions of the projection: of 128 the candidates miss 5 % of the soft-masked neighbours,
256 miss under 2 %, 512 under 1 % at twice the memory."""
CANDIDATE_SHARE = 0.1  # of the rows; with more candidates the exact scan is the cheaper way
FILTER_SHARE = 0.1  # of the rows; where a filter allows fewer they are scanned exactly
LINKS = 32  # M: links of a graph's node per level, twice that on the ground level
LEAST_SAMPLE = 256  # rows to train on
BUILD_WIDTH = 80  # efConstruction
WRITTEN = 1 << 20  # bytes of an index that are handed over at a time


def load_faiss() -> ModuleType:
    """The faiss module.

    Raises:
        RisError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise RisError(
            "this index kind needs FAISS", "run `pip install faiss-cpu`, or use `kind='exact'`"
        ) from error
    module: ModuleType = faiss
    return module


class FaissKind(Approximate):
    """Cosine search by a FAISS index over projected vectors.

    Args:
        vectors: the vectors, for exact scores.
        projection: of vectors and queries.
        index: the FAISS index of the projected vectors.
        folder: of its files.
        efforts: per end.
        alive: rows that were not deleted.
    """

    files = frozenset((FAISS, PROJECTION))
    factors = (1, 2, 4)
    one_pass = False

    def __init__(
        self,
        vectors: StoredVectors,
        projection: Projection,
        index: Any,
        folder: Path,
        efforts: Efforts | None = None,
        alive: np.ndarray | None = None,
    ) -> None:
        super().__init__(vectors, efforts, alive)
        self.projection = projection
        self._index, self._folder = index, folder
        self._extended = False

    @classmethod
    def width(cls, rows: int, dims: int) -> int:
        """Width of the projection: a multiple of 8 if it can be."""
        width = min(DIMS, dims, rows)
        return width - width % 8 if width >= 8 else width

    @classmethod
    def scans(cls, rows: int, among: int, count: int) -> bool:
        """Where the candidates are a good part of the rows or a filter allows few of them."""
        return count >= CANDIDATE_SHARE * rows or among < FILTER_SHARE * rows

    @classmethod
    @abstractmethod
    def _new(cls, width: int, rows: int) -> Any:
        """An empty FAISS index for so many rows of some width."""

    @classmethod
    @abstractmethod
    def _entries(cls, projected: np.ndarray) -> np.ndarray:
        """Projected rows (n, P) as the index holds them."""

    @abstractmethod
    def _questions(self, projected: np.ndarray) -> np.ndarray:
        """Projected queries (n, P) as the index wants them."""

    @abstractmethod
    def _options(self, effort: Effort, count: int, selector: Any, share: float) -> Any:
        """FAISS's parameters of a search for `count` rows; `share` of the rows is selected."""

    @classmethod
    def build(cls, vectors: StoredVectors, folder: Path) -> tuple[FaissKind, dict[str, FileRecord]]:
        """Fits the projection, trains and fills the index."""
        seed = 0
        projection = Projection.fit(vectors, cls.width(vectors.rows, vectors.dims), seed)
        index = cls._new(projection.width, vectors.rows)
        index.train(cls._entries(cls._sample(vectors, projection, seed + 1)))
        for _, block in vectors.blocks():
            index.add(cls._entries(projection(block)))
        made = cls(vectors, projection, index, folder)
        return made, made._write(0)

    @classmethod
    def training_rows(cls, rows: int) -> int:
        """Rows to train on."""
        return min(rows, 10_000)

    @classmethod
    def _sample(cls, vectors: StoredVectors, projection: Projection, seed: int) -> np.ndarray:
        """(n, P) float32 projections of random rows, repeated where there are few."""
        rng = np.random.default_rng(seed)
        count = cls.training_rows(vectors.rows)
        rows = np.sort(rng.choice(vectors.rows, count, replace=False))
        sample = np.empty((count, projection.width), np.float32)
        for start, block in vectors.blocks(rows):
            sample[start : start + len(block)] = projection(block)
        rng.shuffle(sample)
        return np.resize(sample, (max(count, LEAST_SAMPLE), projection.width))

    @classmethod
    def load(
        cls, vectors: StoredVectors, files: Files, efforts: Efforts | None, alive: np.ndarray | None
    ) -> FaissKind:
        """Reads both files. FAISS believes what it reads."""
        projection = Projection.load(files.path(PROJECTION), vectors.dims)
        try:
            index = load_faiss().read_index(str(files.path(FAISS)))
        except RuntimeError as error:
            raise ValueError("not a FAISS index") from error
        width = cls._entries(np.zeros((1, projection.width), np.float32)).shape[1]
        if index.ntotal != vectors.rows or index.d != width:
            raise ValueError(f"the FAISS index holds {index.ntotal} x {index.d} values")
        return cls(vectors, projection, index, files.folder, efforts, alive)

    def extend(self, rows: np.ndarray) -> None:
        """Adds the rows to the FAISS index."""
        self._index.add(self._entries(self.projection(rows)))
        self._extended = True

    def save(self, revision: int) -> dict[str, FileRecord]:
        """Writes both files anew where rows were added."""
        return self._write(revision) if self._extended else {}

    def _write(self, revision: int) -> dict[str, FileRecord]:
        return {
            FAISS: write_file(self._folder / FAISS, self._write_index, revision),
            PROJECTION: self.projection.save(self._folder / PROJECTION, revision),
        }

    def _write_index(self, file: CheckedFile) -> None:
        """FAISS writes through our file, whose errors its own messages would hide."""
        failed: list[Exception] = []

        def write(part: bytes) -> None:
            try:
                file.write(part)
            except OSError as error:
                failed.append(error)
                raise

        faiss = load_faiss()
        try:
            faiss.write_index(self._index, faiss.PyCallbackIOWriter(write, WRITTEN))
        except Exception as error:
            raise (failed or [OSError(f"FAISS: {error}")])[0] from None
        if failed:
            raise failed[0]

    def _candidates(
        self, queries: np.ndarray, counts: tuple[int, int], allowed: np.ndarray | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        projected = self.projection(queries)
        selector, share = None, 1.0
        if allowed is not None:
            bitmap = np.packbits(allowed, bitorder="little")  # has to outlive the selector
            selector, share = load_faiss().IDSelectorBitmap(bitmap), float(allowed.mean())
        found = []
        ends = self.efforts.nearest, self.efforts.furthest
        for sign, effort, count in zip((1, -1), ends, counts, strict=True):
            options = self._options(effort, count, selector, share)
            asked = self._questions(sign * projected)
            found.append(self._index.search(asked, count, params=options)[1])
        for near, far in zip(*found, strict=True):
            yield near[near >= 0], far[far >= 0]


class Ivf(FaissKind):
    """Inverted lists of projections in half precision."""

    name = "ivf"
    cost = (
        "holds 256 directions in float16; a search reads some lists for each end, then some vectors"
    )

    @classmethod
    def lists(cls, rows: int) -> int:
        """Number of inverted lists: 2 sqrt(N), with at least 16 rows to a list."""
        return max(1, min(int(2 * math.sqrt(rows)), rows // 16))

    @classmethod
    def training_rows(cls, rows: int) -> int:
        """Rows to train the lists on."""
        return min(rows, max(10_000, 40 * cls.lists(rows)))

    @classmethod
    def held_bytes(cls, rows: int, dims: int) -> int:
        """The basis, the lists' centres, and every row's projection and number."""
        width = cls.width(rows, dims)
        return BUFFERS + 4 * width * (dims + cls.lists(rows)) + rows * (2 * width + 8)

    @classmethod
    def widths(cls, rows: int) -> tuple[int, ...]:
        """Numbers of lists to probe."""
        shares = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
        return tuple(sorted({max(1, math.ceil(cls.lists(rows) * share)) for share in shares}))

    @classmethod
    def _new(cls, width: int, rows: int) -> Any:
        faiss = load_faiss()
        metric, half = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer.QT_fp16
        quantizer = faiss.IndexFlatIP(width)
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, width, cls.lists(rows), half, metric, False
        )
        index.cp.min_points_per_centroid = 1  # no warnings about small collections
        return index

    @classmethod
    def _entries(cls, projected: np.ndarray) -> np.ndarray:
        return projected

    def _questions(self, projected: np.ndarray) -> np.ndarray:
        return projected

    def _options(self, effort: Effort, count: int, selector: Any, share: float) -> Any:
        return load_faiss().SearchParametersIVF(sel=selector, nprobe=effort.width)


class Hnsw(FaissKind):
    """A graph of projections in half precision.

    A graph by inner product has hubs and corners that a walk does not leave. Rows of a graph
    get one more coordinate that makes them unit vectors again, and questions a zero there: the
    Euclidean order of unit vectors is that of the inner product, and the graph is a proper one.
    """

    name = "hnsw"
    cost = "float16 projections and a graph; walks it for each end, then reads candidates"

    @classmethod
    def held_bytes(cls, rows: int, dims: int) -> int:
        """The basis, and every row's projection and links."""
        width = cls.width(rows, dims)
        return BUFFERS + 4 * dims * width + rows * (2 * width + 4 * 2 * LINKS + 24)

    @classmethod
    def widths(cls, rows: int) -> tuple[int, ...]:
        """Widths of the walk."""
        return (200, 400, 800, 1600, 3200)

    @classmethod
    def _new(cls, width: int, rows: int) -> Any:
        faiss = load_faiss()
        half = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexHNSWSQ(width + 1, half, LINKS, faiss.METRIC_L2)
        index.hnsw.efConstruction = BUILD_WIDTH
        return index

    @classmethod
    def _entries(cls, projected: np.ndarray) -> np.ndarray:
        rest = 1 - np.square(projected).sum(axis=1, keepdims=True)
        return np.hstack((projected, np.sqrt(np.maximum(rest, 0)))).astype(np.float32)

    def _questions(self, projected: np.ndarray) -> np.ndarray:
        return np.hstack((projected, np.zeros((len(projected), 1), np.float32)))

    def _options(self, effort: Effort, count: int, selector: Any, share: float) -> Any:
        # of what the walk meets only the allowed share counts, so it has to be wider
        width = math.ceil(max(effort.width, count) / share)
        return load_faiss().SearchParametersHNSW(sel=selector, efSearch=width)
