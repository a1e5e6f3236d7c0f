"""The sketch: one byte for each of the leading principal directions, and exact scores of the best.

A search reads the codes of all rows once, in integers, and takes the candidates of both ends from
that single pass; the vectors themselves are read for the candidates only. Lists or graphs would
read less, but the rows furthest from a query are spread over all lists and few links lead there,
and they would have to be visited once for each end.

The inner product of codes and query differs from the cosine by what lies outside the basis, at
most |x_r| |y_r| (see `ris.index.approximate`), and by the rounding of the codes, which is smaller.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ris.index.approximate import Approximate, Projection, sample_rows
from ris.index.files import (
    CODER,
    CODES,
    CheckedFile,
    FileRecord,
    Files,
    damaged,
    write_arrays,
    write_file,
)
from ris.index.kind import BUFFERS, Efforts
from ris.index.vectors import StoredVectors
from ris.ops.scan import CODE_LEVELS, MOST_WIDTH, QUERY_LEVELS, code_ends, half_cosines

DIMS = (256, 128)
"""Bytes of a row's sketch in a small and in a large collection. Half the bytes cost hard hair
masks, whose energy is spread the widest, 1 % of recall, and save half of a large scan."""
SMALL = 64 << 20  # bytes of codes that are read in a few milliseconds
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
    def fit(cls, vectors: StoredVectors, seed: int = 0) -> Coder:
        """Directions and steps from a random sample of the vectors."""
        width = Sketch.width(vectors.rows, vectors.dims)
        projection = Projection.fit(vectors, width, seed, turned=False)
        inside = projection(sample_rows(vectors, seed))
        steps = np.abs(inside).max(axis=0) * (MARGIN / CODE_LEVELS)
        return cls(projection, np.maximum(steps, 1e-12).astype(np.float32))

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """(n, D) float32 rows -> (n, P) int8."""
        levels = np.rint(self.projection(rows) / self.steps)
        codes: np.ndarray = levels.clip(-CODE_LEVELS, CODE_LEVELS).astype(np.int8)
        return codes

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


class Sketch(Approximate):
    """Cosine search by codes.

    Args:
        vectors: for exact scores.
        coder: that the codes were made with.
        files: of the codes, (N, P) int8, memory-mapped, which may be longer; compared with their
            checksum before they are first used.
        efforts: candidates per end; the width means nothing here.
        alive: rows that were not deleted.

    Raises:
        ValueError: the codes are shorter.
    """

    name = "sketch"
    cost = "a mapped byte for each of 128 or 256 directions; reads these, then candidates"
    files = frozenset((CODES, CODER))
    factors = (1, 2, 4, 8)
    one_pass = True

    def __init__(
        self,
        vectors: StoredVectors,
        coder: Coder,
        files: Files,
        efforts: Efforts | None = None,
        alive: np.ndarray | None = None,
    ) -> None:
        super().__init__(vectors, efforts, alive)
        self.coder, self._files = coder, files
        shape = (vectors.rows, coder.projection.width)
        self.codes: np.ndarray = np.memmap(files.path(CODES), np.int8, "r", shape=shape).view(
            np.ndarray
        )
        self._checked = False
        self._grown: CheckedFile | None = None

    @classmethod
    def width(cls, rows: int, dims: int) -> int:
        """Directions, and bytes of a row."""
        return min(DIMS[0] if cls.is_small(rows) else DIMS[1], dims, rows)

    @classmethod
    def is_small(cls, rows: int) -> bool:
        """Whether the wider sketch of so many rows is scanned in good time."""
        return rows * DIMS[0] <= SMALL

    @classmethod
    def held_bytes(cls, rows: int, dims: int) -> int:
        """The basis and the codes, which are mapped."""
        width = cls.width(rows, dims)
        return BUFFERS + 4 * dims * width + rows * width

    @classmethod
    def widths(cls, rows: int) -> tuple[int, ...]:
        """A single one: every search reads all codes."""
        return (1,)

    @classmethod
    def aims(cls, rows: int) -> tuple[float, float]:
        """Small sketches have time for more candidates."""
        return (0.999, 0.001) if cls.is_small(rows) else super().aims(rows)

    @classmethod
    def scans(cls, rows: int, among: int, count: int) -> bool:
        """Where no fewer vectors would be read than by the exact scan."""
        return 2 * count >= among

    @classmethod
    def build(cls, vectors: StoredVectors, folder: Path) -> tuple[Sketch, dict[str, FileRecord]]:
        """Fits the coder and writes the codes."""
        coder = Coder.fit(vectors)

        def write(file: CheckedFile) -> None:
            for _, block in vectors.blocks():
                file.write(coder.codes(block))

        records = {
            CODES: write_file(folder / CODES, write),
            CODER: coder.save(folder / CODER),
        }
        return cls(vectors, coder, Files(folder, records)), records

    @classmethod
    def load(
        cls, vectors: StoredVectors, files: Files, efforts: Efforts | None, alive: np.ndarray | None
    ) -> Sketch:
        """Maps the codes."""
        return cls(vectors, Coder.load(files.path(CODER), vectors.dims), files, efforts, alive)

    def extend(self, rows: np.ndarray) -> None:
        """Appends the rows' codes to the file."""
        if self._grown is None:
            self._grown = CheckedFile(self._files.path(CODES), self._files.records[CODES])
        self._grown.write(self.coder.codes(rows))

    def save(self, revision: int) -> dict[str, FileRecord]:
        """Closes the file of codes where it has grown."""
        return {} if self._grown is None else {CODES: self._grown.close()}

    def abandon(self) -> None:
        """Closes the file of codes."""
        if self._grown is not None:
            self._grown.abandon()

    def _candidates(
        self, queries: np.ndarray, counts: tuple[int, int], allowed: np.ndarray | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if not self._checked:
            if zlib.crc32(self.codes.reshape(-1).data) != self._files.records[CODES].crc32:
                raise damaged(
                    self._files.folder.parent, f"{CODES} is not the file that was written"
                )
            self._checked = True
        for query in queries:
            near, far = code_ends(self.codes, self.coder.query(query), max(counts), allowed)
            yield near[: counts[0]], far[: counts[1]]
