"""Adds rows to an index and deletes others without building it anew; see `ris.index.directory`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ris.data.durable import sync_folder
from ris.index.approximate import ApproximateIndex
from ris.index.directory import open_index
from ris.index.files import (
    ATTACHED,
    CODES,
    FAISS,
    IDS,
    PROJECTION,
    CheckedFile,
    write_array,
    write_arrays,
)
from ris.index.locked import FolderChange, LockedFolder
from ris.index.meta import IndexMeta
from ris.index.searching import unit_rows
from ris.index.sketch import SketchIndex
from ris.index.storage import VectorFiles


class IndexAppender(FolderChange):
    """Changes an index in place; a context manager.

    What was learned from the rows when the index was built (projection, lists, codes, efforts)
    stays, so a caller that adds many rows builds anew. Leaving the block without `finish` leaves
    the index as it was.

    Args:
        folder: an index whose rows have ids.

    Raises:
        StoreError: another run is writing this index, or it is damaged.
        IndexMissingError: there is none.
        ValueError: its rows have no ids.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._lock = LockedFolder(self.folder)
        self._files: VectorFiles | None = None
        self._codes: CheckedFile | None = None
        try:
            self._opened = open_index(self.folder)
            if self._opened.ids is None:
                raise ValueError(f"the rows of {folder} have no ids")
        except BaseException:
            self._lock.release()
            raise
        self.meta = self._opened.meta
        self.attached = self._opened.attached
        self.ids: np.ndarray = np.array(self._opened.ids)
        """(N,) bytes of the rows before anything was appended; empty where deleted."""
        self._new_ids: list[bytes] = []
        self._build = self.folder / self.meta.build
        self._open = True

    @property
    def rows(self) -> int:
        """Rows with what was appended, deleted ones included."""
        return len(self.ids) + len(self._new_ids)

    @property
    def gone(self) -> int:
        """Deleted rows among them."""
        return int(np.count_nonzero(self.ids == b""))

    def drop(self, rows: np.ndarray) -> None:
        """Deletes rows, given by number, of those that were there before."""
        self.ids[rows] = b""

    def append(self, rows: np.ndarray, ids: Sequence[str]) -> None:
        """Adds (n, D) float32 rows of any length with their ids at the end.

        Raises:
            ValueError: as `ris.index.writer.IndexWriter.append`.
        """
        unit = unit_rows(rows, self.meta.dims, "index")
        if len(ids) != len(unit):
            raise ValueError(f"{len(ids)} ids for {len(unit)} rows")
        if not len(unit):
            return
        if self._files is None:
            self._files = VectorFiles(self._build, self.meta.dims, self.meta.rows, self.meta.files)
        self._files.append(unit)
        self._new_ids += [name.encode() for name in ids]
        self._extend(unit.astype(np.float16).astype(np.float32))

    def finish(self, extra: Mapping[str, Any], attached: Mapping[str, np.ndarray]) -> IndexMeta:
        """Publishes what was appended and deleted.

        Args:
            extra: replaces `IndexMeta.extra`.
            attached: replaces the arrays that are kept with the index.

        Returns:
            What was written to meta.json.

        Raises:
            OSError: something could not be written; nothing is published then.
        """
        files = dict(self.meta.files)
        if self._files is not None:
            files |= self._files.close()
        if self._codes is not None:
            files[CODES] = self._codes.close()
        revision = self.meta.revision + 1
        names = np.array(self._new_ids) if self._new_ids else np.empty(0, "S1")
        ids = np.concatenate((self.ids, names))
        files[IDS] = write_array(self._build / IDS, ids, revision)
        files[ATTACHED] = write_arrays(self._build / ATTACHED, attached, revision)
        index = self._opened.index
        if isinstance(index, ApproximateIndex) and self._new_ids:
            saved = index.save(self._build / FAISS, self._build / PROJECTION, revision)
            files.update(zip((FAISS, PROJECTION), saved, strict=True))
        sync_folder(self._build)
        result = replace(
            self.meta,
            rows=self.rows,
            files=files,
            bytes=sum(record.bytes for record in files.values()),
            gone=self.gone,
            extra=dict(extra),
        )
        self._lock.publish(result.to_json())
        self._lock.clean()
        return result

    def abort(self) -> None:
        """Lets go of the index; what was not published is cut off by the next run."""
        if self._open:
            self._open = False
            if self._files is not None:
                self._files.abandon()
            if self._codes is not None:
                self._codes.abandon()
            self._lock.release()

    def _extend(self, rows: np.ndarray) -> None:
        index = self._opened.index
        if isinstance(index, ApproximateIndex):
            index.extend(rows)
        if isinstance(index, SketchIndex):
            if self._codes is None:
                self._codes = CheckedFile(self._build / CODES, self.meta.files[CODES])
            for part in index.coder.codes([(0, rows)]):
                self._codes.write(part)
