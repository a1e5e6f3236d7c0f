"""Files that are either the old or the new one, whatever happens while they are written.

Every write ends in a checked flush and a sync: an error that a disk reports late (a full disk, an
input/output error) surfaces as a `StoreError` before anything takes the place of the old file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ris.data.surroundings import listed
from ris.errors import StoreError

_MARK = ".tmp-"
STALE = 3600.0
"""Seconds after which a temporary file cannot belong to a run that still writes it."""


def sync_folder(folder: Path) -> None:
    """Makes renames and removals within a folder durable (a no-op where the system can't)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Flushes a closed file's content to the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, as far as they are missing, durably: the parent of each
    is synced.

    Raises:
        OSError: it cannot be made.
    """
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        if folder.parent == folder:
            break
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        sync_folder(new.parent)


@contextlib.contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, to be written and renamed by the block; what is still
    there when the block ends is removed.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}{_MARK}{os.getpid()}-{os.urandom(4).hex()}")
    try:
        yield temporary
    except OSError as e:
        raise disk_error(e, path) from e
    finally:
        with contextlib.suppress(OSError):  # where even that fails, it is swept up later
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write; puts it in the place of `path` when the block ends well.

    Order: 1 the block writes the temporary file, 2 fsync, 3 rename, which is the commit point,
    4 fsync of the folder. If the block fails the temporary file is removed and `path` is as it
    was.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    with draft(path) as temporary:
        yield temporary
        sync_file(temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)


def flush(file: IO[bytes]) -> None:
    """Brings everything that was written into an open file onto the disk."""
    file.flush()
    os.fsync(file.fileno())


def is_temporary(name: str) -> bool:
    """Whether a file name is one that `draft` and `replacing` give out."""
    return name.startswith(".") and _MARK in name


def remove_stale(folder: Path) -> None:
    """Deletes temporary files that a killed run left long ago."""
    for path in listed(folder):
        with contextlib.suppress(FileNotFoundError):
            if is_temporary(path.name) and time.time() - path.stat().st_mtime > STALE:
                path.unlink()


def disk_error(error: OSError, path: Path) -> StoreError:
    """One line for a failed write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"no space left to write {path}; what was committed before is kept: "
            "free some space and run the same command again"
        )
    return StoreError(f"cannot write {path}: {error.strerror or error}")
