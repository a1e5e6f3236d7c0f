"""An index's folder while one run writes to it: the lock, and what dead runs left."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from filelock import FileLock, Timeout

from data.durable import disk_error, replacing
from index.meta import BUILD, META, IndexMeta, file_name, read_meta
from ris.errors import IndexMissingError, StoreError

TEMPORARY = ".tmp-"
Change = TypeVar("Change", bound="FolderChange")


class FolderChange(ABC):
    """A change of an index's folder, as a context manager: left without having published
    anything, it leaves the index as it was; an error of the disk ends in a `StoreError`.

    Args:
        folder: the index's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def __enter__(self: Change) -> Change:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()
        if isinstance(error, OSError):
            raise disk_error(error, self.folder) from error

    @abstractmethod
    def abort(self) -> None:
        """Drops what was not published; does nothing where there is nothing to drop."""


class LockedFolder:
    """Holds the lock of an index's folder, which is made if need be, until `release`.

    Args:
        path: the index's folder, e.g. ``.ris/index/eyes``.

    Raises:
        StoreError: another run is writing this index, or the folder cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise StoreError(
                f"{path} is being written by another run: wait for it to end"
            ) from error
        except OSError as error:
            raise disk_error(error, self.path) from error
        try:
            self.path.mkdir(exist_ok=True)  # a writer that gave up may have removed it
            self.clean()
        except BaseException:
            self._lock.release()
            raise

    def publish(self, text: str) -> None:
        """Replaces meta.json: the commit point."""
        with replacing(self.path / META) as draft:
            draft.write_text(text, encoding="utf-8")

    def clean(self) -> None:
        """Deletes what the committed state does not name; the lock keeps live runs out."""
        try:
            meta = read_meta(self.path)
        except IndexMissingError:
            self._remove(BUILD)
        except StoreError:
            pass  # of another version, perhaps: it stays until there is a new index
        else:
            self._remove(BUILD, keep=meta.build)
            self._remove_revisions(meta)
        self._remove(TEMPORARY)
        self._remove(f".{META}{TEMPORARY}")

    def release(self) -> None:
        """Deletes what is not committed, the folder too if nothing is, and lets go of it."""
        try:
            self.clean()
            if not any(self.path.iterdir()):
                self.path.rmdir()
        finally:
            self._lock.release()

    def _remove_revisions(self, meta: IndexMeta) -> None:
        build = self.path / meta.build
        named = {file_name(name, record.revision) for name, record in meta.files.items()}
        for path in build.iterdir() if build.is_dir() else ():
            if path.name not in named:
                path.unlink(missing_ok=True)

    def _remove(self, prefix: str, keep: str | None = None) -> None:
        for path in self.path.glob(prefix + "*"):
            if path.name == keep:
                continue
            if path.is_dir() and not path.is_symlink():
                # A system that cannot delete open files leaves them to the next run.
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
