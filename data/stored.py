"""The committed rows of a store, read while other processes write (`ris.data.store`)."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ris.data import shards
from ris.data.commit import FACES
from ris.data.known import KnownFaces
from ris.data.manifest import Manifest
from ris.data.sealed import DamagedError
from ris.data.shards import FaceRow
from ris.data.squares import square_of
from ris.errors import MismatchError, QueryError, StoreError

T = TypeVar("T")


class StoredFaces:
    """What is in a store. Every method reads the committed state of its moment.

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

    def batches(
        self, columns: Sequence[str] | None = None, manifest: Manifest | None = None
    ) -> Iterator[pa.RecordBatch]:
        """All rows of one committed state in order, about `shards.ROW_GROUP` at a time.

        Who reads only once does so by `rows` or `consistently`; for others, who go by the rows'
        numbers, the state must stay.

        Raises:
            StoreError: a shard is missing or damaged, or the store has changed.
        """
        manifest = manifest or self.manifest()
        for shard in manifest.shards:
            rows, path = 0, self.folder / FACES / shard.file
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
                    "the store changed while it was read", "run the command again"
                ) from e

    def rows(self, columns: Sequence[str]) -> list[pa.RecordBatch]:
        """Some small columns of all rows of one committed state, in memory."""
        return self.consistently(lambda manifest: list(self.batches(columns, manifest)))

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
            ids = shards.read_light(self.folder / FACES / shard.file, ["id"])["id"]
            rows = pc.indices_nonzero(pc.starts_with(ids, face))
            found += [(shard.file, row, ids[row].as_py()) for row in rows.to_pylist()]
        exact = [entry for entry in found if entry[-1] == face]
        if not exact and "-" in face:
            found = []  # the number of a face in its photo is not abbreviated
        photos = {shards.photo_of(name) for *_, name in found}
        if not exact and len(photos) == 1:  # of one photo, its first face is meant
            exact = [entry for entry in found if entry[-1] in photos]
        if len(found) > 1 and not exact:
            raise QueryError(
                f"{len(found)} faces have an id that starts with {face!r}", "give more"
            )
        if not found:
            raise QueryError(
                f"no photo and no face id {face!r}",
                "`Collection.sql('select id, path from faces')` lists the ids",
            )
        file, row, _ = (exact or found)[0]
        return self._row(shards.read_row(self.folder / FACES / file, row).to_batches()[0])

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
                f"by {fingerprint}: codes of different inverters do not compare",
                "ingest all photos into a new store",
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
                light = shards.read_light(self.folder / FACES / shard.file, columns)
                for r in light.filter(pc.is_in(light["id"], wanted)).to_pylist():
                    quad = square_of(r["quad"], r["aligned"], np.float32)
                    found[r["id"]] = (r["path"], quad)
            return found

        return self.consistently(read)

    def known(self) -> KnownFaces:
        """Hashes of what is committed now; reads only shards that are new since last time."""

        def read(manifest: Manifest) -> KnownFaces:
            self._known.update(
                {shard.file for shard in manifest.shards},
                lambda file: shards.read(self.folder / FACES / file, KnownFaces.COLUMNS),
            )
            return self._known

        return self.consistently(read)

    def faces_of(self, photo: str) -> list[FaceRow]:
        """Rows of all faces of a photo, by its id, in the order of their numbers."""

        def read(manifest: Manifest) -> list[FaceRow]:
            found = []
            for file in self.known().shards_with_photo(photo):
                for batch in shards.read(self.folder / FACES / file):
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
                for batch in shards.read(self.folder / FACES / file, ["id", "path"]):
                    found += batch.filter(pc.equal(batch.column("path"), path))["id"].to_pylist()
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
