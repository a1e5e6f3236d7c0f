"""Files that last: written so that a crash leaves the old or the new, read with regard for errors
that are not their own, told apart by their bytes, and put aside when they are damaged.

Every write ends in a checked flush and a sync: an error that a disk reports late (a full disk, an
input/output error) surfaces as a `StoreError` before anything takes the place of the old file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ris.errors import StoreError
from ris.notices import warn

_OF_SURROUNDINGS = {
    errno.EACCES: "its permissions forbid it",
    errno.EPERM: "its permissions forbid it",
    errno.EMFILE: "too many files are open: raise the limit, as with `ulimit -n 1024`",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOMEM: "not enough memory",
    errno.EINTR: "it was interrupted",
    errno.EAGAIN: "not enough memory or threads",
}
_MARK = ".tmp-"
STALE = 3600.0
"""Seconds after which a temporary file cannot belong to a run that still writes it."""
DAMAGED = "damaged"
"""Where a store keeps damaged files: nothing reads them and nothing deletes them."""


class UnreadableError(StoreError):
    """A file that cannot be read now, and is whole as far as is known."""


def of_surroundings(error: BaseException) -> bool:
    """Whether an error says nothing about the file that was read: a lack of memory, of file
    descriptors or of permission."""
    if isinstance(error, OSError):
        return error.errno in _OF_SURROUNDINGS
    return isinstance(error, MemoryError)


def unreadable(path: Path, error: BaseException) -> UnreadableError:
    """One line for such a file."""
    code = error.errno if isinstance(error, OSError) else None
    why = "not enough memory" if isinstance(error, MemoryError) else str(error)
    why = _OF_SURROUNDINGS.get(code or 0, why)
    return UnreadableError(f"{path} cannot be read now ({' '.join(why.split())[:160]})")


def listed(folder: Path) -> list[Path]:
    """What a folder holds, in the order of the names; nothing where there is no such folder.

    Raises:
        UnreadableError: it cannot be read now.
    """
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, MemoryError) as e:
        raise unreadable(folder, e) from e


def check_blame(path: Path, error: BaseException) -> None:
    """Refuses to take a file for damaged because of an error that is not its own.

    Raises:
        UnreadableError: too many files are open, say: the file may be whole.
    """
    if of_surroundings(error):
        raise unreadable(path, error) from error


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


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def put_aside(folder: Path, path: Path) -> Path:
    """Moves a file of the store `folder` into ``damaged/`` there, under a name that is free, and
    says so; gives its new place.

    Raises:
        StoreError: it cannot be moved.
    """
    target = free_place(folder, path.name)
    try:
        make_folder(target.parent)
        os.replace(path, target)
        sync_folder(target.parent)
        sync_folder(path.parent)
    except OSError as e:
        raise disk_error(e, target) from e
    warn(f"{path} is damaged and now lies in {target}: delete it if you have no use for it")
    return target


def free_place(folder: Path, name: str) -> Path:
    """A path in ``damaged/`` of a store, of that name or numbered, where nothing lies yet."""
    target = folder / DAMAGED / name
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{name}.{number}")
    return target
