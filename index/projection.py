"""Projection of the vectors to a few hundred dimensions that keeps inner products.

With an orthonormal basis B (D, P) the inner product of projections is
<B'x, B'y> = <x, y> - <x_r, y_r>, x_r being the part of x outside the basis. The basis spans the
principal directions of a sample *without subtracting its mean*: the residuals are then as short
as P directions can make them, and the error is at most |x_r| |y_r|. (Centring would change the
inner products by terms that differ from row to row, and so the ranking.) Queries come from the
rows' population, so the bound holds for them and, the projection being linear, for their
negatives. Projections are not scaled to length 1 again: that would change the ranking too.

Inside the basis the axes of FAISS's kinds are rotated at random. Inner products do not notice, but
every group of axes then carries the same share of the variance, which product quantisation needs:
unrotated, 32 bytes lose a tenth of the neighbours that they keep when rotated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ris.index.files import FileRecord, write_arrays
from ris.index.storage import AnyVectors

SAMPLE = 4096  # rows behind the basis
OVERSAMPLE = 16  # extra directions that make the subspace iteration converge fast
ITERATIONS = 3


@dataclass(frozen=True)
class Projection:
    """An orthonormal basis: (D, P) float32."""

    basis: np.ndarray

    @classmethod
    def fit(cls, vectors: AnyVectors, width: int, seed: int, *, turned: bool = True) -> Projection:
        """The basis of the `width` leading principal directions of a random sample.

        Turned at random inside the basis, or the strongest direction first. They are the leading
        eigenvectors of the sample's Gram matrix, found by subspace iteration: a full
        decomposition takes ten times as long and any basis close to them serves.
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


def sample_rows(vectors: AnyVectors, seed: int) -> np.ndarray:
    """(n, D) float32: at most `SAMPLE` random rows, in their order."""
    rng = np.random.default_rng(seed)
    count = min(SAMPLE, vectors.rows)
    rows = np.sort(rng.choice(vectors.rows, count, replace=False))
    sample = np.empty((count, vectors.dims), np.float32)
    for start, block in vectors.blocks(rows):
        sample[start : start + len(block)] = block
    return sample
