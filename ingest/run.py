"""`ris ingest`: a folder, list, pattern or photo into a store."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ris.data.durable import replacing
from ris.data.latents import SIDECAR, Latents, read_latents
from ris.data.manifest import FILE as MANIFEST
from ris.data.models.shipped import CATALOGUE_FILE
from ris.data.store import Store
from ris.errors import InputError, MismatchError, RisError
from ris.ingest.loaded_models import Models
from ris.ingest.sources.sources import Arguments, Sources, is_gone

if TYPE_CHECKING:
    from ris.data.metadata import Joined
    from ris.data.tables import Table
    from ris.ingest.outcomes import IngestReport


@dataclass
class CollectionReport:
    """What `ingest_collection` did.

    Attributes:
        store: where the faces are.
        faces: number of faces in it now.
        report: what became of the photos.
        models: what read them, which is loaded.
        pruned: faces removed because their photo is gone.
        labelled: what became of the metadata, if there was any.
    """

    store: Store
    faces: int
    report: IngestReport
    models: Models
    pruned: int = 0
    labelled: Joined | None = None


def ingest_collection(
    photos: Arguments,
    folder: Path,
    models: Models,
    *,
    latents: Path | None = None,
    metadata: Path | None = None,
    metadata_key: str | None = None,
    prune: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
) -> CollectionReport:
    """Adds the photos that are named to the store at `folder`, creating it if need be.

    Args:
        photos: one or several folders, photos, lists or patterns, see
            `ris.ingest.sources.sources.Sources`.
        folder: the store's folder.
        models: generator, catalogue and options; a generator, catalogue or inverter that nobody
            chose becomes that of the store's faces.
        latents: file of codes; by default ``latents.parquet`` in the first folder that is
            named, or else beside the first photo, if there.
        metadata: CSV or Parquet table joined by file name.
        metadata_key: its column of file names; None: the one that holds photos.
        prune: remove faces of those folders whose photo is gone.
        progress: called with files done and files in all, None until that is known: a thread
            counts them meanwhile.

    Raises:
        RisError: see `ris.ingest.pipeline.ingest`, `Store.create` and `join_metadata`.
    """
    sources = Sources(photos, folder)
    if prune and not sources.only_folders:
        raise InputError("`prune` goes with folders: it removes what is gone from there")
    codes = _latents(sources, latents)
    models.check_files()
    table, total = None, None
    in_order = codes is not None and not codes.files and not codes.hashes
    if metadata is not None:
        from ris.data.tables import read_table

        table = read_table(metadata)
        total = _check_table(table, metadata_key, sources, folder)
    elif in_order:
        total = sum(1 for _ in sources.photos())

    from ris.ingest.pipeline import ingest  # which imports torch

    named = models.inverter_file
    models = models.at(folder)
    ours = models.generator.fingerprint
    if codes is not None and codes.generator not in (None, ours):
        raise MismatchError(
            f"the latents are of generator {codes.generator}, this run has {ours}",
            "name theirs with `generator`",
        )
    if codes is not None:
        codes = codes.of_rows(models.generator.layout.rows, total if in_order and total else 0)
    if named is not None:  # read before the store remembers it, also where all codes are given
        _ = models.inverter
    store = _store(folder, models)
    pruned = sum(_prune(store, f) for f in sources.folders) if prune else 0
    count = _Count(sources) if progress else None
    report = ingest(
        store,
        sources,
        models,
        total=total,
        latents=codes,
        progress=(lambda done: progress(done, count.files)) if progress and count else None,
    )
    labelled = None
    if table is not None:
        from ris.data.metadata import join_metadata

        labelled = join_metadata(store, table, metadata_key)
    return CollectionReport(store, store.manifest().rows, report, models, pruned, labelled)


def create_store(folder: Path, models: Models) -> Store:
    """The store at `folder`, created without faces if need be.

    Args:
        folder: the store's folder.
        models: generator, catalogue and options.

    Raises:
        RisError: see `Store.create` and `Models`.
    """
    models.check_files()
    named = models.inverter_file
    models = models.at(folder)
    if named is not None:  # read before the store remembers it
        _ = models.inverter
    return _store(folder, models)


def _store(folder: Path, models: Models) -> Store:
    """The store of models that know the folder; their files are remembered there."""
    store = Store.create(folder, models.embedder.settings())
    if models.generator_file or models.inverter_file:
        store.remember(generator=models.generator_file, inverter=models.inverter_file)
    if models.catalogue_path is not None and models.catalogue_path.parent != store.folder:
        with replacing(store.folder / CATALOGUE_FILE) as temporary:
            shutil.copyfile(models.catalogue_path, temporary)
    return store


def _check_table(table: Table, key: str | None, sources: Sources, folder: Path) -> int:
    """A table that is about other photos must not cost an ingest first; gives their number."""
    from ris.data.file_names import FileNames
    from ris.data.metadata import check_possible

    root = Path(os.path.abspath(folder)).parent
    photos = [Path(os.path.abspath(photo)) for photo in sources.photos()]
    paths = [str(p.relative_to(root) if p.is_relative_to(root) else p) for p in photos]
    if (folder / MANIFEST).is_file():
        for batch in Store(folder).rows(["path"]):
            paths += batch.column(0).to_pylist()
    check_possible(table, FileNames(paths, root), key)
    return len(photos)


class _Count:
    """Counts files in a thread of its own; for who watches, so that errors are left to others."""

    def __init__(self, sources: Sources) -> None:
        self.files: int | None = None
        self._sources = sources
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(RisError, OSError):
            self.files = self._sources.count()


def _latents(sources: Sources, given: Path | None) -> Latents | None:
    first = sources.first()
    if given is not None:
        return read_latents(given)
    folder = sources.folders[0] if sources.folders else first.parent
    beside = folder / SIDECAR
    return read_latents(beside) if beside.is_file() else None


def _prune(store: Store, folder: Path) -> int:
    """Removes the rows of photos below `folder` that no longer exist."""
    folder = Path(os.path.abspath(folder))
    gone = []
    for batch in store.rows(["id", "path"]):
        for face, path in zip(*batch.to_pydict().values(), strict=True):
            photo = store.resolve(path)
            if photo.is_relative_to(folder) and is_gone(photo):
                gone.append(face)
    return store.remove(gone) if gone else 0
