"""An index's folder while one run writes to it: the lock, and what dead runs left."""

from __future__ import annotations

import contextlib
import re
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from filelock import FileLock, Timeout

from ris.data.durable import disk_error, make_folder, put_aside, replacing
from ris.errors import IndexMissingError, StoreError
from ris.index.files import file_name, is_ours
from ris.index.meta import BUILD, META, IndexMeta, read_meta

TEMPORARY = ".tmp-"
LOCK_TIMEOUT = 120.0
"""Seconds that a run waits for another one that writes the same index."""
_FOLDER = re.compile(f"({re.escape(TEMPORARY)}|{BUILD})[0-9a-f]{{8}}")
_DRAFT = re.compile(rf"\.{re.escape(META)}\.tmp-\d+-[0-9a-f]{{8}}")
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
        StoreError: another run was writing this index for too long, or the folder cannot be
            written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            make_folder(self.path)
            self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
            self._lock.acquire(timeout=LOCK_TIMEOUT)
        except Timeout as error:
            raise StoreError(
                f"{path} has been written by another run for over {LOCK_TIMEOUT:.0f} s: "
                "wait for it to end"
            ) from error
        except OSError as error:
            raise disk_error(error, self.path) from error
        try:
            make_folder(self.path)  # a writer that gave up may have removed it
            self.clean()
        except BaseException:
            self._lock.release()
            raise

    def publish(self, text: str) -> None:
        """Replaces meta.json: the commit point."""
        if (self.path / META).is_dir():  # nobody's index, and in the way of one
            put_aside(self.path.parent.parent, self.path / META)
        with replacing(self.path / META) as draft:
            draft.write_text(text, encoding="utf-8")

    def clean(self) -> None:
        """Deletes what dead runs left: folders and files whose names only this program gives, and
        which the committed state does not name. The lock keeps live runs out. What cannot be
        deleted is left to the next run, since the index is whole with it as without."""
        meta: IndexMeta | None = None
        readable = True
        try:
            meta = read_meta(self.path)
        except IndexMissingError:
            pass
        except StoreError:
            readable = False  # of another version, perhaps: builds stay until there is a new index
        with contextlib.suppress(OSError):
            for path in list(self.path.iterdir()):
                if _DRAFT.fullmatch(path.name):
                    path.unlink(missing_ok=True)
                elif _FOLDER.fullmatch(path.name) and (readable or path.name[0] == "."):
                    _empty(path, meta if meta is not None and path.name == meta.build else None)

    def release(self) -> None:
        """Deletes what is not committed, the folder too if nothing is, and lets go of it."""
        try:
            self.clean()
            with contextlib.suppress(OSError):
                self.path.rmdir()  # only if it is empty
        finally:
            self._lock.release()


def _empty(folder: Path, meta: IndexMeta | None) -> None:
    """Deletes an index's files in a folder but those that `meta` names, and the folder if it is
    empty then."""
    if folder.is_symlink() or not folder.is_dir():
        return
    files = {} if meta is None else meta.files
    named = {file_name(name, record.revision) for name, record in files.items()}
    for path in list(folder.iterdir()):
        if is_ours(path.name) and path.name not in named:
            with contextlib.suppress(OSError):  # open files stay where a system cannot delete them
                path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
