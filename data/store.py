"""The face store: Parquet shards of rows, committed by a manifest.

Layout of the folder (``.ris`` by default)::

    manifest.json            settings, committed shards (file, rows, bytes, sha256), a checksum
    faces/part-00000.parquet one row a face, and the settings (`data.shards`)
    commit.json              while a commit is under way (`data.commit`)
    stats.parquet            statistics of sigma per layer and channel (`data.statistics`)
    failures.parquet         photos that gave no face (`data.failures`)
    metadata.parquet         the user's own columns, by face id (`data.metadata`)
    index/FEATURE/           indices (package `index`)
    damaged/                 what `ris verify` took out because it was damaged
    lock                     held while anything is committed

A commit is all or nothing, in the order that `data.commit` gives. A process killed before its
commit point leaves an orphan that the next writer knows and deletes; readers never see it. Shards
are never changed in place, and a number is never used twice. A store whose manifest is lost is
rebuilt from its shards (`data.recovery`).
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data import commit, shards
from data.commit import rows_without
from data.durable import disk_error, is_temporary, make_folder
from data.known import KnownFaces
from data.manifest import FILE, RECOVER, Manifest, Shard, StoreSettings, has_remains
from data.sealed import DamagedError
from data.shards import FaceRow
from ris.errors import MismatchError, QueryError, StoreError

T = TypeVar("T")

FOLDER = ".ris"
FULL_SHARD = 512
"""Rows that a compacted shard holds at most; smaller ones are merged."""
MANY_SMALL = 32
"""So many small shards are merged in the middle of a run."""


class Store:
    """A store on disk. Methods read the committed state anew; writers exclude each other.

    Args:
        folder: the store's folder, which must hold a manifest.

    Raises:
        StoreError: it does not, or the manifest is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known = KnownFaces()
        self._inverters: tuple[str, dict[str, int]] | None = None
        self.settings = self.manifest().settings

    # -- finding, opening, creating ---------------------------------------------------------

    @classmethod
    def open(cls, folder: str | Path | None = None) -> Store:
        """Opens `folder`, or the nearest ``.ris`` from the working directory upward.

        Raises:
            StoreError: there is none.
        """
        found = Path(folder).absolute() if folder is not None else cls.nearest()
        if found is None:
            raise StoreError(
                f"no store ({FOLDER}/) in {Path.cwd()} or above it: run `ris ingest FOLDER` "
                "first, or name one with --store"
            )
        return cls(found)

    @staticmethod
    def nearest() -> Path | None:
        """The nearest ``.ris`` that is a store, or what is left of one, from the working
        directory upward."""
        here = Path.cwd()
        candidates = (parent / FOLDER for parent in (here, *here.parents))
        return next((c for c in candidates if (c / FILE).is_file() or has_remains(c)), None)

    @classmethod
    def create(cls, folder: str | Path, settings: StoreSettings) -> Store:
        """Opens the store at `folder`, creating it with `settings` where there is none.

        Raises:
            MismatchError: it exists with other settings.
            StoreError: it cannot be created, or a folder with foreign content is in the way, or
                a store that has lost its manifest.
        """
        folder = Path(folder).absolute()
        try:
            if not (folder / FILE).exists() and folder.exists():
                names = [p.name for p in folder.iterdir()]
                # a run that is just beginning, or was killed then, leaves a temporary file
                strangers = [n for n in names if n not in _OWN and not is_temporary(n)]
                if strangers and not has_remains(folder):
                    raise StoreError(
                        f"{folder} is not a ris store and is not empty (it holds "
                        f"{strangers[0]}): name another folder with --store"
                    )
            make_folder(folder / commit.FACES)
        except OSError as e:
            raise disk_error(e, folder) from e
        with commit.locked(folder):
            if not (folder / FILE).exists():
                if has_remains(folder):
                    raise StoreError(f"{folder} has faces and no {FILE}: {RECOVER}")
                Manifest(settings).write(folder)
        store = cls(folder)
        store.settings.check(settings, folder)
        return store

    def remember(self, *, generator: Path | None = None, inverter: Path | None = None) -> None:
        """Notes where weights that do not ship are, for later runs; None leaves what is noted."""
        with self.locked() as manifest:
            noted = dataclasses.replace(
                manifest,
                generator_file=self.relative(generator) if generator else manifest.generator_file,
                inverter_file=self.relative(inverter) if inverter else manifest.inverter_file,
            )
            if noted != manifest:
                noted.write(self.folder)

    def generator_file(self) -> Path | None:
        """Where the generator's weights were last found; None where they ship with ris."""
        name = self.manifest().generator_file
        return None if name is None else self.resolve(name)

    def inverter_file(self) -> Path | None:
        """Likewise the encoder's."""
        name = self.manifest().inverter_file
        return None if name is None else self.resolve(name)

    def manifest(self) -> Manifest:
        """The committed manifest."""
        return Manifest.read(self.folder)

    @property
    def root(self) -> Path:
        """The folder that relative photo paths start from."""
        return self.folder.parent

    def relative(self, photo: Path) -> str:
        """How a photo's path is stored: relative to `root` where it lies below it."""
        photo = Path(os.path.abspath(photo))  # without "..", and links are left as they are
        inside = photo.is_relative_to(self.root)
        return (photo.relative_to(self.root) if inside else photo).as_posix()

    def resolve(self, path: str) -> Path:
        """The inverse of `relative`."""
        return self.root / path

    # -- reading ----------------------------------------------------------------------------

    def batches(
        self, columns: Sequence[str] | None = None, manifest: Manifest | None = None
    ) -> Iterator[pa.RecordBatch]:
        """All rows in order, about `shards.ROW_GROUP` at a time.

        Raises:
            StoreError: a shard is missing or damaged.
        """
        manifest = manifest or self.manifest()
        for shard in manifest.shards:
            rows, path = 0, self.folder / commit.FACES / shard.file
            try:
                for batch in shards.read(path, columns):
                    rows += len(batch)
                    yield batch
                if rows != shard.rows:
                    raise DamagedError(path, f"it has {rows} rows instead of {shard.rows}")
            except StoreError as e:
                if self.manifest().shards == manifest.shards:
                    raise
                raise StoreError(
                    "the store changed while it was read: run the command again"
                ) from e

    def consistently(self, read: Callable[[Manifest], T]) -> T:
        """What `read` makes of one committed state.

        Another process may merge or replace shards meanwhile; then `read` starts again, whatever
        error it ended in: each library reports a missing shard in its own way.
        """
        while True:
            manifest = self.manifest()
            try:
                return read(manifest)
            except Exception:
                if self.manifest().shards == manifest.shards:
                    raise

    def face(self, face: str) -> FaceRow:
        """The row of one id; that of a photo's first face may be abbreviated where that is
        unambiguous.

        Raises:
            QueryError: no such face, or several.
        """
        if not face.strip():
            raise QueryError("an empty text is no face id")
        return self.consistently(lambda manifest: self._face(face, manifest))

    def _face(self, face: str, manifest: Manifest) -> FaceRow:
        found: list[tuple[str, int, str]] = []
        for shard in manifest.shards:
            ids = shards.read_light(self.folder / commit.FACES / shard.file, ["id"])["id"]
            rows = pc.indices_nonzero(pc.starts_with(ids, face))
            found += [(shard.file, row, ids[row].as_py()) for row in rows.to_pylist()]
        exact = [entry for entry in found if entry[-1] == face]
        if not exact and "-" in face:
            found = []  # the number of a face in its photo is not abbreviated
        photos = {shards.photo_of(name) for *_, name in found}
        if not exact and len(photos) == 1:  # of one photo, its first face is meant
            exact = [entry for entry in found if entry[-1] in photos]
        if len(found) > 1 and not exact:
            raise QueryError(f"{len(found)} faces have an id that starts with {face!r}: give more")
        if not found:
            raise QueryError(
                f"no photo and no face id {face!r}: `ris sql 'select id, path from faces'` "
                "lists the ids"
            )
        file, row, _ = (exact or found)[0]
        return self._row(shards.read_row(self.folder / commit.FACES / file, row).to_batches()[0])

    def inverters(self) -> dict[str, int]:
        """Faces by what gave their latents, the commonest first; without those whose latents
        were given. Counted once for each committed state."""

        def read(manifest: Manifest) -> dict[str, int]:
            if self._inverters is None or self._inverters[0] != manifest.state:
                counts = Counter(
                    name
                    for batch in self.batches(["inverter"], manifest)
                    for name in batch.column("inverter").to_pylist()
                    if name != shards.GIVEN
                )
                self._inverters = (manifest.state, dict(counts.most_common()))
            return self._inverters[1]

        return self.consistently(read)

    def check_inverter(self, fingerprint: str) -> None:
        """Refuses photos read by an inverter that none of the faces was read by: codes of
        different inverters do not compare.

        Raises:
            MismatchError: as said.
        """
        ours = self.inverters()
        if ours and fingerprint not in ours:
            raise MismatchError(
                f"the faces of {self.folder} were inverted by {next(iter(ours))}, this would be "
                f"by {fingerprint}: codes of different inverters do not compare, ingest all "
                "photos into a new store"
            )

    def has(self, face: str) -> bool:
        """Whether there is a face of exactly that id."""
        return bool(self.places([face]))

    def places(self, ids: Sequence[str]) -> dict[str, tuple[str, np.ndarray | None]]:
        """Stored photo path of each of the ids that exist, and the quad of the face in it; None
        where the photo was taken as it is."""
        wanted = pa.array(ids, pa.string())

        def read(manifest: Manifest) -> dict[str, tuple[str, np.ndarray | None]]:
            found: dict[str, tuple[str, np.ndarray | None]] = {}
            columns = ["id", "path", "aligned", "quad"]
            for shard in manifest.shards:
                light = shards.read_light(self.folder / commit.FACES / shard.file, columns)
                for r in light.filter(pc.is_in(light["id"], wanted)).to_pylist():
                    whole = r["aligned"] or r["quad"] is None
                    quad = None if whole else np.array(r["quad"], np.float32).reshape(4, 2)
                    found[r["id"]] = (r["path"], quad)
            return found

        return self.consistently(read)

    def _row(self, batch: pa.RecordBatch) -> FaceRow:
        s = self.settings
        plain = {
            f.name: batch.column(f.name)[0].as_py()
            for f in dataclasses.fields(FaceRow)
            if f.name not in shards.VECTORS
        }
        for name, shape in shards.SHAPES.items():
            if plain[name] is not None:
                plain[name] = np.array(plain[name], np.float32).reshape(shape)
        return FaceRow(
            **plain,
            w=shards.vectors(batch, "w").reshape(s.latent_rows, s.latent_size),
            sigma=shards.vectors(batch, "sigma").reshape(-1),
            scores=shards.vectors(batch, "scores").reshape(len(s.classes), -1),
        )

    def known(self) -> KnownFaces:
        """Hashes of what is committed now; reads only shards that are new since last time."""

        def read(manifest: Manifest) -> KnownFaces:
            current = {shard.file for shard in manifest.shards}
            self._known.forget(self._known.shards() - current)
            for file in current - self._known.shards():
                path = self.folder / commit.FACES / file
                self._known.add(file, list(shards.read(path, KnownFaces.COLUMNS)))
            return self._known

        return self.consistently(read)

    # -- writing ----------------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[Manifest]:
        """Holds the store's lock, after what a dead run left is swept up; gives the manifest of
        that moment.

        Raises:
            StoreError: another process held it for too long.
        """
        with commit.locked(self.folder):
            manifest = self.manifest()
            commit.sweep(self.folder, manifest)
            yield manifest

    def append(self, rows: Sequence[FaceRow]) -> int:
        """Commits rows in one step, photo by photo.

        A photo whose rows are there already, with no fewer of its faces, is left out. The rows
        of any other photo replace what was recorded of it and what was recorded at its path
        (the file changed). All rows of a photo are in one shard, so it is there whole or not.

        Args:
            rows: all rows of each photo among them.

        Returns:
            number of faces that were not there before.
        """
        photos: dict[str, dict[str, FaceRow]] = {}
        for row in rows:
            photos.setdefault(row.photo, {})[row.id] = row
        with self.locked() as manifest:
            known = self.known()
            fresh = [
                row
                for photo in photos.values()
                if not all(known.has_id(row.id, row.selection) for row in photo.values())
                for row in photo.values()
            ]
            if not fresh:
                return 0
            added = sum(not known.has_id(row.id) for row in fresh)
            ids, paths = {row.id for row in fresh}, {row.path for row in fresh}
            touched = {f for path in paths for f in known.shards_with_path(path)}
            touched |= {f for face in ids for f in known.shards_with_id(face)}
            self._replace(manifest, touched, {"path": paths, "id": ids}, fresh)
            return added

    def relocate(self, rows: Sequence[FaceRow]) -> None:
        """Gives the stored faces of the ids in `rows` the path, size and time of `rows`."""
        with self.locked() as manifest:
            known, ids = self.known(), {row.id for row in rows}
            touched = {f for face in ids for f in known.shards_with_id(face)}
            self._replace(manifest, touched, {"id": ids}, rows)

    def faces_of(self, photo: str) -> list[FaceRow]:
        """Rows of all faces of a photo, by its id, in the order of their numbers."""

        def read(manifest: Manifest) -> list[FaceRow]:
            found = []
            for file in self.known().shards_with_photo(photo):
                for batch in shards.read(self.folder / commit.FACES / file):
                    near = batch.filter(pc.starts_with(batch.column("id"), photo))
                    found += [self._row(near.slice(i, 1)) for i in range(len(near))]
            return sorted((r for r in found if r.photo == photo), key=lambda r: r.face)

        return self.consistently(read)

    def ids_at(self, path: str) -> list[str]:
        """Ids of the faces whose photo is recorded at a path."""

        def read(manifest: Manifest) -> list[str]:
            files = self.known().shards_with_path(path)
            found = []
            for file in files:
                for batch in shards.read(self.folder / commit.FACES / file, ["id", "path"]):
                    found += batch.filter(pc.equal(batch.column("path"), path))["id"].to_pylist()
            return found

        return self.consistently(read)

    def remove(self, ids: Iterable[str]) -> int:
        """Deletes rows by exact id; returns how many there were."""
        wanted = set(ids)
        with self.locked() as manifest:
            known = self.known()
            touched = {f for face in wanted for f in known.shards_with_id(face)}
            old = [shard for shard in manifest.shards if shard.file in touched]
            if not old:
                return 0
            contents = [self._without(shard, {"id": wanted}) for shard in old]
            return manifest.rows - commit.commit(self.folder, manifest, old, contents).rows

    def compact(self, *, least: int = 2) -> None:
        """Merges small shards, if there are at least `least`; the rows stay the same."""
        with self.locked() as manifest:
            small = [s for s in manifest.shards if s.rows < FULL_SHARD // 2]
            if len(small) < least or len(small) < 2:
                return
            groups: list[list[Shard]] = [[]]
            for shard in small:
                if groups[-1] and sum(s.rows for s in groups[-1]) + shard.rows > FULL_SHARD:
                    groups.append([])
                groups[-1].append(shard)
            merged = [rows_without(self.folder, [s.file for s in group], {}) for group in groups]
            commit.commit(self.folder, manifest, small, merged)

    def _replace(
        self,
        manifest: Manifest,
        touched: set[str],
        drop: Mapping[str, set[str]],
        fresh: Sequence[FaceRow],
    ) -> None:
        """Commits the shards `touched` without some rows, and fresh rows in their own shard."""
        old = [shard for shard in manifest.shards if shard.file in touched]
        contents = [self._without(shard, drop) for shard in old]
        table = shards.to_table(fresh, self.settings)
        commit.commit(self.folder, manifest, old, [*contents, iter([table])])

    def _without(self, shard: Shard, drop: Mapping[str, set[str]]) -> Iterator[pa.Table]:
        return rows_without(self.folder, [shard.file], drop)


_OWN = {
    commit.FACES,
    commit.FILE,
    commit.LOCK,
    "damaged",
    "index",
    "stats.parquet",
    "failures.parquet",
    "metadata.parquet",
}
