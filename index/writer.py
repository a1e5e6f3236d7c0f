"""Writes one index from its rows; see `ris.index.directory` for the layout and the commit order."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ris.data.durable import disk_error, sync_folder
from ris.index import kinds, recall
from ris.index.approximate import ApproximateIndex
from ris.index.files import (
    ATTACHED,
    CODER,
    CODES,
    FAISS,
    IDS,
    PROJECTION,
    FileRecord,
    write_array,
    write_arrays,
)
from ris.index.locked import TEMPORARY, FolderChange, LockedFolder
from ris.index.meta import BUILD, IndexMeta
from ris.index.recall import Recall, Truth
from ris.index.searching import unit_rows
from ris.index.sketch import SketchIndex
from ris.index.storage import VectorFiles, open_vectors

MEMORY = 4 << 30  # bytes that searching may hold unless told otherwise


class IndexWriter(FolderChange):
    """Writes one index; a context manager.

    ::

        with IndexWriter(folder, dims) as writer:
            for rows, ids in batches:
                writer.append(rows, ids)
            report = writer.finish("sketch", {"feature": "eyes"})

    Leaving the block without `finish`, or by an exception, leaves the former index untouched and
    nothing of the new one.

    Args:
        folder: the index's folder, e.g. ``.ris/index/eyes``.
        dims: D.

    Raises:
        StoreError: another run is writing this index.
    """

    def __init__(self, folder: Path, dims: int) -> None:
        if dims < 1:
            raise ValueError(f"vectors have at least 1 dimension, not {dims}")
        super().__init__(folder)
        self.dims = dims
        self._folder = LockedFolder(self.folder)
        try:
            token = secrets.token_hex(4)
            self._build = BUILD + token
            self._temporary = self.folder / (TEMPORARY + token)
            self._temporary.mkdir()
        except OSError as error:
            self._folder.release()
            raise disk_error(error, self.folder) from error
        self._files = VectorFiles(self._temporary, dims)
        self._ids: list[np.ndarray] = []
        self._open = True

    @property
    def rows(self) -> int:
        """Rows appended so far."""
        return self._files.rows

    def append(self, rows: np.ndarray, ids: Sequence[str] | None = None) -> None:
        """Adds rows at the end.

        Args:
            rows: (n, D) float32 of any length; their direction is stored.
            ids: n face ids; either every call gives them or none does.

        Raises:
            ValueError: another shape, a zero or not finite row, or a wrong number of ids;
                nothing is added then.
        """
        unit = unit_rows(rows, self.dims, "index")
        if ids is not None and len(ids) != len(unit):
            raise ValueError(f"{len(ids)} ids for {len(unit)} rows")
        if self.rows and (ids is None) == bool(self._ids):
            raise ValueError("either all rows have ids or none")
        if not len(unit):
            return
        self._files.append(unit)
        if ids is not None:
            self._ids.append(np.array([name.encode() for name in ids]))

    def finish(
        self,
        kind: str,
        meta: Mapping[str, Any],
        memory: int = MEMORY,
        attached: Mapping[str, np.ndarray] | None = None,
    ) -> IndexMeta:
        """Builds, measures and publishes the index.

        Args:
            kind: one of `ris.index.kinds.KINDS`, or ``"auto"`` for `ris.index.kinds.choose_kind`.
            meta: JSON values to keep with the index, as `IndexMeta.extra`.
            memory: bytes that searching may hold; decides ``"auto"`` only.
            attached: arrays to keep with the index.

        Returns:
            What was written to meta.json.

        Raises:
            ValueError: no rows, or an unknown kind.
            RisError: the kind needs FAISS, which is not installed.
            OSError: something could not be written; nothing is published then.
        """
        if not self.rows:
            raise ValueError("an index needs at least one row")
        if kind != "auto":
            kinds.check_kind(kind)
        files = self._files.close()
        if self._ids:
            files[IDS] = write_array(self._temporary / IDS, np.concatenate(self._ids))
        if attached:
            files[ATTACHED] = write_arrays(self._temporary / ATTACHED, attached)
        kind, efforts, reached = self._build_kind(kind, memory, files)
        total = sum(record.bytes for record in files.values())
        result = IndexMeta(
            kind,
            self.rows,
            self.dims,
            self._build,
            files,
            efforts,
            reached,
            total,
            self.rows,
            extra=dict(meta),
        )
        sync_folder(self._temporary)
        self._temporary.rename(self.folder / self._build)
        sync_folder(self.folder)
        self._folder.publish(result.to_json())
        self._folder.clean()
        return result

    def _build_kind(
        self, kind: str, memory: int, files: dict[str, FileRecord]
    ) -> tuple[str, dict[str, dict[str, int]] | None, Recall]:
        vectors = open_vectors(self._temporary, self.rows, self.dims)
        if kind == "auto":
            kind = kinds.choose_kind(self.rows, vectors.row_bytes, self.dims, memory)
        if kind in ("exact", "flat"):
            return kind, None, Recall(1.0, 1.0, recall.K, 0)
        index: SketchIndex | ApproximateIndex
        if kind == "sketch":
            index, files[CODES] = SketchIndex.build(vectors, self._temporary / CODES)
            files[CODER] = index.coder.save(self._temporary / CODER)
        else:
            index = ApproximateIndex.build(kind, vectors)
        truth = Truth.measure(vectors, queries=2 * recall.QUERIES)
        recall.tune(index, truth.half(0))
        if isinstance(index, ApproximateIndex):
            saved = index.save(self._temporary / FAISS, self._temporary / PROJECTION)
            files.update(zip((FAISS, PROJECTION), saved, strict=True))
        return kind, index.efforts.to_json(), truth.half(1).recall(index)

    def abort(self) -> None:
        """Drops what was not published; does nothing after `finish` or another `abort`."""
        if self._open:
            self._open = False
            self._files.abandon()
            self._folder.release()
