"""The FAISS kinds: candidates from a compact index, scores from the vectors themselves.

A search runs FAISS once per end, the furthest end with the negated query (the inner product is
linear, so the lowest cosine of q is the highest of -q), and scores the candidates exactly. The
two ends have their own search effort: rows far from a query are spread over more lists and lead
to fewer graph links than its neighbours. `ris.index.recall.tune` measures how much each needs.

FAISS is imported when an index is built or loaded, never by importing this module.
"""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ris.errors import RisError
from ris.index import kinds
from ris.index.efforts import Effort, Efforts
from ris.index.exact import SLACK, TIE, ExactIndex, all_scores, empty_ends, settle
from ris.index.files import CheckedFile, FileRecord, write_file
from ris.index.projection import Projection
from ris.index.searching import Ends, Hits, check_filter, check_k, unit_rows
from ris.index.storage import AnyVectors

WRITTEN = 1 << 20  # bytes of an index that are handed over at a time
BUILD_WIDTH = 80  # efConstruction
PQ_MINIMUM = 256  # training vectors that 8-bit codes insist on


def load_faiss() -> ModuleType:
    """The faiss module.

    Raises:
        RisError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise RisError(
            "this index kind needs FAISS: run `pip install faiss-cpu`, or use `--kind exact`"
        ) from error
    module: ModuleType = faiss
    return module


class FlatIndex:
    """FAISS's exact scan of all vectors in memory as float32.

    Worth its memory in a process that answers many queries: loading takes longer than one exact
    scan. Near-ties are settled by exact scores, as everywhere.
    """

    kind = "flat"

    def __init__(self, vectors: AnyVectors, alive: np.ndarray | None = None) -> None:
        faiss = load_faiss()
        self.vectors = vectors
        self.rows, self.dims = vectors.rows, vectors.dims
        self.alive = alive
        self._exact = ExactIndex(vectors)
        self._index = faiss.IndexFlatIP(self.dims)
        # Adding block by block would double the memory each time it grows; room is made at once.
        self._index.codes.resize(4 * self.rows * self.dims)
        self._index.ntotal = self.rows
        values = faiss.rev_swig_ptr(self._index.get_xb(), self.rows * self.dims)
        room = values.reshape(self.rows, self.dims)
        for start, block in vectors.blocks():
            room[start : start + len(block)] = block

    def search(self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None) -> Ends:
        """The k nearest and furthest rows; see the protocol."""
        allowed = check_filter(allowed, self.rows, self.alive)
        count = check_k(k) + SLACK
        if few_rows(self.rows, count, allowed):
            return self._exact.search(queries, k, allowed=allowed)
        queries = unit_rows(queries, self.dims, "query")
        ends = empty_ends(len(queries), k)
        selector, _bitmap = selection(allowed)
        options = load_faiss().SearchParameters(sel=selector)
        both = np.concatenate((queries, -queries))
        scores, found = self._index.search(both, count, params=options)
        for i, query in enumerate(queries):
            for hits, rows in zip(ends, (found[i], found[len(queries) + i]), strict=True):
                settle(self.vectors, query, rows[rows >= 0], hits, i, hits is ends.furthest)
        # Where even the spare candidates tie with the k-th, equal rows of lower number may be
        # missing: FAISS does not say which of them it returns.
        tied = (scores[:, k - 1] - scores[:, -1] < TIE).reshape(2, -1).any(axis=0)
        if tied.any():
            again = self._exact.search(queries[tied], k, allowed=allowed)
            for hits, full in zip(ends, again, strict=True):
                _overwrite(hits, tied, full)
        return ends

    def all_scores(self, query: np.ndarray) -> np.ndarray:
        """(N,) cosine with every row; see the protocol."""
        return all_scores(self.vectors, query)


class ApproximateIndex:
    """An inverted-list, graph or product-quantised index over projected vectors.

    Args:
        kind: ``ivf``, ``hnsw`` or ``pq``.
        vectors: the vectors, for exact scores.
        projection: of vectors and queries.
        index: the FAISS index of the projected vectors.
        efforts: per end.
        alive: rows that were not deleted.
    """

    def __init__(
        self,
        kind: str,
        vectors: AnyVectors,
        projection: Projection,
        index: Any,
        efforts: Efforts,
        alive: np.ndarray | None = None,
    ) -> None:
        self.kind = kind
        self.vectors = vectors
        self.rows, self.dims = vectors.rows, vectors.dims
        self.projection = projection
        self.efforts, self.alive = efforts, alive
        self.complete = True
        """Whether a query for which FAISS finds fewer than k rows is scanned exactly instead."""
        self._index = index
        self._exact = ExactIndex(vectors)

    @classmethod
    def build(cls, kind: str, vectors: AnyVectors, seed: int = 0) -> ApproximateIndex:
        """Fits the projection, trains and fills the index, reading the vectors block by block.

        The efforts are the least that `kinds.efforts` lists.
        """
        if kind not in ("ivf", "hnsw", "pq"):
            raise ValueError(f"{kind!r} is not an approximate index kind")
        projection = Projection.fit(vectors, kinds.projected_dims(vectors.rows, vectors.dims), seed)
        index = _new_index(kind, projection.width, vectors.rows)
        index.train(_as_entries(kind, _training_sample(vectors, projection, seed)))
        for _, block in vectors.blocks():
            index.add(_as_entries(kind, projection(block)))
        least = Effort(kinds.efforts(kind, vectors.rows)[0])
        return cls(kind, vectors, projection, index, Efforts(least, least))

    @classmethod
    def load(
        cls,
        kind: str,
        vectors: AnyVectors,
        index: Path,
        projection: Path,
        efforts: Efforts,
        alive: np.ndarray | None = None,
    ) -> ApproximateIndex:
        """Reads what `save` wrote. FAISS believes what it reads, so a caller makes sure first
        that the file is what was written.

        Raises:
            ValueError: the files do not fit the vectors.
        """
        basis = Projection.load(projection, vectors.dims)
        try:
            loaded = load_faiss().read_index(str(index))
        except RuntimeError as error:
            raise ValueError("not a FAISS index") from error
        width = basis.width + (kind == "hnsw")
        if loaded.ntotal != vectors.rows or loaded.d != width:
            raise ValueError(f"the FAISS index holds {loaded.ntotal} x {loaded.d} values")
        return cls(kind, vectors, basis, loaded, efforts, alive)

    def extend(self, rows: np.ndarray) -> None:
        """Adds (n, D) float32 unit rows to the FAISS index, not to the vectors."""
        self._index.add(_as_entries(self.kind, self.projection(rows)))

    def save(
        self, index: Path, projection: Path, revision: int = 0
    ) -> tuple[FileRecord, FileRecord]:
        """Writes the FAISS index and the projection to the two files.

        Raises:
            OSError: they cannot be written.
        """
        return write_file(index, self._write, revision), self.projection.save(projection, revision)

    def _write(self, file: CheckedFile) -> None:
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

    def search(self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None) -> Ends:
        """The k nearest and furthest rows; see the protocol.

        Scores are exact, and a query gets all k rows wherever so many are allowed: it is scanned
        exactly where the candidates are a good part of the rows, and where too few were found.
        """
        queries = unit_rows(queries, self.dims, "query")
        allowed = check_filter(allowed, self.rows, self.alive)
        ends = empty_ends(len(queries), check_k(k))
        counts = [kinds.candidates(k, effort.factor) for effort in self._both()]
        if few_rows(self.rows, max(counts), allowed):
            return self._exact.search(queries, k, allowed=allowed)
        wanted = min(k, self.rows if allowed is None else int(allowed.sum()))
        projected = self.projection(queries)
        selector, _bitmap = selection(allowed)
        wanted_share = 1.0 if allowed is None else float(allowed.mean())
        short = np.zeros(len(queries), bool)
        for hits, sign, effort, count in zip(ends, (1, -1), self._both(), counts, strict=True):
            options = self._options(effort, count, selector, wanted_share)
            asked = _as_questions(self.kind, sign * projected)
            found = self._index.search(asked, count, params=options)[1]
            for i, (query, padded) in enumerate(zip(queries, found, strict=True)):
                rows = padded[padded >= 0]
                short[i] |= len(rows) < wanted
                settle(self.vectors, query, rows, hits, i, sign < 0)
        if self.complete and short.any():
            again = self._exact.search(queries[short], k, allowed=allowed)
            for hits, full in zip(ends, again, strict=True):
                _overwrite(hits, short, full)
        return ends

    def all_scores(self, query: np.ndarray) -> np.ndarray:
        """(N,) cosine with every row; see the protocol."""
        return all_scores(self.vectors, query)

    def _both(self) -> tuple[Effort, Effort]:
        return self.efforts.nearest, self.efforts.furthest

    def _options(self, effort: Effort, count: int, selector: Any, share: float) -> Any:
        faiss = load_faiss()
        if self.kind == "hnsw":
            # of what the walk meets only the allowed share counts, so it has to be wider
            width = math.ceil(max(effort.width, count) / share)
            return faiss.SearchParametersHNSW(sel=selector, efSearch=width)
        return faiss.SearchParametersIVF(sel=selector, nprobe=effort.width)


def few_rows(rows: int, candidates: int, allowed: np.ndarray | None) -> bool:
    """Whether scanning the (allowed) rows exactly beats scoring candidates among them."""
    if candidates >= kinds.CANDIDATE_SHARE * rows:
        return True
    return allowed is not None and int(allowed.sum()) < kinds.FILTER_SHARE * rows


def selection(allowed: np.ndarray | None) -> tuple[Any, np.ndarray | None]:
    """FAISS's selector of the allowed rows, and the bitmap that must outlive it."""
    if allowed is None:
        return None, None
    bitmap = np.packbits(allowed, bitorder="little")
    return load_faiss().IDSelectorBitmap(bitmap), bitmap


def _overwrite(hits: Hits, where: np.ndarray, full: Hits) -> None:
    hits.rows[where] = full.rows
    hits.scores[where] = full.scores


def _as_entries(kind: str, projected: np.ndarray) -> np.ndarray:
    """Projected rows (n, P) as the index holds them.

    A graph by inner product has hubs and corners that a walk does not leave. Rows of a graph
    get one more coordinate that makes them unit vectors again, and questions a zero there: the
    Euclidean order of unit vectors is that of the inner product, and the graph is a proper one.
    """
    if kind != "hnsw":
        return projected
    rest = 1 - np.square(projected).sum(axis=1, keepdims=True)
    return np.hstack((projected, np.sqrt(np.maximum(rest, 0)))).astype(np.float32)


def _as_questions(kind: str, projected: np.ndarray) -> np.ndarray:
    """Projected queries (n, P) as the index wants them; see `_as_entries`."""
    if kind != "hnsw":
        return projected
    return np.hstack((projected, np.zeros((len(projected), 1), np.float32)))


def _new_index(kind: str, width: int, rows: int) -> Any:
    faiss = load_faiss()
    metric, half = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer.QT_fp16
    if kind == "hnsw":
        index = faiss.IndexHNSWSQ(width + 1, half, kinds.HNSW_LINKS, faiss.METRIC_L2)
        index.hnsw.efConstruction = BUILD_WIDTH
        return index
    lists = kinds.lists(rows)
    quantizer = faiss.IndexFlatIP(width)
    if kind == "ivf":
        index = faiss.IndexIVFScalarQuantizer(quantizer, width, lists, half, metric, False)
    else:
        codes = kinds.code_bytes(width)
        index = faiss.IndexIVFPQ(quantizer, width, lists, codes, 8, metric)
        index.pq.cp.min_points_per_centroid = 1
        index.pq.cp.niter = 10
    index.cp.min_points_per_centroid = 1  # no warnings about small collections
    return index


def _training_sample(vectors: AnyVectors, projection: Projection, seed: int) -> np.ndarray:
    """(n, P) float32 projections of random rows, repeated where there are too few for codes."""
    rng = np.random.default_rng(seed + 1)
    count = kinds.training_rows(vectors.rows)
    rows = np.sort(rng.choice(vectors.rows, count, replace=False))
    sample = np.empty((count, projection.width), np.float32)
    for start, block in vectors.blocks(rows):
        sample[start : start + len(block)] = projection(block)
    rng.shuffle(sample)
    return np.resize(sample, (max(count, PQ_MINIMUM), projection.width))
