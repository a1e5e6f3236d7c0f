"""`ris ingest`: a folder, list, pattern or photo into a store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data.assets import CATALOGUE_FILE
from data.durable import replacing
from data.file_names import FileNames
from data.latents import SIDECAR, Latents, read_latents
from data.manifest import FILE as MANIFEST
from data.metadata import Joined, check_possible, join_metadata
from data.store import Store
from data.tables import Table, read_table
from ingest.pipeline import IngestReport, ingest
from ingest.session import Session
from ingest.sources import find_photos
from ris.errors import InputError, MismatchError


@dataclass
class CollectionReport:
    """What `ingest_collection` did.

    Attributes:
        store: where the faces are.
        faces: number of faces in it now.
        report: what became of the photos.
        pruned: faces removed because their photo is gone.
        labelled: what became of the metadata, if there was any.
    """

    store: Store
    faces: int
    report: IngestReport
    pruned: int = 0
    labelled: Joined | None = None


def ingest_collection(
    argument: str,
    folder: Path,
    session: Session,
    *,
    latents: Path | None = None,
    metadata: Path | None = None,
    metadata_key: str | None = None,
    prune: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> CollectionReport:
    """Adds the photos that `argument` names to the store at `folder`, creating it if need be.

    Args:
        argument: see `ingest.sources.find_photos`.
        folder: the store's folder.
        session: generator, catalogue and options; a generator, catalogue or inverter that
            nobody chose becomes that of the store's faces.
        latents: file of codes; by default ``latents.parquet`` in the folder, or beside the
            first photo, if there.
        metadata: CSV or Parquet table joined by file name.
        metadata_key: its column of file names; None: the one that holds photos.
        prune: remove faces of that folder whose photo is gone.
        progress: called with photos done and photos in all.

    Raises:
        RisError: see `ingest.pipeline.ingest`, `Store.create` and `join_metadata`.
    """
    if prune and not Path(argument).expanduser().is_dir():
        raise InputError("--prune goes with a folder: it removes what is gone from there")
    table = None if metadata is None else read_table(metadata)
    if table is not None:
        _check_table(table, metadata_key, argument, folder)
    total = sum(1 for _ in find_photos(argument))
    session = session.at(folder)
    codes = _latents(argument, latents)
    ours = session.generator.fingerprint
    if codes is not None and codes.generator not in (None, ours):
        raise MismatchError(
            f"the latents are of generator {codes.generator}, this run has {ours}: name theirs "
            "with --generator"
        )
    if codes is not None:
        codes = codes.of_rows(session.generator.layout.rows, total)
    embedder = session.embedder()
    store = Store.create(folder, embedder.settings())
    if session.generator_file or session.inverter_file:
        store.remember(generator=session.generator_file, inverter=session.inverter_file)
    if session.catalogue_path is not None and session.catalogue_path.parent != store.folder:
        with replacing(store.folder / CATALOGUE_FILE) as temporary:
            shutil.copyfile(session.catalogue_path, temporary)
    session = session.following(store)
    pruned = _prune(store, Path(argument).expanduser()) if prune else 0
    report = ingest(
        store,
        find_photos(argument),
        embedder,
        session.inverter,
        total=total,
        latents=codes,
        aligner=session.aligner(),
        progress=(lambda done: progress(done, total)) if progress else None,
    )
    labelled = None if table is None else join_metadata(store, table, metadata_key)
    return CollectionReport(store, store.manifest().rows, report, pruned, labelled)


def _check_table(table: Table, key: str | None, argument: str, folder: Path) -> None:
    """A table that is about other photos must not cost an ingest first."""
    root = Path(os.path.abspath(folder)).parent
    photos = [Path(os.path.abspath(photo)) for photo in find_photos(argument)]
    paths = [str(p.relative_to(root) if p.is_relative_to(root) else p) for p in photos]
    if (folder / MANIFEST).is_file():
        for batch in Store(folder).batches(["path"]):
            paths += batch.column(0).to_pylist()
    check_possible(table, FileNames(paths, root), key)


def _latents(argument: str, given: Path | None) -> Latents | None:
    if given is not None:
        return read_latents(given)
    path = Path(argument).expanduser()
    folder = path if path.is_dir() else next(find_photos(argument)).parent
    beside = folder / SIDECAR
    return read_latents(beside) if beside.is_file() else None


def _prune(store: Store, folder: Path) -> int:
    """Removes the rows of photos below `folder` that no longer exist."""
    folder = Path(os.path.abspath(folder))
    gone = []
    for batch in store.batches(["id", "path"]):
        for face, path in zip(*batch.to_pydict().values(), strict=True):
            photo = store.resolve(path)
            if photo.is_relative_to(folder) and not photo.exists():
                gone.append(face)
    return store.remove(gone) if gone else 0
