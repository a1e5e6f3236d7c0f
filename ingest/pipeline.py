"""The ingest loop: photos -> latents -> sigma and contribution scores -> rows in the store."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from data.failures import Failure, read_failures, update_failures
from data.latents import Latents
from data.shards import FaceRow
from data.statistics import style_statistics
from data.store import MANY_SMALL, Store
from ingest.decode import PHOTO_SIZE, PhotoFile, decode_aligned, hash_photo, stat_photo
from ingest.embedding import Embedder, to_batch
from ris.errors import ImageError, InputError

if TYPE_CHECKING:
    from ingest.inversion import Inverter

GIVEN_BATCH = 16
"""Faces a commit when latents are given (about two seconds of work)."""
GIVEN = "given"
CHECK_SIZE = 64
"""Pixels at which a photo with a given latent is decoded, only to see that it can be."""


@dataclass
class IngestReport:
    """What an ingest did; every photo is ingested, skipped or failed."""

    ingested: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Number of photos that gave no face."""
        return len(self.failures)

    def reasons(self) -> Counter[str]:
        """Number of failures by stage and reason."""
        return Counter(f"{f.stage}: {f.reason}" for f in self.failures)


@dataclass(frozen=True)
class _Candidate:
    """A photo to be ingested; `code` if its latent is given, else `pixels` to invert."""

    file: PhotoFile
    path: str
    width: int
    height: int
    code: np.ndarray | None
    pixels: np.ndarray | None


class _CodeTable:
    """Given latents, looked up by the photo's content, else by its name, else by its place."""

    def __init__(self, latents: Latents | None, total: int) -> None:
        self._codes = latents.codes if latents else ()
        self._hashes = {sha: i for i, sha in enumerate((latents and latents.hashes) or ())}
        names = (latents and latents.files) or []
        self._names = {name: i for i, name in enumerate(names)}
        if not self._hashes and len(self._names) < len(names):
            raise InputError("the latents file names a photo twice")
        self._in_order = latents is not None and not self._hashes and not self._names
        if self._in_order and len(self._codes) != total:
            raise InputError(
                f"{len(self._codes)} latents for {total} photos: without file names they go "
                "with the photos in order, so the numbers must agree"
            )

    def find(self, number: int, file: PhotoFile) -> np.ndarray | None:
        """The code of the `number`-th photo, or None if it has to be inverted.

        Where content hashes are known they decide: a photo that was edited since its latent
        was written is another face.
        """
        if self._in_order:
            index: int | None = number
        elif self._hashes:
            index = self._hashes.get(file.sha256)
        else:
            index = self._names.get(file.path.name)
        return None if index is None else self._codes[index]


def ingest(
    store: Store,
    photos: Iterable[Path],
    embedder: Embedder,
    make_inverter: Callable[[], Inverter],
    *,
    total: int,
    latents: Latents | None = None,
    progress: Callable[[int], None] | None = None,
) -> IngestReport:
    """Adds photos to the store; photos already there are skipped, bad ones counted.

    Every batch is committed on its own: a run that is killed keeps what it had committed, and
    the next run goes on from there. A photo whose bytes are already in the store, under any
    name, is skipped; one that changed under the same name replaces its old row.

    Args:
        store: opened with ``embedder.settings()``.
        photos: paths of aligned face photos.
        embedder: generator, catalogue and options.
        make_inverter: called once, when the first photo without a given latent is met.
        total: number of photos, to check unnamed latents against.
        latents: codes that save the inversion.
        progress: called with the number of photos dealt with.

    Raises:
        StoreError: the disk is full, or the store is damaged.
        InputError: the latents do not fit.
    """
    begin = time.monotonic()
    run = _Run(store, embedder, make_inverter, _CodeTable(latents, total))
    for number, path in enumerate(photos):
        run.take(number, path)
        if progress:
            progress(number + 1 - len(run.pending))
    run.flush()
    if progress:
        progress(total)
    run.drop_replaced()
    gone = [path for path in run.failed_before if not store.resolve(path).exists()]
    update_failures(store, run.report.failures, [*run.cured, *gone])
    store.compact()
    style_statistics(store)
    run.report.seconds = time.monotonic() - begin
    return run.report


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as e:
        raise ImageError("read", "the file's name is not UTF-8") from e


def _printable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class _Run:
    """State of one ingest."""

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        make_inverter: Callable[[], Inverter],
        codes: _CodeTable,
    ) -> None:
        self.store = store
        self.embedder = embedder
        self.codes = codes
        self.report = IngestReport()
        self.pending: dict[str, _Candidate] = {}
        self.cured: list[str] = []
        self.now_at: dict[str, str] = {}
        """Id of the face at each path of a moved or copied photo."""
        self.failed_before = {f.path for f in read_failures(store)}
        self._make_inverter = make_inverter
        self._known = store.known()
        self._full = GIVEN_BATCH

    @cached_property
    def inverter(self) -> Inverter:
        return self._make_inverter()

    def take(self, number: int, path: Path) -> None:
        """Looks at one photo; flushes when enough are waiting."""
        try:
            _check_name(path)
            candidate = self._examine(number, path)
        except ImageError as e:
            self._fail(_printable(self.store.relative(path)), e)
            return
        if candidate is None or candidate.file.face_id in self.pending:
            self.report.skipped += 1
            return
        self.pending[candidate.file.face_id] = candidate
        if candidate.pixels is not None:
            self._full = self.inverter.batch
        if len(self.pending) >= self._full:
            self.flush()

    def _examine(self, number: int, path: Path) -> _Candidate | None:
        """The photo ready for embedding; None if the store has it already."""
        relative = self.store.relative(path)
        if self._known.has_file(relative, *stat_photo(path)):
            return None
        file = hash_photo(path)
        if self._known.has_id(file.face_id):
            self._follow(file, relative)
            return None
        code = self.codes.find(number, file)
        photo = decode_aligned(path, PHOTO_SIZE if code is None else CHECK_SIZE)
        pixels = photo.pixels if code is None else None
        return _Candidate(file, relative, photo.width, photo.height, code, pixels)

    def _follow(self, file: PhotoFile, relative: str) -> None:
        """A photo whose bytes are in the store, under this or another name.

        If the file that the row names is no longer that photo, the photo was moved, renamed or
        touched: the row follows it. Otherwise it is a copy.
        """
        row = self.store.face(file.face_id)
        recorded = (row.file_size, row.file_mtime_ns)
        try:
            moved = stat_photo(self.store.resolve(row.path)) != recorded
        except ImageError:
            moved = True
        if moved:
            row.path, row.file_size, row.file_mtime_ns = relative, file.size, file.mtime_ns
            self.store.relocate(row)
            self._known = self.store.known()
        self.now_at[relative] = row.id

    def drop_replaced(self) -> None:
        """Removes faces whose photo was overwritten by one that was in the store already."""
        replaced = [
            face
            for path, current in self.now_at.items()
            for face in self.store.ids_at(path)
            if face != current
        ]
        if replaced:
            self.store.remove(replaced)

    def flush(self) -> None:
        """Embeds and commits what is waiting."""
        batch = list(self.pending.values())
        self.pending.clear()
        self._full = GIVEN_BATCH
        rows = []
        for candidate, w, error in self._latents(batch):
            try:
                rows.append(self._row(candidate, w, error))
            except ImageError as e:
                self._fail(candidate.path, e)
        if rows:
            self.report.ingested += self.store.append(rows)
            self.cured += [row.path for row in rows if row.path in self.failed_before]
        if len(self.store.manifest().shards) >= MANY_SMALL:
            self.store.compact(least=MANY_SMALL)
        self._known = self.store.known()

    def _latents(
        self, batch: list[_Candidate]
    ) -> list[tuple[_Candidate, torch.Tensor, float | None]]:
        """Codes of a batch, given or by inversion, with the reconstruction error."""
        found: list[tuple[_Candidate, torch.Tensor, float | None]] = [
            (c, torch.from_numpy(c.code), None) for c in batch if c.code is not None
        ]
        unknown = [c for c in batch if c.pixels is not None]
        if unknown:
            images = to_batch([c.pixels for c in unknown if c.pixels is not None])
            inversion = self.inverter.invert(images)
            errors = inversion.error.tolist()
            found += list(zip(unknown, inversion.w, errors, strict=True))
        return found

    def _row(self, candidate: _Candidate, w: torch.Tensor, error: float | None) -> FaceRow:
        face = self.embedder.embed(w)
        if not (torch.isfinite(face.sigma).all() and torch.isfinite(face.scores).all()):
            raise ImageError("invert", "the latent gives values that are not finite")
        return FaceRow(
            id=candidate.file.face_id,
            path=candidate.path,
            width=candidate.width,
            height=candidate.height,
            file_size=candidate.file.size,
            file_mtime_ns=candidate.file.mtime_ns,
            inverter=GIVEN if candidate.code is not None else self.inverter.fingerprint,
            inversion_error=error,
            w=face.w.numpy(),
            sigma=face.sigma.numpy(),
            scores=face.scores.numpy().astype(np.float16),
        )

    def _fail(self, path: str, error: ImageError) -> None:
        self.report.failures.append(Failure(path, error.stage, error.reason))
