"""Writes one index, or changes one in place, as the only run that does so.

See `ris.index.directory` for the layout and the commit order.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from ris.data.durable import disk_error, sync_folder
from ris.index import DEFAULT_MEMORY, choose_kind, kind_of
from ris.index.directory import TEMPORARY, LockedFolder, open_index
from ris.index.files import ATTACHED, IDS, write_array, write_arrays
from ris.index.kind import unit_rows
from ris.index.meta import BUILD, IndexMeta
from ris.index.vectors import VectorFiles, open_vectors

Change = TypeVar("Change", bound="FolderChange")


class FolderChange(ABC):
    """A change of an index's folder, as a context manager: left without having published
    anything, it leaves the index as it was; an error of the disk ends in a `StoreError`.

    Args:
        folder: the index's folder, e.g. ``.ris/index/eyes``.

    Raises:
        StoreError: another run is writing this index.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._lock = LockedFolder(self.folder)
        self._open = True
        try:
            self._files, self.dims = self._begin()
        except BaseException as error:
            self._lock.release()
            if isinstance(error, OSError):
                raise disk_error(error, self.folder) from error
            raise

    @abstractmethod
    def _begin(self) -> tuple[VectorFiles, int]:
        """The files that rows are appended to, and the rows' D."""

    def __enter__(self: Change) -> Change:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()
        if isinstance(error, OSError):
            raise disk_error(error, self.folder) from error

    def abort(self) -> None:
        """Drops what was not published; does nothing where there is nothing to drop."""
        if self._open:
            self._open = False
            self._files.abandon()
            self._lock.release()

    def _append(self, rows: np.ndarray, ids: Sequence[str] | None) -> np.ndarray:
        """Adds rows at the end; returns them as (n, D) float32 of length 1."""
        unit = unit_rows(rows, self.dims, "index")
        if ids is not None and len(ids) != len(unit):
            raise ValueError(f"{len(ids)} ids for {len(unit)} rows")
        self._files.append(unit)
        return unit


class IndexWriter(FolderChange):
    """Writes one index.

    ::

        with IndexWriter(folder, dims) as writer:
            for rows, ids in batches:
                writer.append(rows, ids)
            meta = writer.finish("sketch", {"feature": "eyes"})

    Args:
        folder: the index's folder.
        dims: D.
    """

    def __init__(self, folder: Path, dims: int) -> None:
        if dims < 1:
            raise ValueError(f"vectors have at least 1 dimension, not {dims}")
        self._ids: list[np.ndarray] = []
        self._begun_with = dims
        super().__init__(folder)

    def _begin(self) -> tuple[VectorFiles, int]:
        token = secrets.token_hex(4)
        self._build = BUILD + token
        self._temporary = self.folder / (TEMPORARY + token)
        self._temporary.mkdir()
        return VectorFiles(self._temporary, self._begun_with), self._begun_with

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
        if self.rows and (ids is None) == bool(self._ids):
            raise ValueError("either all rows have ids or none")
        if len(self._append(rows, ids)) and ids is not None:
            self._ids.append(np.array([name.encode() for name in ids]))

    def finish(
        self,
        kind: str,
        extra: Mapping[str, Any],
        memory: int = DEFAULT_MEMORY,
        attached: Mapping[str, np.ndarray] | None = None,
    ) -> IndexMeta:
        """Builds, measures and publishes the index.

        Args:
            kind: one of `ris.index.KINDS`, or ``"auto"`` for `ris.index.choose_kind`.
            extra: JSON values to keep with the index, as `IndexMeta.extra`.
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
            kind_of(kind)
        files = self._files.close()
        if self._ids:
            files[IDS] = write_array(self._temporary / IDS, np.concatenate(self._ids))
        if attached:
            files[ATTACHED] = write_arrays(self._temporary / ATTACHED, attached)
        vectors = open_vectors(self._temporary, self.rows, self.dims)
        if kind == "auto":
            kind = choose_kind(self.rows, vectors.row_bytes, self.dims, memory)
        index, own = kind_of(kind).build(vectors, self._temporary)
        files |= own
        reached = index.tune()
        meta = IndexMeta(
            kind=kind,
            rows=self.rows,
            dims=self.dims,
            build=self._build,
            files=files,
            efforts=index.efforts.to_json() if index.efforts else None,
            recall=reached,
            bytes=sum(record.bytes for record in files.values()),
            built_rows=self.rows,
            extra=dict(extra),
        )
        sync_folder(self._temporary)
        self._temporary.rename(self.folder / self._build)
        sync_folder(self.folder)
        self._lock.publish(meta)
        return meta


class IndexAppender(FolderChange):
    """Adds rows to an index and deletes others without building it anew.

    What was learned from the rows when the index was built (projection, lists, codes, efforts)
    stays, so a caller that adds many rows builds anew.

    Args:
        folder: an index whose rows have ids.

    Raises:
        StoreError: another run is writing this index, or it is damaged.
        IndexMissingError: there is none.
        ValueError: its rows have no ids.
    """

    def _begin(self) -> tuple[VectorFiles, int]:
        opened = open_index(self.folder)
        if opened.ids is None:
            raise ValueError(f"the rows of {self.folder} have no ids")
        self._index, self.meta, self.attached = opened.index, opened.meta, opened.attached
        self.ids: np.ndarray = np.array(opened.ids)
        """(N,) bytes of the rows before anything was appended; empty where deleted."""
        self._new_ids: list[bytes] = []
        self._build = self.folder / self.meta.build
        return VectorFiles(
            self._build, self.meta.dims, self.meta.rows, self.meta.files
        ), self.meta.dims

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
            ValueError: as `IndexWriter.append`.
        """
        unit = self._append(rows, ids)
        if len(unit):
            self._new_ids += [name.encode() for name in ids]
            self._index.extend(unit.astype(np.float16).astype(np.float32))

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
        revision = self.meta.revision + 1
        files = {**self.meta.files, **self._files.close()}
        names = np.array(self._new_ids) if self._new_ids else np.empty(0, "S1")
        ids = np.concatenate((self.ids, names))
        files[IDS] = write_array(self._build / IDS, ids, revision)
        files[ATTACHED] = write_arrays(self._build / ATTACHED, attached, revision)
        files |= self._index.save(revision)
        sync_folder(self._build)
        meta = replace(
            self.meta,
            rows=self.rows,
            files=files,
            bytes=sum(record.bytes for record in files.values()),
            gone=self.gone,
            extra=dict(extra),
        )
        self._lock.publish(meta)
        return meta

    def abort(self) -> None:
        """Lets go of the index; what was not published is cut off by the next run."""
        if self._open:
            self._index.abandon()
        super().abort()
