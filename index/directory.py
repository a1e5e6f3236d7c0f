"""The folder of one index: layout, commit and opening.

::

    index/eyes/
        meta.json            the current state: kind, size, parameters, recall, files
        build-3f9c0a1b/      its files
            vectors.f16      float16, little-endian, row-major (N, D), unit rows
            ids.npy          (N,) bytes, the face id of every row, where ids were given; empty
                             for a row that was deleted
            attached.npz     what the caller keeps with the index, where there is something
            codes.i8         sketch only: (N, P) int8
            coder.npz        sketch only
            faiss.index      ivf, hnsw and pq only
            projection.npz   ivf, hnsw and pq only

Where most channels are zero, ``ends.i64``, ``channels.u16`` and ``values.f16`` take the place of
``vectors.f16`` (`index.sparse`).

Commit order of a build (`index.writer`): 1 everything is written to ``.tmp-XXXXXXXX/`` and synced,
2 that folder is renamed to ``build-XXXXXXXX/``, 3 ``meta.json``, which names it, replaces the old
one in a single rename, the commit point, 4 the folder is synced, 5 the former build is deleted.

Commit order of an update (`index.appender`): 1 the files of rows (`index.meta.GROWING`) grow beyond
their committed size, after what a dead run left there is cut off, 2 the other files that change
are written under the next revision (``ids.1.npy``), 3 all are synced, 4 ``meta.json`` is replaced,
the commit point, 5 former revisions are deleted.

A run that dies before the commit point leaves the former index as it was (or none where there was
none), one that dies later leaves the new one; there is no moment with neither. What a dead run
left is deleted by the next one.

One run writes an index at a time: it holds a lock beside the folder, which the system releases
when the run dies. Reading needs no lock: committed bytes never change, an index that is open
keeps its mapped files when a new build replaces them, and opening tries again when a file was
replaced under its hands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from index.approximate import ApproximateIndex, FlatIndex
from index.efforts import Efforts
from index.exact import ExactIndex
from index.meta import (
    ATTACHED,
    CODER,
    CODES,
    FAISS,
    IDS,
    PROJECTION,
    FileRecord,
    IndexMeta,
    damaged,
    read_meta,
    reason,
)
from index.protocol import VectorIndex
from index.sketch import Coder, SketchIndex, open_codes
from index.storage import AnyVectors, open_vectors


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
            if newer == meta:
                name = Path(getattr(error, "filename", None) or meta.build).name
                raise damaged(folder, f"{name} cannot be read") from error
            meta = newer  # replaced between reading meta.json and opening


def _open(folder: Path, meta: IndexMeta) -> OpenIndex:
    build = folder / meta.build
    for name, expected in meta.files.items():
        found = FileRecord.of(build, name, expected.revision, expected.bytes)
        if found.bytes != expected.bytes:
            raise damaged(folder, f"{name} has {found.bytes} bytes, expected {expected.bytes}")
        if found.edges != expected.edges:
            raise damaged(folder, f"{name} is not the file that was written")
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
    except (ValueError, KeyError, TypeError) as error:
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
        return SketchIndex(vectors, coder, codes, efforts, alive)
    faiss, projection = meta.path(folder, FAISS), meta.path(folder, PROJECTION)
    return ApproximateIndex.load(meta.kind, vectors, faiss, projection, efforts, alive)
