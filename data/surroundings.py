"""Errors of reading that the file is not to blame for, and that leave it as it is."""

from __future__ import annotations

import errno
from pathlib import Path

from ris.errors import StoreError

_OF_SURROUNDINGS = {
    errno.EACCES: "its permissions forbid it",
    errno.EPERM: "its permissions forbid it",
    errno.EMFILE: "too many files are open: raise the limit, as with `ulimit -n 1024`",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOMEM: "not enough memory",
    errno.EINTR: "it was interrupted",
    errno.EAGAIN: "not enough memory or threads",
}


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
