"""The folder of one index: layout, commit and opening.

::

    index/eyes/
        meta.json            the current build: kind, size, parameters, recall, files
        build-3f9c0a1b/      its files
            vectors.f16      float16, little-endian, row-major (N, D), unit rows
            ids.npy          (N,) bytes, the face id of every row, where ids were given
            faiss.index      ivf, hnsw and pq only
            projection.npz   ivf, hnsw and pq only

Commit order: 1 everything is written to ``.tmp-XXXXXXXX/`` and synced, 2 that folder is renamed
to ``build-XXXXXXXX/``, 3 ``meta.json``, which names it, replaces the old one in a single rename,
the commit point, 4 the folder is synced, 5 the former build is deleted. A run that dies before 3
leaves the former index as it was (or none where there was none), one that dies later leaves the
new one; there is no moment with neither. What a dead run left is deleted by the next one.

One run writes an index at a time: it holds a lock beside the folder, which the system releases
when the run dies. Reading needs no lock: an index that is open keeps its mapped files when a new
build replaces them, and opening tries again when a build was replaced under its hands.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout

from data.durable import disk_error, replacing, sync_file, sync_folder
from index import kinds, recall
from index.approximate import ApproximateIndex, Efforts, FlatIndex
from index.exact import ExactIndex
from index.meta import (
    BUILD,
    FAISS,
    IDS,
    META,
    PROJECTION,
    VECTORS,
    FileRecord,
    IndexMeta,
    damaged,
    read_meta,
    reason,
)
from index.protocol import VectorIndex, unit_rows
from index.recall import Recall, Truth
from index.vectors import Vectors
from ris.errors import IndexMissingError, StoreError

MEMORY = 4 << 30  # bytes that searching may hold unless told otherwise
TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class OpenIndex:
    """An index with what is known of it.

    Attributes:
        index: to search.
        meta: its meta.json.
        ids: (N,) bytes, memory-mapped, the face id of every row; None if none were given.
    """

    index: VectorIndex
    meta: IndexMeta
    ids: np.ndarray | None


class IndexWriter:
    """Writes one index; a context manager.

    ::

        with IndexWriter(folder, dims) as writer:
            for rows, ids in batches:
                writer.append(rows, ids)
            report = writer.finish("ivf", {"feature": "eyes"})

    Leaving the block without `finish`, or by an exception, leaves the former index untouched and
    nothing of the new one.

    Args:
        final_dir: the index's folder, e.g. ``.ris/index/eyes``.
        dims: D.

    Raises:
        StoreError: another run is writing this index.
    """

    def __init__(self, final_dir: Path, dims: int) -> None:
        if dims < 1:
            raise ValueError(f"vectors have at least 1 dimension, not {dims}")
        self.final_dir, self.dims, self.rows = Path(final_dir), dims, 0
        try:
            self.final_dir.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.final_dir.with_name(f".{self.final_dir.name}.lock"))
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise StoreError(
                f"{final_dir} is being written by another run: wait for it to end"
            ) from error
        except OSError as error:
            raise disk_error(error, self.final_dir) from error
        try:
            self.final_dir.mkdir(exist_ok=True)  # a writer that gave up may have removed it
            self._clean()
            token = secrets.token_hex(4)
            self._build = BUILD + token
            self._temporary = self.final_dir / (TEMPORARY + token)
            self._temporary.mkdir()
            self._file: BinaryIO = (self._temporary / VECTORS).open("wb")
        except BaseException:
            self._lock.release()
            raise
        self._ids: list[np.ndarray] = []
        self._open = True

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()
        if isinstance(error, OSError):
            raise disk_error(error, self.final_dir) from error

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
        self._file.write(unit.astype("<f2").tobytes())
        if ids is not None:
            self._ids.append(np.array([name.encode() for name in ids]))
        self.rows += len(unit)

    def finish(self, kind: str, meta: Mapping[str, Any], memory: int = MEMORY) -> dict[str, Any]:
        """Builds, measures and publishes the index.

        Args:
            kind: one of `index.kinds.KINDS`, or ``"auto"`` for `index.kinds.choose_kind`.
            meta: JSON values to keep with the index, as `IndexMeta.extra`.
            memory: bytes that searching may hold; decides ``"auto"`` only.

        Returns:
            What was written to meta.json; see `IndexMeta`.

        Raises:
            ValueError: no rows, or an unknown kind.
            RisError: the kind needs FAISS, which is not installed.
        """
        if not self.rows:
            raise ValueError("an index needs at least one row")
        if kind == "auto":
            kind = kinds.choose_kind(self.rows, self.dims, memory)
        kinds.check_kind(kind)
        self._file.close()
        if self._ids:
            np.save(self._temporary / IDS, np.concatenate(self._ids), allow_pickle=False)
        efforts, reached = self._build_kind(kind)
        names = sorted(path.name for path in self._temporary.iterdir())
        for name in names:
            sync_file(self._temporary / name)
        files = {name: FileRecord.of(self._temporary / name) for name in names}
        total = sum(record.bytes for record in files.values())
        result = IndexMeta(
            kind, self.rows, self.dims, self._build, files, efforts, reached, total, dict(meta)
        )
        report = asdict(result)
        self._publish(json.dumps(report, indent=1))
        return report

    def _build_kind(self, kind: str) -> tuple[dict[str, dict[str, int]] | None, Recall]:
        vectors = Vectors(self._temporary / VECTORS, self.rows, self.dims)
        if kind in ("exact", "flat"):
            return None, Recall(1.0, 1.0, recall.K, 0)
        index = ApproximateIndex.build(kind, vectors)
        truth = Truth.measure(vectors, queries=2 * recall.QUERIES)
        recall.tune(index, truth.half(0))
        index.save(self._temporary / FAISS, self._temporary / PROJECTION)
        return index.efforts.to_json(), truth.half(1).recall(index)

    def _publish(self, text: str) -> None:
        sync_folder(self._temporary)
        self._temporary.rename(self.final_dir / self._build)
        sync_folder(self.final_dir)
        with replacing(self.final_dir / META) as draft:  # its rename is the commit point
            draft.write_text(text, encoding="utf-8")
        self._remove(BUILD, keep=self._build)

    def abort(self) -> None:
        """Drops what was not published; does nothing after `finish`."""
        if not self._open:
            return
        self._open = False
        self._file.close()
        try:
            self._clean()
            if not any(self.final_dir.iterdir()):
                self.final_dir.rmdir()
        finally:
            self._lock.release()

    def _clean(self) -> None:
        """Deletes what dead runs left; the lock keeps live ones out."""
        try:
            self._remove(BUILD, keep=read_meta(self.final_dir).build)
        except IndexMissingError:
            self._remove(BUILD)
        except StoreError:
            pass  # of another version, perhaps: it stays until there is a new index
        self._remove(TEMPORARY)
        self._remove(f".{META}{TEMPORARY}")

    def _remove(self, prefix: str, keep: str | None = None) -> None:
        for path in self.final_dir.glob(prefix + "*"):
            if path.name == keep:
                continue
            if path.is_dir() and not path.is_symlink():
                # A system that cannot delete open files leaves them to the next run.
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def open_index(folder: Path) -> OpenIndex:
    """Opens the index in a folder.

    Size and edges of every file are compared with meta.json, which takes milliseconds whatever
    the size.

    Raises:
        IndexMissingError: there is none.
        StoreError: a file is missing, truncated, of another build or not what it should be.
        RisError: its kind needs FAISS, which is not installed.
    """
    folder = Path(folder)
    meta = read_meta(folder)
    while True:
        try:
            return _open(folder, meta)
        except OSError as error:
            newer = read_meta(folder)
            if newer.build == meta.build:
                name = Path(getattr(error, "filename", None) or meta.build).name
                raise damaged(folder, f"{name} cannot be read") from error
            meta = newer  # replaced between reading meta.json and opening


def _open(folder: Path, meta: IndexMeta) -> OpenIndex:
    build = folder / meta.build
    for name, expected in meta.files.items():
        found = FileRecord.of(build / name)
        if found.bytes != expected.bytes:
            raise damaged(folder, f"{name} has {found.bytes} bytes, expected {expected.bytes}")
        if found.edges != expected.edges:
            raise damaged(folder, f"{name} is not the file that was written")
    if meta.files[VECTORS].bytes != 2 * meta.rows * meta.dims:
        raise damaged(folder, f"{VECTORS} does not hold {meta.rows} x {meta.dims} values")
    try:
        ids = None
        if IDS in meta.files:
            ids = np.load(build / IDS, mmap_mode="r", allow_pickle=False)
            if ids.shape != (meta.rows,) or ids.dtype.kind != "S":
                raise ValueError(f"{IDS} does not hold {meta.rows} ids")
        return OpenIndex(_load(build, meta), meta, ids)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(folder, reason(error)) from error


def _load(build: Path, meta: IndexMeta) -> VectorIndex:
    vectors = Vectors(build / VECTORS, meta.rows, meta.dims)
    if meta.kind == "exact":
        return ExactIndex(vectors)
    if meta.kind == "flat":
        return FlatIndex(vectors)
    efforts = Efforts.from_json(meta.efforts or {})
    return ApproximateIndex.load(meta.kind, vectors, build / FAISS, build / PROJECTION, efforts)
