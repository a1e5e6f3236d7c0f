"""The folder of one index: layout, commit and opening.

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
            faiss.index      ivf, hnsw and pq only
            projection.npz   ivf, hnsw and pq only

Where most channels are zero, ``ends.i64``, ``channels.u16`` and ``values.f16`` take the place of
``vectors.f16`` (`ris.index.sparse`).

Commit order of a build (`ris.index.writer`): 1 everything is written to ``.tmp-XXXXXXXX/`` and
synced, 2 that folder is renamed to ``build-XXXXXXXX/``, 3 ``meta.json``, which names it, replaces
the old one in a single rename, the commit point, 4 the folder is synced, 5 the former build is
deleted.

Commit order of an update (`ris.index.appender`): 1 the files of rows (`ris.index.meta.GROWING`)
grow beyond their committed size, after what a dead run left there is cut off, 2 the other files
that change are written under the next revision (``ids.1.npy``), 3 all are synced, 4 ``meta.json``
is replaced, the commit point, 5 former revisions are deleted.

Nothing is believed that was not compared with a checksum. ``meta.json`` has one of its own and
one of every file (`ris.index.files`). Opening compares all sizes and reads the small files in full,
and FAISS's, which FAISS would believe; the codes are read in full before the first search and the
vectors row by row when they are first used, so that opening takes milliseconds whatever the size.
`ris.index.index_checks` reads everything.

A run that dies before the commit point leaves the former index as it was (or none where there was
none), one that dies later leaves the new one; there is no moment with neither. What a dead run
left is deleted by the next one, as far as its names are those that are given here.

One run writes an index at a time: it holds a lock beside the folder, which the system releases
when the run dies. Reading needs no lock: committed bytes never change, an index that is open
keeps its mapped files when a new build replaces them, and opening tries again when a file was
replaced under its hands.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ris.data.durable import check_blame
from ris.errors import RisError
from ris.index.approximate import ApproximateIndex, FlatIndex
from ris.index.damage import damaged, reason
from ris.index.efforts import Efforts
from ris.index.exact import ExactIndex
from ris.index.files import (
    ATTACHED,
    CODER,
    CODES,
    DENSE,
    FAISS,
    IDS,
    PROJECTION,
    SPARSE,
    SUMS,
    problem,
)
from ris.index.meta import IndexMeta, read_meta
from ris.index.searching import VectorIndex
from ris.index.sketch import Coder, SketchIndex, open_codes
from ris.index.storage import AnyVectors, open_vectors

LARGE = frozenset((*DENSE, *SPARSE, SUMS, CODES))
"""Files that are compared with their checksums when they are used."""


@dataclass(frozen=True)
class OpenIndex:
    """An index with what is known of it.

    Attributes:
        index: to search.
        vectors: its vectors.
        meta: its meta.json.
        ids: (N,) bytes, memory-mapped, the face id of every row, empty for deleted ones; None if
            none were given.
        attached: arrays that the writer kept with the index.
    """

    index: VectorIndex
    vectors: AnyVectors
    meta: IndexMeta
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
    build = folder / meta.build
    for name, record in meta.files.items():
        content = name not in LARGE
        if wrong := problem(meta.path(folder, name), record, content=content):
            raise damaged(folder, f"{name} {wrong}")
    try:
        ids = alive = None
        if IDS in meta.files:
            ids = np.load(meta.path(folder, IDS), mmap_mode="r", allow_pickle=False)
            if ids.shape != (meta.rows,) or ids.dtype.kind != "S":
                raise ValueError(f"{IDS} does not hold {meta.rows} ids")
        if meta.gone:
            alive = np.asarray(ids) != b""
            if ids is None or meta.rows - int(alive.sum()) != meta.gone:
                raise ValueError(f"{IDS} has not {meta.gone} deleted rows")
        attached: dict[str, np.ndarray] = {}
        if ATTACHED in meta.files:
            with np.load(meta.path(folder, ATTACHED), allow_pickle=False) as arrays:
                attached = dict(arrays)
        vectors = open_vectors(build, meta.rows, meta.dims)
        return OpenIndex(_load(folder, meta, vectors, alive), vectors, meta, ids, attached)
    except (RisError, OSError, MemoryError):
        raise
    except Exception as error:  # readers of archives and arrays raise what they like
        raise damaged(folder, reason(error)) from error


def _load(
    folder: Path, meta: IndexMeta, vectors: AnyVectors, alive: np.ndarray | None
) -> VectorIndex:
    if meta.kind == "exact":
        return ExactIndex(vectors, alive)
    if meta.kind == "flat":
        return FlatIndex(vectors, alive)
    efforts = Efforts.from_json(meta.efforts or {})
    if meta.kind == "sketch":
        coder = Coder.load(meta.path(folder, CODER), meta.dims)
        codes = open_codes(meta.path(folder, CODES), vectors, coder)

        def check() -> None:
            if zlib.crc32(codes.reshape(-1).data) != meta.files[CODES].crc32:
                raise damaged(folder, f"{CODES} is not the file that was written")

        return SketchIndex(vectors, coder, codes, efforts, alive, check)
    faiss, projection = meta.path(folder, FAISS), meta.path(folder, PROJECTION)
    return ApproximateIndex.load(meta.kind, vectors, faiss, projection, efforts, alive)
