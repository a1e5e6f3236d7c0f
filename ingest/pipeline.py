"""The ingest loop: photos -> latents -> sigma and contribution scores -> rows in the store."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from data.failures import Failure, read_failures, update_failures
from data.known import ALL
from data.latents import Latents
from data.shards import GIVEN, FaceRow, photo_of
from data.statistics import style_statistics
from data.store import MANY_SMALL, Store
from ingest.alignment.cut import Aligner, Cut, fits
from ingest.alignment.finder import Face
from ingest.decode import Photo, PhotoFile, decode, hash_photo, stat_photo
from ingest.embedding import Embedder, to_batch
from ingest.given import CodeTable
from ris.errors import ImageError

if TYPE_CHECKING:
    from ingest.inversion import Inverter

GIVEN_BATCH = 16
"""Faces a commit when latents are given (about two seconds of work)."""
MANY_PHOTOS = 256
"""Photos a commit when none brings a new face: their stored rows wait in memory."""


@dataclass
class IngestReport:
    """What an ingest did; every photo gave faces, was skipped or failed.

    Attributes:
        ingested: faces that are new in the store.
        skipped: photos that it held already.
        failures: photos that gave no face.
        seconds: time it took.
    """

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
    """A photo to be ingested.

    Attributes:
        file: its file.
        path: as it is stored.
        width, height: of the upright photo.
        code: its latent, if given.
        cuts: its faces, by number; those of a given latent are not inverted.
        kept: faces of this photo that the store has already.
    """

    file: PhotoFile
    path: str
    width: int
    height: int
    code: np.ndarray | None
    cuts: dict[int, Cut]
    kept: list[FaceRow]

    def face_id(self, number: int) -> str:
        """Id of the face of that number."""
        return f"{self.file.face_id}-{number}" if number else self.file.face_id


def ingest(
    store: Store,
    photos: Iterable[Path],
    embedder: Embedder,
    make_inverter: Callable[[], Inverter],
    *,
    total: int,
    latents: Latents | None = None,
    aligner: Aligner | None = None,
    progress: Callable[[int], None] | None = None,
) -> IngestReport:
    """Adds photos to the store; photos already there are skipped, bad ones counted.

    Every batch is committed on its own, a photo whole or not at all: a run that is killed keeps
    what it had committed, and the next run goes on from there. A photo whose bytes are already
    in the store, under any name, is skipped; one that changed under the same name replaces its
    old rows. Where all faces are asked for and only the largest of a photo was taken before,
    the others are added.

    Args:
        store: opened with ``embedder.settings()``.
        photos: paths of photos.
        embedder: generator, catalogue and options.
        make_inverter: called once, when the first photo without a given latent is met.
        total: number of photos, to check unnamed latents against.
        latents: codes that save the inversion. The photo of a given latent is taken as it is.
        aligner: how faces are found and cut out; by default the largest of each photo, or the
            photo as it is where that is a face crop.
        progress: called with the number of photos dealt with.

    Raises:
        StoreError: the disk is full, or the store is damaged.
        InputError: the latents do not fit.
        MismatchError: the store's faces were inverted otherwise.
    """
    begin = time.monotonic()
    table = CodeTable(latents, total)
    run = _Run(store, embedder, make_inverter, table, aligner or Aligner())
    for number, path in enumerate(photos):
        run.take(number, path)
        if progress:
            progress(number + 1 - len(run.pending))
    run.flush()
    if progress:
        progress(total)
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
        codes: CodeTable,
        aligner: Aligner,
    ) -> None:
        self.store = store
        self.embedder = embedder
        self.codes = codes
        self.aligner = aligner
        self.report = IngestReport()
        self.pending: dict[str, _Candidate] = {}
        self.cured: list[str] = []
        self.now_at: dict[str, str] = {}
        """Id of the photo at each path whose file changed; "" if it shows no face."""
        self.moved: dict[str, list[FaceRow]] = {}
        """Rows of photos that are at another path now, by the photo's id."""
        self.failed_before = {f.path for f in read_failures(store)}
        self._make_inverter = make_inverter
        self._known = store.known()
        self._full = GIVEN_BATCH

    @cached_property
    def inverter(self) -> Inverter:
        inverter = self._make_inverter()
        self.store.check_inverter(inverter.fingerprint)
        return inverter

    def take(self, number: int, path: Path) -> None:
        """Looks at one photo; flushes when enough are waiting."""
        candidate = self._look(number, path)
        if candidate is not None:
            self.pending[candidate.file.face_id] = candidate
            if candidate.code is None:
                self._full = self.inverter.batch
        cuts = sum(len(c.cuts) for c in self.pending.values())
        if cuts >= self._full or max(map(len, self._waiting)) >= MANY_PHOTOS:
            self.flush()

    @property
    def _waiting(self) -> tuple[Sized, ...]:
        """What grows until it is flushed."""
        return self.pending, self.moved, self.now_at

    def _look(self, number: int, path: Path) -> _Candidate | None:
        """The photo ready for embedding; None, and counted, if it failed or is there already."""
        try:
            _check_name(path)
            candidate = self._examine(number, path)
        except ImageError as e:
            relative = self.store.relative(path)
            if e.stage != "read":
                self.now_at.setdefault(relative, "")
            self._fail(_printable(relative), e)
            return None
        if candidate is None or candidate.file.face_id in self.pending:
            self.report.skipped += 1
            return None
        return candidate

    def _examine(self, number: int, path: Path) -> _Candidate | None:
        """The photo ready for embedding; None if the store has it already."""
        relative, selection = self.store.relative(path), self.aligner.faces
        if self._known.has_file(relative, *stat_photo(path), selection):
            return None
        file = hash_photo(path)
        kept: list[FaceRow] = []
        if self._known.has_photo(file.face_id):
            kept = self._follow(file, relative)
        if kept:
            if selection != ALL or all(row.selection == ALL for row in kept):
                return None
            first = kept[0]  # the rows stay those of the file that they name
            relative = first.path
            file = replace(file, size=first.file_size, mtime_ns=first.file_mtime_ns)
        code = self.codes.find(number, file)
        photo = decode(path)
        if code is not None:
            faces = self.aligner.finder.find(photo.picture, largest=True)
            main = self.aligner.as_it_is(photo, faces[0] if faces else None)
            cuts = {} if kept else {0: main}
        else:
            cuts = self._cuts(photo, kept)
        return _Candidate(file, relative, photo.width, photo.height, code, cuts, kept)

    def _cuts(self, photo: Photo, kept: list[FaceRow]) -> dict[int, Cut]:
        """Faces of a photo by number, without those that the store has."""
        try:
            cuts = self.aligner.cuts(photo)
        except ImageError:
            if not kept:
                raise
            cuts = []
        return _others(cuts, kept)

    def _follow(self, file: PhotoFile, relative: str) -> list[FaceRow]:
        """Rows of a photo whose bytes are in the store, under this or another name.

        If the file that the rows name is no longer that photo, the photo was moved, renamed or
        touched: the rows follow it. Otherwise it is a copy. None if another process removed them.
        """
        rows = self.moved.get(file.face_id) or self.store.faces_of(file.face_id)
        if not rows:
            return []
        first = rows[0]
        try:
            moved = stat_photo(self.store.resolve(first.path)) != (
                first.file_size,
                first.file_mtime_ns,
            )
        except ImageError:
            moved = True
        if moved:
            for row in rows:
                row.path, row.file_size, row.file_mtime_ns = relative, file.size, file.mtime_ns
            self.moved[file.face_id] = rows
        self.now_at[relative] = first.photo
        return rows

    def _drop_replaced(self) -> None:
        """Removes faces whose photo was overwritten by one that was in the store already, or
        by one without a face."""
        replaced = [
            face
            for path, current in self.now_at.items()
            for face in self.store.ids_at(path)
            if photo_of(face) != current
        ]
        self.now_at.clear()
        if replaced:
            self.store.remove(replaced)

    def flush(self) -> None:
        """Embeds and commits what is waiting."""
        if self.moved:
            self.store.relocate([row for rows in self.moved.values() for row in rows])
            self.moved.clear()
        batch = list(self.pending.values())
        self.pending.clear()
        self._full = GIVEN_BATCH
        codes = self._latents(batch)
        rows = []
        for candidate in batch:
            try:
                rows += self._rows(candidate, codes)
            except ImageError as e:
                if not candidate.kept:
                    self.now_at.setdefault(candidate.path, "")
                self._fail(candidate.path, e)
                continue
            self.report.skipped += not candidate.cuts
        if rows:
            self.report.ingested += self.store.append(rows)
            self.cured += {row.path for row in rows} & self.failed_before
        self._drop_replaced()
        if len(self.store.manifest().shards) >= MANY_SMALL:
            self.store.compact(least=MANY_SMALL)
        self._known = self.store.known()

    def _latents(self, batch: list[_Candidate]) -> dict[str, tuple[torch.Tensor, float | None]]:
        """Codes of a batch by face id, given or by inversion, with the reconstruction error."""
        found: dict[str, tuple[torch.Tensor, float | None]] = {
            c.face_id(0): (torch.from_numpy(c.code), None) for c in batch if c.code is not None
        }
        cuts = [(c.face_id(n), cut) for c in batch if c.code is None for n, cut in c.cuts.items()]
        while cuts:
            now, cuts = cuts[: self.inverter.batch], cuts[self.inverter.batch :]
            inversion = self.inverter.invert(to_batch([cut.pixels for _, cut in now]))
            ids = (face for face, _ in now)
            found |= zip(ids, zip(inversion.w, inversion.errors(), strict=True), strict=True)
        return found

    def _rows(
        self, candidate: _Candidate, codes: dict[str, tuple[torch.Tensor, float | None]]
    ) -> list[FaceRow]:
        """All rows of a photo."""
        rows = [replace(row, selection=self.aligner.faces) for row in candidate.kept]
        for number, cut in candidate.cuts.items():
            rows.append(self._row(candidate, number, cut, *codes[candidate.face_id(number)]))
        return rows

    def _row(
        self,
        candidate: _Candidate,
        number: int,
        cut: Cut,
        w: torch.Tensor,
        error: float | None,
    ) -> FaceRow:
        embedded = self.embedder.embed(w)
        if not (torch.isfinite(embedded.sigma).all() and torch.isfinite(embedded.scores).all()):
            raise ImageError("invert", "the latent gives values that are not finite")
        return FaceRow(
            id=candidate.face_id(number),
            path=candidate.path,
            width=candidate.width,
            height=candidate.height,
            file_size=candidate.file.size,
            file_mtime_ns=candidate.file.mtime_ns,
            inverter=GIVEN if candidate.code is not None else self.inverter.fingerprint,
            inversion_error=error,
            w=embedded.w.numpy(),
            sigma=embedded.sigma.numpy(),
            scores=embedded.scores.numpy().astype(np.float16),
            face=number,
            selection=self.aligner.faces,
            aligned=cut.aligned,
            quad=cut.quad,
            **({} if cut.face is None else _found(cut.face)),
        )

    def _fail(self, path: str, error: ImageError) -> None:
        self.report.failures.append(Failure(path, error.stage, error.reason))


def _found(face: Face) -> dict[str, Any]:
    """What a row says about a face that was found."""
    return {name: getattr(face, name) for name in ("box", "yaw", "pitch", "roll", "blendshapes")}


def _others(cuts: list[Cut], kept: list[FaceRow]) -> dict[int, Cut]:
    """Those cuts that no row shows yet, under numbers that are free."""
    taken = {row.face for row in kept}
    quads = [row.quad for row in kept if row.quad is not None]
    fresh = [cut for cut in cuts if not any(fits(cut, quad) for quad in quads)]
    numbers = (n for n in range(len(taken) + len(fresh)) if n not in taken)
    return dict(zip(numbers, fresh, strict=False))
