"""The files of an index's vectors: dense or sparse, appended to and never rewritten."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from index.sparse import SparseVectors, pack, saves_room
from index.vectors import Vectors

DENSE = ("vectors.f16",)
SPARSE = ("ends.i64", "channels.u16", "values.f16")

AnyVectors = Vectors | SparseVectors


def open_vectors(folder: Path, rows: int, dims: int) -> AnyVectors:
    """The vectors in a folder; the files may be longer than N rows.

    Raises:
        ValueError: they are shorter.
        OSError: they cannot be read.
    """
    if (folder / SPARSE[0]).exists():
        ends, channels, values = (folder / name for name in SPARSE)
        return SparseVectors(ends, channels, values, rows, dims)
    return Vectors(folder / DENSE[0], rows, dims)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes an .npz without pickled objects."""
    np.savez(path, **arrays)  # type: ignore[arg-type]


class VectorFiles:
    """Appends rows to the files of a folder, until `close`.

    The first rows decide between the two layouts.

    Args:
        folder: where the files are or will be.
        dims: D.
        rows: number of rows that are there already; what a dead run wrote beyond is cut off.
    """

    def __init__(self, folder: Path, dims: int, rows: int = 0) -> None:
        self.folder, self.dims, self.rows = folder, dims, rows
        self._files: list[BinaryIO] = []
        self._values = 0
        if rows:
            existing = open_vectors(folder, rows, dims)
            if isinstance(existing, SparseVectors):
                self._values = existing.count
                sizes = {SPARSE[0]: 8 * rows} | dict.fromkeys(SPARSE[1:], 2 * self._values)
            else:
                sizes = {DENSE[0]: 2 * rows * dims}
            for name, size in sizes.items():
                os.truncate(folder / name, size)
            self._open(tuple(sizes))

    def append(self, unit: np.ndarray) -> None:
        """Adds (n, D) float32 unit rows."""
        if not len(unit):
            return
        if not self._files:
            self._open(SPARSE if saves_room(unit) else DENSE)
        half = unit.astype("<f2")
        parts: tuple[np.ndarray, ...] = (half,)
        if len(self._files) == len(SPARSE):
            parts = pack(half, self._values)
            self._values += len(parts[1])
        for file, part in zip(self._files, parts, strict=True):
            part.tofile(file)
        self.rows += len(unit)

    def close(self) -> None:
        """Flushes and closes the files."""
        for file in self._files:
            file.close()

    def _open(self, names: tuple[str, ...]) -> None:
        self._files = [(self.folder / name).open("ab") for name in names]
