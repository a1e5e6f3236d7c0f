"""Folders: what is in them, and the walk through all of their sub-folders.

Every file that the walk comes upon is given out, those that are left out too, with the reason: who
counts what comes counts every file. Files of a folder come in the order of their names, then
those of its sub-folders in the order of theirs. Only one folder's names are held at a time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ris.ingest.sources.found import HIDDEN, LINK, SPECIAL, THUMBNAILS, Found

STORE = ".ris"
"""A store's usual name; its files are not the user's and not counted."""
MADE_BY_SYSTEMS = frozenset(
    ("@eadir", "@recycle", "#recycle", "$recycle.bin", "thumbs", ".thumbnails", ".@__thumb")
)
"""Folders (in lower case) where systems keep thumbnails and what was deleted: copies of photos."""

Identity = tuple[int, int]
"""Device and inode: what a folder is, under whatever name."""


@dataclass
class Listing:
    """A folder's entries by what they are, each kind in the order of the names."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    """Links to folders."""
    special: list[str] = field(default_factory=list)
    """Pipes, sockets and devices, which may never end when they are read."""


def listing(folder: Path) -> Listing:
    """What is in a folder. A link that leads nowhere counts as a file, which fails when read.

    Raises:
        OSError: the folder cannot be read.
    """
    found = Listing()
    with os.scandir(folder) as entries:
        for entry in entries:
            _kind(found, entry).append(entry.name)
    for names in (found.files, found.folders, found.links, found.special):
        names.sort()
    return found


def _kind(found: Listing, entry: os.DirEntry[str]) -> list[str]:
    try:
        if entry.is_dir(follow_symlinks=False):
            return found.folders
        if entry.is_symlink() and entry.is_dir():
            return found.links
        if entry.is_file() or not os.path.exists(entry.path):
            return found.files
    except OSError:  # a circle of links, for one: reading it says so
        return found.files
    return found.special


def identity(folder: Path) -> Identity:
    """What folder it is, under whatever name.

    Raises:
        OSError: it cannot be looked at.
    """
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def walk(folder: Path, apart: Collection[Identity] = ()) -> Iterator[Found]:
    """All files of a folder and its sub-folders.

    Left out are hidden files and folders, links to folders, folders of thumbnails and deleted
    files, and what is no regular file; a store's files are not given out at all. A sub-folder
    that cannot be read is an error of its own. The folder itself may have any name.

    Args:
        folder: where to begin.
        apart: folders that are not entered, because they are walked on their own or are a store.
    """
    pending = [folder]
    while pending:
        where = pending.pop()
        try:
            inside = listing(where)
        except OSError as e:
            yield unreadable(where, e)
            continue
        for name in inside.files:
            yield Found(where / name, left_out=HIDDEN if is_hidden(name) else "")
        for name in inside.links:
            yield Found(where / name, left_out=HIDDEN if is_hidden(name) else LINK)
        for name in inside.special:
            yield Found(where / name, left_out=HIDDEN if is_hidden(name) else SPECIAL)
        enter, left_out = sub_folders(where, inside.folders, apart)
        yield from left_out
        pending += reversed(enter)


def sub_folders(
    where: Path, names: list[str], apart: Collection[Identity]
) -> tuple[list[Path], list[Found]]:
    """Which sub-folders of a folder are entered, and those that are left out with their files."""
    enter, left_out = [], []
    for name in names:
        path = where / name
        reason = reason_against_folder(name)
        if name == STORE or (apart and _is_among(path, apart)):
            continue
        if not reason:
            enter.append(path)
        elif files := count_files(path):
            left_out.append(Found(path, left_out=reason, files=files))
    return enter, left_out


def reason_against_folder(name: str) -> str:
    """Why a folder of that name is not entered; "" if it is."""
    if name.lower() in MADE_BY_SYSTEMS:
        return THUMBNAILS
    return HIDDEN if is_hidden(name) else ""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, by its name."""
    return name.startswith(".")


def unreadable(folder: Path, error: OSError) -> Found:
    """What stands for a folder that cannot be read."""
    return Found(folder, error=f"the folder cannot be read: {error.strerror or error}")


def count_files(folder: Path) -> int:
    """Number of files below a folder; one that cannot be read counts as one."""
    files, pending = 0, [folder]
    while pending:
        where = pending.pop()
        try:
            inside = listing(where)
        except OSError:
            files += 1
            continue
        files += len(inside.files) + len(inside.links) + len(inside.special)
        pending += [where / name for name in inside.folders if name != STORE]
    return files


def _is_among(folder: Path, identities: Collection[Identity]) -> bool:
    with contextlib.suppress(OSError):
        return identity(folder) in identities
    return False
