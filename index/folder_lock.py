"""A lock on a folder that lasts no longer than the process that holds it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # no such locks on this system: writers are not kept apart there
    fcntl = None  # type: ignore[assignment]


class FolderLock:
    """An exclusive advisory lock on a folder, which is created if need be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Takes the lock; False if another writer holds it."""
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            if fcntl is None:
                return True
            try:
                handle = os.open(self.folder, os.O_RDONLY)
            except FileNotFoundError:
                continue  # removed by a writer that gave up
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_current(handle):
                    self._handle = handle
                    return True
            except OSError as error:
                os.close(handle)
                # Any other error: a file system without locks.
                return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
            os.close(handle)

    def _is_current(self, handle: int) -> bool:
        """Whether the locked folder is still the one at that path."""
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self.folder))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Gives the lock back; nothing if it is not held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
