"""Patterns such as ``photos/**/*.jpg``, as a shell reads them.

They are expanded here and not by `glob`, which says nothing of folders that it cannot read and
follows links into circles.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ris.ingest.sources.folders import (
    Listing,
    is_hidden,
    listing,
    reason_against_folder,
    sub_folders,
    unreadable,
)
from ris.ingest.sources.found import FOLDER, LINK, SPECIAL, THUMBNAILS, Found

ANY_FOLDERS = "**"
_WILDCARD = re.compile(r"[*?]|\[[^/]+\]")


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
                yield from sub_folders(where, [name], ())[1]
            else:
                yield from _expand(where / name, rest)


def _expand_below(where: Path, parts: list[str]) -> Iterator[Found]:
    """What the rest of a pattern matches in a folder and all folders below it."""
    pending = [where]
    while pending:
        here = pending.pop()
        try:
            inside = listing(here)
        except OSError as e:
            yield unreadable(here, e)
            continue
        if len(parts) == 1:
            yield from _names(here, inside, parts[0], deep=True)
        else:
            yield from _expand(here, parts)
        seen = [name for name in inside.folders if not is_hidden(name)]
        enter, left_out = sub_folders(here, seen, ())
        yield from left_out
        yield from (Found(here / n, left_out=LINK) for n in inside.links if not is_hidden(n))
        pending += reversed(enter)


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
