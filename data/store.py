"""The face store: Parquet shards of rows, committed by a manifest.

Layout of the folder (``.ris`` by default)::

    manifest.json            settings, committed shards (file, rows, bytes, sha256), a checksum
    faces/part-00000.parquet one row a face, and the settings (`ris.data.shards`)
    commit.json              while a commit is under way (`ris.data.commit`)
    stats.parquet            statistics of sigma per layer and channel (`ris.data.stats_file`)
    failures.parquet         photos that gave no face (`ris.data.failures`)
    metadata.parquet         the user's own columns, by face id (`ris.data.metadata`)
    index/FEATURE/           indices (package `index`)
    damaged/                 what `ris verify` took out because it was damaged
    lock                     held while anything is committed

A commit is all or nothing, in the order that `ris.data.commit` gives. A process killed before its
commit point leaves an orphan that the next writer knows and deletes; readers never see it. Shards
are never changed in place, and a number is never used twice. A store whose manifest is lost is
rebuilt from its shards (`ris.data.recovery`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy  # noqa: F401  where pyarrow loads it, that takes 10 ms more
import pyarrow as pa

from ris.data import commit, shards
from ris.data.commit import rows_without
from ris.data.durable import disk_error, is_temporary, listed, make_folder
from ris.data.manifest import FILE, RECOVER, Manifest, Shard, StoreSettings, has_remains
from ris.data.shards import FaceRow
from ris.data.stored import StoredFaces
from ris.errors import StoreError

FOLDER = ".ris"
FULL_SHARD = 512
"""Rows that a compacted shard holds at most; smaller ones are merged."""
MANY_SMALL = 32
"""So many small shards are merged in the middle of a run."""


class Store(StoredFaces):
    """A store on disk. Methods read the committed state anew; writers exclude each other.

    Args:
        folder: the store's folder, which must hold a manifest.

    Raises:
        StoreError: it does not, or the manifest is damaged.
    """

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
                f"no store ({FOLDER}/) in {Path.cwd()} or above it",
                "run `Collection.ingest` first, or name one with `ris.open`",
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
                names = [p.name for p in listed(folder)]
                # a run that is just beginning, or was killed then, leaves a temporary file
                strangers = [n for n in names if n not in _OWN and not is_temporary(n)]
                if strangers and not has_remains(folder):
                    raise StoreError(
                        f"{folder} is not a ris store and is not empty (it holds {strangers[0]})",
                        "name another folder with `ris.create`",
                    )
            make_folder(folder / commit.FACES)
        except OSError as e:
            raise disk_error(e, folder) from e
        with commit.locked(folder):
            if not (folder / FILE).exists():
                if has_remains(folder):
                    raise StoreError(f"{folder} has faces and no {FILE}", RECOVER)
                Manifest(settings).write(folder)
        store = cls(folder)
        store.settings.check(settings, folder)
        return store

    def remember(self, *, generator: Path | None = None, inverter: Path | None = None) -> None:
        """Notes where weights that do not ship are, for later runs; None leaves what is noted."""
        given = {"generator_file": generator, "inverter_file": inverter}
        noted = {name: self.relative(path) for name, path in given.items() if path}
        with self.locked() as manifest:
            if any(getattr(manifest, name) != path for name, path in noted.items()):
                commit.commit(self.folder, manifest, [], [], **noted)

    def generator_file(self) -> Path | None:
        """Where the generator's weights were last found; None where they ship with ris."""
        name = self.manifest().generator_file
        return None if name is None else self.resolve(name)

    def inverter_file(self) -> Path | None:
        """Likewise the encoder's."""
        name = self.manifest().inverter_file
        return None if name is None else self.resolve(name)

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
