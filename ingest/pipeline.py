"""The ingest loop: photos -> latents -> sigma and contribution scores -> rows in the store.

Three things go on at once. The main thread looks at one photo after the other (is it known? is it
a copy, or moved?) and queues what has to be read; as many threads as there are cores read one
photo each, from the file to its rows (`ris.ingest.reading`); the main thread takes the rows from
the queue in the order of the photos and commits them, while the others read on. What is looked at,
read and committed, and in which order, depends on the photos alone, not on who is faster.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ris.data.known import ALL
from ris.data.latents import CodeTable, Latents
from ris.data.shards import FaceRow, photo_of
from ris.data.stats_file import style_statistics
from ris.data.store import MANY_SMALL, Store
from ris.errors import ImageError
from ris.ingest.loaded_models import Models
from ris.ingest.outcomes import IngestReport, Outcomes
from ris.ingest.pictures.decode import PhotoFile, hash_photo, stat_photo
from ris.ingest.pictures.formats import reason_against
from ris.ingest.reading import CutPhoto, RowReader, Task
from ris.ingest.sources.folders import Found
from ris.ingest.threads import single_threads, worker_count

COMMIT_BYTES = 4 << 20
"""Vectors a commit: about 24 faces of the default generator."""
COMMIT_SECONDS = 60.0
"""Rows do not wait longer for a commit, where faces take their time."""
AHEAD = 32
"""Photos that are looked at before the first of them is through. Not a matter of cores: it decides
what is known when a photo is looked at, and so how rows are parted into commits."""
DEVICE_FACES = 64
"""Faces a commit where a device wants many at once."""
MANY_PHOTOS = 256
"""Photos a commit when none brings a new face: their stored rows wait in memory."""


@dataclass
class _Entry:
    """A photo in the queue.

    Attributes:
        task: what is read.
        place: its path as it is stored, if it were new.
        rows: what becomes of it; None for a copy of a photo before it in the queue.
        original: that photo.
        error: why it gave no face, once that is known.
    """

    task: Task
    place: str
    rows: Future[list[FaceRow] | CutPhoto] | None = None
    original: _Entry | None = None
    error: ImageError | None = None

    @property
    def photo(self) -> str:
        """The photo's id."""
        return self.task.file.face_id


def ingest(
    store: Store,
    photos: Iterable[Path | Found],
    models: Models,
    *,
    total: int | None = None,
    latents: Latents | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> IngestReport:
    """Adds photos to the store; photos already there are skipped, bad ones and other files counted.

    Rows are committed by the megabyte, a photo whole or not at all: a run that is killed keeps
    what it had committed, and the next run goes on from there. A photo whose bytes are already
    in the store, under any name, is skipped; one that changed under the same name replaces its
    old rows. Where all faces are asked for and only the largest of a photo was taken before,
    the others are added.

    Args:
        store: opened with ``models.embedder.settings()``.
        photos: paths of photos, or the files that a search for photos came upon.
        models: what photos are read with; the inverter is loaded when the first photo without a
            given latent is met.
        total: number of photos, to check unnamed latents against; needed with those alone.
        latents: codes that save the inversion. The photo of a given latent is taken as it is.
        workers: photos that are read at the same time; by default one a core. The rows do not
            depend on it.
        progress: called with the number of files dealt with.

    Raises:
        StoreError: the disk is full, or the store is damaged.
        InputError: the latents do not fit.
        MismatchError: the store's faces were inverted otherwise.
    """
    begin = time.monotonic()
    table = CodeTable(latents, total)
    reader = RowReader(models, cache(store.check_inverter))  # which reads all rows' inverters
    with single_threads(workers or worker_count()) as pool:
        run = _Run(store, reader, table, pool)
        try:
            for photo in photos:
                run.take(photo if isinstance(photo, Found) else Found(photo, named=True))
                if progress:
                    progress(run.outcomes.report.files)
            run.finish()
        except BaseException:
            reader.stop()
            raise
    if progress:
        progress(run.outcomes.report.files)
    run.outcomes.write()
    store.compact()
    style_statistics(store)
    run.outcomes.report.seconds = time.monotonic() - begin
    return run.outcomes.report


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as e:
        raise ImageError("read", "the file's name is not UTF-8") from e


class _Run:
    """State of one ingest; everything here is the main thread's."""

    def __init__(
        self, store: Store, reader: RowReader, codes: CodeTable, pool: ThreadPoolExecutor
    ) -> None:
        self.store = store
        self.reader = reader
        self.codes = codes
        self.outcomes = Outcomes(store)
        self.now_at: dict[str, str] = {}
        """Id of the photo at each path whose file changed; "" if it shows no face."""
        self.moved: dict[str, list[FaceRow]] = {}
        """Rows of photos that are at another path now, by the photo's id."""
        self._number = 0
        """Photos that were looked at."""
        self._pool = pool
        self._queue: deque[_Entry] = deque()
        self._under_way: dict[str, _Entry] = {}
        """Photos in the queue or read and not yet committed, by id."""
        self._rows: list[FaceRow] = []
        self._cut: list[tuple[_Entry, CutPhoto]] = []
        """On a device: photos that wait for their rows."""
        self._known = store.known()
        self._committed = time.monotonic()

    def take(self, found: Found) -> None:
        """Looks at one file; when the queue is full, takes in what the first one gave."""
        place = self.store.relative(found.path)
        try:
            entry = self._look_at(found, place)
        except ImageError as e:
            self._fail(place, e)
            entry = None
        if entry is not None:
            self._queue.append(entry)
            if len(self._queue) >= AHEAD:
                self._collect()
        if max(len(self.moved), len(self.now_at)) >= MANY_PHOTOS:
            self.commit()

    def _look_at(self, found: Found, place: str) -> _Entry | None:
        """A photo to be read by another thread; None for a file that is done with already."""
        if found.error:
            raise ImageError("read", found.error)
        number = self._number
        self._number += 1
        known = not found.left_out and self._has(found.path, place)
        # what is known need not be opened; but codes without names go by the number of photos
        if not known or self.codes.in_order:
            reason = reason_against(found)
            if reason:
                self._number = number
                self.outcomes.passed_over(found, place, reason)
                return None
        _check_name(found.path)
        entry = None if known else self._examine(number, found.path, place)
        if entry is None:
            self.outcomes.skipped(place)
        return entry

    def _has(self, path: Path, place: str) -> bool:
        """Whether the file has its rows and was not changed since."""
        return self._known.has_file(place, *stat_photo(path), self.reader.models.aligner.faces)

    def finish(self) -> None:
        """Takes in and commits everything."""
        while self._queue:
            self._collect()
        self.commit()

    def _examine(self, number: int, path: Path, relative: str) -> _Entry | None:
        """The photo, to be read by another thread; None if the store has it already."""
        selection = self.reader.models.aligner.faces
        file = hash_photo(path)
        original = self._under_way.get(file.face_id)
        if original is not None:
            return _Entry(original.task, relative, original=original)
        kept: list[FaceRow] = []
        place = relative
        if self._known.has_photo(file.face_id):
            kept = self._follow(file, relative)
        if kept:
            if selection != ALL or all(row.selection == ALL for row in kept):
                return None
            first = kept[0]  # the rows stay those of the file that they name
            place = first.path
            file = replace(file, size=first.file_size, mtime_ns=first.file_mtime_ns)
        task = Task(file, place, self.codes.find(number, file.sha256, file.path.name), kept)
        entry = _Entry(task, relative, self._pool.submit(self.reader.read_photo, task))
        self._under_way[entry.photo] = entry
        return entry

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

    def _collect(self) -> None:
        """Takes in what the first photo of the queue gave; commits when that is enough."""
        entry = self._queue.popleft()
        if entry.rows is None:
            self._take_copy(entry)
            return
        try:
            found = entry.rows.result()
        except ImageError as e:
            self._give_up(entry, e)
            return
        finally:
            entry.rows = None
        if isinstance(found, CutPhoto):
            self._cut.append((entry, found))
        else:
            self._take_rows(entry, found)
        if self._is_full():
            self.commit()

    def _is_full(self) -> bool:
        if self._cut:
            return sum(len(p.cuts) for _, p in self._cut) >= DEVICE_FACES
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            return True
        return sum(r.w.nbytes + r.sigma.nbytes + r.scores.nbytes for r in self._rows) > COMMIT_BYTES

    def _take_rows(self, entry: _Entry, rows: list[FaceRow]) -> None:
        self._rows += rows
        if len(rows) == len(entry.task.kept):
            self.outcomes.skipped(entry.place)
        else:
            self.outcomes.taken(entry.place)

    def _take_copy(self, entry: _Entry) -> None:
        """What becomes of a copy, now that it is known what became of the original."""
        assert entry.original is not None
        if entry.original.error is not None:
            self._fail(entry.place, entry.original.error)
            return
        self.now_at[entry.place] = entry.photo
        self.outcomes.skipped(entry.place)

    def _give_up(self, entry: _Entry, error: ImageError) -> None:
        entry.error = error
        del self._under_way[entry.photo]
        self._fail(entry.place, error, kept=bool(entry.task.kept))

    def _fail(self, place: str, error: ImageError, *, kept: bool = False) -> None:
        new = self.outcomes.failed(place, error, kept=kept)
        if new and error.stage != "read" and not kept:
            self.now_at.setdefault(place, "")

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

    def commit(self) -> None:
        """Commits what was taken in."""
        if self.moved:
            self.store.relocate([row for rows in self.moved.values() for row in rows])
            self.moved.clear()
        waiting, self._cut = self._cut, []
        for (entry, _), rows in zip(
            waiting, self.reader.rows([photo for _, photo in waiting]), strict=True
        ):
            if isinstance(rows, ImageError):
                self._give_up(entry, rows)
            else:
                self._take_rows(entry, rows)
        if self._rows:
            self.outcomes.report.ingested += self.store.append(self._rows)
            for row in self._rows:
                self._under_way.pop(row.photo, None)
            self._rows.clear()
        self._drop_replaced()
        if len(self.store.manifest().shards) >= MANY_SMALL:
            self.store.compact(least=MANY_SMALL)
        self._known = self.store.known()
        self._committed = time.monotonic()
