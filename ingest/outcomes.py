"""What becomes of every file of an ingest: each is counted once, and failures are kept."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ris.data.failures import Failure, failures_if_readable, update_failures
from ris.data.store import Store
from ris.errors import ImageError
from ris.ingest.sources.folders import NOT_A_PICTURE, Found
from ris.ingest.sources.sources import is_gone

_BYTE = re.compile(rb"\\x([89a-f][0-9a-f])")


@dataclass
class IngestReport:
    """What an ingest did. Every file is counted once, in `photos`, `skipped`, `failures`,
    `not_pictures` or `left_out`.

    Attributes:
        ingested: faces that are new in the store.
        photos: photos that gave them.
        skipped: photos that the store held already, or that were named before.
        failures: photos that gave no face, and folders that cannot be read.
        not_pictures: other files in the folders.
        left_out: files that were not looked at, by reason (see `ris.ingest.sources.folders`).
        held: whether any of the photos is in the store now.
        seconds: time it took.
    """

    ingested: int = 0
    photos: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    not_pictures: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    held: bool = False
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Number of photos that gave no face."""
        return len(self.failures)

    @property
    def files(self) -> int:
        """Number of files that were dealt with."""
        looked_at = self.photos + self.skipped + self.failed + self.not_pictures
        return looked_at + self.left_out.total()

    def reasons(self) -> Counter[str]:
        """Number of failures by stage and reason."""
        return Counter(f"{f.stage}: {f.reason}" for f in self.failures)


class Outcomes:
    """Counts what becomes of files, and keeps the store's list of failures.

    Args:
        store: of which an ingest begins.

    Attributes:
        report: the counts so far.
    """

    def __init__(self, store: Store) -> None:
        self.report = IngestReport()
        self._store = store
        self._failed_before = {f.path for f in failures_if_readable(store)}
        self._failed: set[str] = set()
        """Paths of this run's failures, as they are stored."""
        self._cured: set[str] = set()

    def failed(self, place: str, error: ImageError, *, kept: bool = False) -> bool:
        """A photo gave no (further) face; whether that was not known yet: it may be named twice.

        Args:
            place: its path as it is stored.
            error: why.
            kept: whether the store has faces of it nevertheless.
        """
        if place in self._failed:
            self.report.skipped += 1
            return False
        self._failed.add(place)
        self.report.held |= kept
        self.report.failures.append(Failure(_printable(place), error.stage, error.reason))
        return True

    def skipped(self, place: str) -> None:
        """A photo is in the store already."""
        self.report.skipped += 1
        self._settled(place)

    def taken(self, place: str) -> None:
        """A photo gave faces."""
        self.report.photos += 1
        self._settled(place)

    def passed_over(self, found: Found, place: str, reason: str) -> None:
        """A file is not looked at."""
        if reason == NOT_A_PICTURE:
            self.report.not_pictures += found.files
        else:
            self.report.left_out[reason] += found.files
        self._cure(place)

    def write(self) -> None:
        """Brings the store's list of failures up to date."""
        gone = [path for path in self._failed_before if _is_over(self._store.resolve(path))]
        update_failures(self._store, self.report.failures, [*self._cured, *gone])

    def _settled(self, place: str) -> None:
        self.report.held = True
        self._cure(place)

    def _cure(self, place: str) -> None:
        if self._failed_before and (name := _printable(place)) in self._failed_before:
            self._cured.add(name)


def _is_over(failed: Path) -> bool:
    """Whether what failed once is no longer there, or is a folder that can be read now."""
    if not failed.is_dir():
        return not any(map(_is_there, (failed, Path(_unprinted(str(failed))))))
    try:
        os.scandir(failed).close()
    except OSError:
        return False
    return True


def _is_there(path: Path) -> bool:
    """Whether there is a file of that name; a link that leads nowhere is one, which fails again."""
    return os.path.lexists(path) or not is_gone(path)


def _printable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _unprinted(path: str) -> str:
    r"""The name of a file that `_printable` wrote with ``\xe9``."""
    return os.fsdecode(_BYTE.sub(lambda m: bytes.fromhex(m[1].decode()), os.fsencode(path)))
