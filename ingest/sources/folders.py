"""Folders and patterns: the walk through what lies below them, and what becomes of every file.

Every file that the walk comes upon is given out, those that are left out too, with the reason: who
counts what comes counts every file. Files of a folder come in the order of their names, then
those of its sub-folders in the order of theirs. Only one folder's names are held at a time.

Patterns such as ``photos/**/*.jpg`` are read as a shell reads them. They are expanded here and not
by `glob`, which says nothing of folders that it cannot read and follows links into circles.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

NOT_A_PICTURE = "not a picture"
HIDDEN = "hidden"
THUMBNAILS = "in a thumbnail or recycle folder"
LINK = "link to a folder"
SPECIAL = "pipe, socket or device"
FOLDER = "folder that a pattern matches"
COMMENT = "comment in a list"
EDITED = "edited by RIS"
DRAWN = "sheet or figure drawn by RIS"
STORE = ".ris"
"""A store's usual name; its files are not the user's and not counted."""
MADE_BY_SYSTEMS = frozenset(
    ("@eadir", "@recycle", "#recycle", "$recycle.bin", "thumbs", ".thumbnails", ".@__thumb")
)
"""Folders (in lower case) where systems keep thumbnails and what was deleted: copies of photos."""
Identity = tuple[int, int]
"""Device and inode: what a folder is, under whatever name."""
ANY_FOLDERS = "**"
_WILDCARD = re.compile(r"[*?]|\[[^/]+\]")


class Found(NamedTuple):
    """A file that an argument leads to.

    Attributes:
        path: where it is.
        named: an argument or a list names the file itself, so that it fails where it is no
            picture; a file that a folder or pattern leads to is then passed over.
        left_out: why it is not looked at, one of the words above; "" if it is.
        error: why it cannot be looked at, such as a folder that cannot be read; "" if it can.
        files: how many files it stands for: a folder that is left out stands for those in it.
    """

    path: Path
    named: bool = False
    left_out: str = ""
    error: str = ""
    files: int = 1


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
    for where, inside, not_entered in descend(folder, apart):
        if inside is not None:
            kinds = ((inside.files, ""), (inside.links, LINK), (inside.special, SPECIAL))
            for names, reason in kinds:
                for name in names:
                    yield Found(where / name, left_out=HIDDEN if is_hidden(name) else reason)
        yield from not_entered


def descend(
    folder: Path, apart: Collection[Identity] = (), hidden: bool = True
) -> Iterator[tuple[Path, Listing | None, Iterator[Found]]]:
    """A folder and all folders below it that are entered, each before those in it.

    Args:
        folder: where to begin.
        apart: folders that are neither entered nor spoken of.
        hidden: speak of hidden folders, which are not entered.

    Yields:
        the folder, what is in it (None where it cannot be read), and what stands for folders in
        it that are not entered, or for itself if it cannot be read.
    """
    pending = [folder]
    while pending:
        where = pending.pop()
        try:
            inside = listing(where)
        except OSError as e:
            yield where, None, iter((unreadable(where, e),))
            continue
        names = [name for name in inside.folders if hidden or not is_hidden(name)]
        enter, others = _sub_folders(where, names, apart)
        yield where, inside, _left_out(where, others)
        pending += reversed(enter)


def _sub_folders(
    where: Path, names: list[str], apart: Collection[Identity]
) -> tuple[list[Path], list[str]]:
    """Which sub-folders of a folder are entered, and which are left out with their files."""
    enter, others = [], []
    for name in names:
        path = where / name
        if name == STORE or (apart and _is_among(path, apart)):
            continue
        if reason_against_folder(name):
            others.append(name)
        else:
            enter.append(path)
    return enter, others


def _left_out(where: Path, names: list[str]) -> Iterator[Found]:
    """Sub-folders that are not entered, with their files, if there are any."""
    for name in names:
        if files := count_files(where / name):
            yield Found(where / name, left_out=reason_against_folder(name), files=files)


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


def is_pattern(text: str) -> bool:
    """Whether there is a wildcard in it; a bracket that is not closed is none."""
    return _WILDCARD.search(text) is not None


def expand(pattern: str) -> Iterator[Found]:
    """The files that a pattern matches, in a fixed order.

    ``*``, ``?`` and ``[...]`` match no hidden name unless the pattern's dot does; ``**`` stands
    for any number of sub-folders, but for hidden ones, links and those of thumbnails or deleted
    files. Folders that the pattern matches are left out.
    """
    *folders, last = Path(pattern).parts
    begin = Path(folders.pop(0)) if folders and os.path.isabs(folders[0]) else Path()
    # "**" at the end is every file below, as "**/*"
    parts = [*folders, ANY_FOLDERS, "*"] if last == ANY_FOLDERS else [*folders, last]
    yield from _expand(begin, parts)


def _expand(where: Path, parts: list[str]) -> Iterator[Found]:
    first, rest = parts[0], parts[1:]
    if first == ANY_FOLDERS:
        while rest[0] == ANY_FOLDERS:
            rest = rest[1:]
        yield from _expand_below(where, rest)
    elif not is_pattern(first):
        path = where / first
        if rest:
            if os.path.isdir(path):
                yield from _expand(path, rest)
        elif os.path.lexists(path):
            yield Found(path, left_out=FOLDER if os.path.isdir(path) else "")
    else:
        try:
            inside = listing(where)
        except OSError as e:
            yield unreadable(where, e)
            return
        if not rest:
            yield from _names(where, inside, first)
            return
        for name in _matching(sorted([*inside.folders, *inside.links]), first):
            if reason_against_folder(name) == THUMBNAILS:
                yield from _left_out(where, [name])
            else:
                yield from _expand(where / name, rest)


def _expand_below(where: Path, parts: list[str]) -> Iterator[Found]:
    """What the rest of a pattern matches in a folder and all folders below it."""
    for here, inside, not_entered in descend(where, hidden=False):
        if inside is not None:
            if len(parts) == 1:
                yield from _names(here, inside, parts[0], deep=True)
            else:
                yield from _expand(here, parts)
            yield from (Found(here / n, left_out=LINK) for n in inside.links if not is_hidden(n))
        yield from not_entered


def _names(where: Path, inside: Listing, pattern: str, deep: bool = False) -> Iterator[Found]:
    """The entries of a folder that the last part of a pattern matches."""
    yield from (Found(where / name) for name in _matching(inside.files, pattern))
    for name in _matching(inside.special, pattern):
        yield Found(where / name, left_out=SPECIAL)
    if not deep:  # else they are entered, or counted as links
        for name in _matching(sorted([*inside.folders, *inside.links]), pattern):
            yield Found(where / name, left_out=FOLDER)


def _matching(names: list[str], pattern: str) -> list[str]:
    return [
        name
        for name in names
        if fnmatch.fnmatchcase(name, pattern) and (pattern.startswith(".") or not is_hidden(name))
    ]
