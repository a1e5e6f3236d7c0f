"""The files of an index's vectors: dense or sparse, appended to and never rewritten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ris.index.files import DENSE, SPARSE, SUMS, CheckedFile, FileRecord
from ris.index.sparse import SparseVectors, pack, saves_room
from ris.index.vectors import Vectors
from ris.ops.sums import dense_sums, sparse_sums

AnyVectors = Vectors | SparseVectors


def open_vectors(folder: Path, rows: int, dims: int) -> AnyVectors:
    """The vectors in a folder; the files may be longer than N rows.

    Raises:
        ValueError: they are shorter.
        OSError: they cannot be read.
    """
    if (folder / SPARSE[0]).exists():
        ends, channels, values = (folder / name for name in SPARSE)
        return SparseVectors(ends, channels, values, rows, dims, folder / SUMS)
    return Vectors(folder / DENSE[0], rows, dims, folder / SUMS)


class VectorFiles:
    """Appends rows to the files of a folder, until `close`.

    The first rows decide between the two layouts.

    Args:
        folder: where the files are or will be.
        dims: D.
        rows: number of rows that are there already; what a dead run wrote beyond is cut off.
        records: of their files.
    """

    def __init__(
        self,
        folder: Path,
        dims: int,
        rows: int = 0,
        records: Mapping[str, FileRecord] | None = None,
    ) -> None:
        self.folder, self.dims, self.rows = folder, dims, rows
        self._files: dict[str, CheckedFile] = {}
        self._values = 0
        if records:
            sparse = SPARSE[0] in records
            self._open(SPARSE if sparse else DENSE, records)
            self._values = records[SPARSE[1]].bytes // 2 if sparse else 0

    def append(self, unit: np.ndarray) -> None:
        """Adds (n, D) float32 unit rows."""
        if not len(unit):
            return
        if not self._files:
            self._open(SPARSE if saves_room(unit) else DENSE)
        half = unit.astype("<f2")
        if SPARSE[0] in self._files:
            ends, channels, values = pack(half, self._values)
            sums = sparse_sums(ends - self._values, channels, values, self.dims)
            parts = dict(zip(SPARSE, (ends, channels, values), strict=True))
            self._values += len(values)
        else:
            sums = dense_sums(half)
            parts = {DENSE[0]: half}
        for name, part in (parts | {SUMS: sums.astype("<u4")}).items():
            self._files[name].write(part)
        self.rows += len(unit)

    def close(self) -> dict[str, FileRecord]:
        """Makes the files durable; returns their records.

        Raises:
            OSError: some of it could not be written.
        """
        return {name: file.close() for name, file in self._files.items()}

    def abandon(self) -> None:
        """Closes the files, whatever becomes of them; does nothing after `close`."""
        for file in self._files.values():
            file.abandon()

    def _open(
        self, names: tuple[str, ...], records: Mapping[str, FileRecord] | None = None
    ) -> None:
        for name in (*names, SUMS):
            record = records[name] if records else None
            self._files[name] = CheckedFile(self.folder / name, record)
