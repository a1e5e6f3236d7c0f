"""The folder of one index: layout, commit, opening, checking and its lock.

::

    index/eyes/
        meta.json            the current state: kind, size, parameters, recall, files
        build-3f9c0a1b/      its files
            vectors.f16      float16, little-endian, row-major (N, D), unit rows
            sums.u32         (N,) uint32, a sum over every row's bytes (`ris.ops.sums`)
            ids.npy          (N,) bytes, the face id of every row, where ids were given; empty
                             for a row that was deleted
            attached.npz     what the caller keeps with the index, where there is something
            codes.i8         sketch only: (N, P) int8
            coder.npz        sketch only
            faiss.index      ivf and hnsw only
            projection.npz   ivf and hnsw only

Where most channels are zero, ``ends.i64``, ``channels.u16`` and ``values.f16`` take the place of
``vectors.f16`` (`ris.index.vectors`).

Commit order of a build (`ris.index.writing`): 1 everything is written to ``.tmp-XXXXXXXX/`` and
synced, 2 that folder is renamed to ``build-XXXXXXXX/``, 3 ``meta.json``, which names it, replaces
the old one in a single rename, the commit point, 4 the folder is synced, 5 the former build is
deleted.

Commit order of an update (`ris.index.writing`): 1 the files of rows (`ris.index.files.GROWING`)
grow beyond their committed size, after what a dead run left there is cut off, 2 the other files
that change are written under the next revision (``ids.1.npy``), 3 all are synced, 4 ``meta.json``
is replaced, the commit point, 5 former revisions are deleted.

Nothing is believed that was not compared with a checksum. ``meta.json`` has one of its own and
one of every file (`ris.index.files`). Opening compares all sizes and reads the small files in full,
and FAISS's, which FAISS would believe; the codes are read in full before the first search and the
vectors row by row when they are first used, so that opening takes milliseconds whatever the size.
`check_index` reads everything.

A run that dies before the commit point leaves the former index as it was (or none where there was
none), one that dies later leaves the new one; there is no moment with neither. What a dead run
left is deleted by the next one, as far as its names are those that are given here.

One run writes an index at a time: it holds a lock beside the folder, which the system releases
when the run dies. Reading needs no lock: committed bytes never change, an index that is open
keeps its mapped files when a new build replaces them, and opening tries again when a file was
replaced under its hands.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from ris.data.durable import check_blame, disk_error, listed, make_folder, put_aside, replacing
from ris.data.store import Store
from ris.errors import IndexMissingError, RisError, StoreError
from ris.index import KINDS
from ris.index.files import (
    ATTACHED,
    CODES,
    DENSE,
    IDS,
    SPARSE,
    SUMS,
    Files,
    damaged,
    file_name,
    is_ours,
    reason,
)
from ris.index.kind import Efforts, Kind
from ris.index.meta import BUILD, META, IndexMeta, read_meta
from ris.index.vectors import open_vectors

FOLDER = "index"
"""Name of the folder in a store whose folders are the indices, by feature."""
LARGE = frozenset((*DENSE, *SPARSE, SUMS, CODES))
"""Files that are compared with their checksums when they are used."""
TEMPORARY = ".tmp-"
LOCK_TIMEOUT = 120.0
"""Seconds that a run waits for another one that writes the same index."""
_FOLDER = re.compile(f"({re.escape(TEMPORARY)}|{BUILD})[0-9a-f]{{8}}")
_DRAFT = re.compile(rf"\.{re.escape(META)}\.tmp-\d+-[0-9a-f]{{8}}")


@dataclass(frozen=True)
class OpenIndex:
    """An index with what is known of it.

    Attributes:
        index: to search.
        meta: its meta.json.
        files: its files.
        ids: (N,) bytes, memory-mapped, the face id of every row, empty for deleted ones; None if
            none were given.
        attached: arrays that the writer kept with the index.
    """

    index: Kind
    meta: IndexMeta
    files: Files
    ids: np.ndarray | None
    attached: Mapping[str, np.ndarray]


def open_index(folder: Path) -> OpenIndex:
    """Opens the index in a folder.

    Milliseconds whatever the size, but for what FAISS loads; see the module.

    Raises:
        IndexMissingError: there is none.
        StoreError: a file is missing, truncated, of another build or not what it should be.
        UnreadableError: they cannot be read now.
        RisError: its kind needs FAISS, which is not installed.
    """
    folder = Path(folder)
    meta = read_meta(folder)
    while True:
        try:
            return _open(folder, meta)
        except OSError as error:
            newer = read_meta(folder)
            if newer == meta:
                name = Path(getattr(error, "filename", None) or meta.build).name
                check_blame(folder / name, error)
                raise damaged(folder, f"{name} cannot be read") from error
            meta = newer  # replaced between reading meta.json and opening


def _open(folder: Path, meta: IndexMeta) -> OpenIndex:
    files = Files(folder / meta.build, meta.files)
    small = [name for name in meta.files if name not in LARGE]
    if wrong := files.problem(meta.files, content=False) or files.problem(small):
        raise damaged(folder, wrong)
    try:
        ids = alive = None
        if IDS in meta.files:
            ids = np.load(files.path(IDS), mmap_mode="r", allow_pickle=False)
            if ids.shape != (meta.rows,) or ids.dtype.kind != "S":
                raise ValueError(f"{IDS} does not hold {meta.rows} ids")
        if meta.gone:
            alive = np.asarray(ids) != b""
            if ids is None or meta.rows - int(alive.sum()) != meta.gone:
                raise ValueError(f"{IDS} has not {meta.gone} deleted rows")
        attached: dict[str, np.ndarray] = {}
        if ATTACHED in meta.files:
            with np.load(files.path(ATTACHED), allow_pickle=False) as arrays:
                attached = dict(arrays)
        vectors = open_vectors(files.folder, meta.rows, meta.dims)
        efforts = Efforts.from_json(meta.efforts) if meta.efforts else None
        index = KINDS[meta.kind].load(vectors, files, efforts, alive)
        return OpenIndex(index, meta, files, ids, attached)
    except (RisError, OSError, MemoryError):
        raise
    except Exception as error:  # readers of archives and arrays raise what they like
        raise damaged(folder, reason(error)) from error


def check_index(folder: Path) -> None:
    """Compares every byte of the index in a folder with its checksums.

    Raises:
        IndexMissingError: there is none.
        StoreError: it is damaged or of another version.
    """
    meta = read_meta(folder)
    while wrong := _damage(folder, meta):
        now = read_meta(folder)
        if now == meta:
            raise damaged(folder, wrong)
        meta = now  # replaced meanwhile


def _damage(folder: Path, meta: IndexMeta) -> str | None:
    files = Files(folder / meta.build, meta.files)
    for name in meta.files:
        try:
            if wrong := files.problem([name]):
                return wrong
        except OSError as error:
            check_blame(files.path(name), error)
            return f"{name} cannot be read: {error.strerror or error}"
    return None


def index_folder(store: Store, feature: str) -> Path:
    """Where the index of a feature lies."""
    return store.folder / FOLDER / feature


def indexed_features(store: Store) -> list[str]:
    """The features that have an index, sound or not."""
    return [path.name for path in listed(store.folder / FOLDER) if (path / META).exists()]


@dataclass(frozen=True)
class IndexProblem:
    """An index that cannot be used.

    Attributes:
        feature: of the index.
        message: one line, which ends with the command that mends it.
    """

    feature: str
    message: str

    def __str__(self) -> str:
        return self.message


def check_indices(store: Store) -> list[IndexProblem]:
    """Compares every byte of every index of a store with its checksums.

    Reads as fast as the disk, holds nothing, takes no lock: an index that is replaced meanwhile is
    read again.

    Returns:
        one problem for each index that is damaged or of another version; empty if all are whole.
    """
    found = []
    for folder in (path for path in listed(store.folder / FOLDER) if path.is_dir()):
        try:
            check_index(folder)
        except IndexMissingError:
            continue  # a build has begun there, or died
        except StoreError as error:
            found.append(IndexProblem(folder.name, str(error)))
    return found


class LockedFolder:
    """Holds the lock of an index's folder, which is made if need be, until `release`.

    Args:
        path: the index's folder, e.g. ``.ris/index/eyes``.

    Raises:
        StoreError: another run was writing this index for too long, or the folder cannot be
            written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            make_folder(self.path)
            self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
            self._lock.acquire(timeout=LOCK_TIMEOUT)
        except Timeout as error:
            raise StoreError(
                f"{path} has been written by another run for over {LOCK_TIMEOUT:.0f} s: "
                "wait for it to end"
            ) from error
        except OSError as error:
            raise disk_error(error, self.path) from error
        try:
            make_folder(self.path)  # a writer that gave up may have removed it
            self.clean()
        except BaseException:
            self._lock.release()
            raise

    def publish(self, meta: IndexMeta) -> None:
        """Replaces meta.json, the commit point, and deletes what it names no more."""
        if (self.path / META).is_dir():  # nobody's index, and in the way of one
            put_aside(self.path.parent.parent, self.path / META)
        with replacing(self.path / META) as draft:
            draft.write_text(meta.to_json(), encoding="utf-8")
        self.clean()

    def clean(self) -> None:
        """Deletes what dead runs left: folders and files whose names only this program gives, and
        which the committed state does not name. The lock keeps live runs out. What cannot be
        deleted is left to the next run, since the index is whole with it as without."""
        meta: IndexMeta | None = None
        readable = True
        try:
            meta = read_meta(self.path)
        except IndexMissingError:
            pass
        except StoreError:
            readable = False  # of another version, perhaps: builds stay until there is a new index
        with contextlib.suppress(OSError):
            for path in list(self.path.iterdir()):
                if _DRAFT.fullmatch(path.name):
                    path.unlink(missing_ok=True)
                elif _FOLDER.fullmatch(path.name) and (readable or path.name[0] == "."):
                    _empty(path, meta if meta is not None and path.name == meta.build else None)

    def release(self) -> None:
        """Deletes what is not committed, the folder too if nothing is, and lets go of it."""
        try:
            self.clean()
            with contextlib.suppress(OSError):
                self.path.rmdir()  # only if it is empty
        finally:
            self._lock.release()


def _empty(folder: Path, meta: IndexMeta | None) -> None:
    """Deletes an index's files in a folder but those that `meta` names, and the folder if it is
    empty then."""
    if folder.is_symlink() or not folder.is_dir():
        return
    files = {} if meta is None else meta.files
    named = {file_name(name, record.revision) for name, record in files.items()}
    for path in list(folder.iterdir()):
        if is_ours(path.name) and path.name not in named:
            with contextlib.suppress(OSError):  # open files stay where a system cannot delete them
                path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
