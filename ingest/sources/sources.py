"""Which photos arguments name: folders, photos, lists of files, patterns, standard input."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from ris.errors import ImageError, InputError
from ris.ingest.pictures.formats import file_format, reason_against
from ris.ingest.sources.folders import Found, Identity, expand, identity, is_pattern, walk
from ris.ingest.sources.lists import read_list, read_table_list

STANDARD_INPUT = "-"
LISTS = frozenset({".txt", ".lst"})
TABLES = frozenset({".csv", ".tsv"})
Arguments = str | Path | Sequence[str | Path]


class Sources:
    """All files that some arguments lead to, in a fixed order; may be gone through repeatedly.

    An argument is a folder (searched with its sub-folders, see `ris.ingest.sources.folders.walk`),
    a photo, a list of photos (``.txt`` or ``.lst``, or a table, ``.csv`` or ``.tsv``, see
    `ris.ingest.sources.lists`), ``-`` for a list on standard input, or a pattern with ``*``, ``?``
    or ``[`` (see `ris.ingest.sources.folders.expand`). What exists under exactly that name is no
    pattern. Nothing of what is found is kept, so that any number of files takes no memory.

    Args:
        arguments: one or several.
        store: a store's folder, which is not searched.

    Attributes:
        folders: the arguments that are folders, each once.
        only_folders: whether there are no others.

    Raises:
        InputError: nothing is there under one of the names.
    """

    def __init__(self, arguments: Arguments, store: Path | None = None) -> None:
        several = [arguments] if isinstance(arguments, str | Path) else list(arguments)
        if not several:
            raise InputError("no photos named: name a folder, photos or a list")
        self.text = briefly(several)
        self.folders: list[Path] = []
        self._named: set[Identity] = set()
        self._apart: set[Identity] = set()
        self._input: tempfile._TemporaryFileWrapper[bytes] | None = None
        if store is not None:
            with contextlib.suppress(OSError):
                self._apart.add(identity(store))
        self._parts = [part for a in several if (part := self._part(str(a))) is not None]
        self.only_folders = len(self._parts) == len(self.folders)

    def _part(self, argument: str) -> Callable[[], Iterator[Found]] | None:
        """What gives the files of one argument; None for a folder that was named before."""
        if argument == STANDARD_INPUT:
            return partial(read_list, self._kept_input(), Path())
        if not argument:  # which Path takes for the working folder
            raise InputError("an empty text names no photos: name a folder, or . for this one")
        path = Path(argument)
        if argument.startswith("~") and not os.path.lexists(path):
            path = Path(os.path.expanduser(argument))
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError) as e:
            if is_pattern(argument):
                return partial(expand, str(path))
            if os.path.lexists(path):
                raise InputError(f"{argument} cannot be read: {_reason(e)}") from e
            raise InputError(f"no file or folder {argument}") from e
        if stat.S_ISDIR(mode):
            return self._folder(path)
        if not stat.S_ISREG(mode):
            raise InputError(f"{argument} is a pipe, socket or device: name - to read a list")
        suffix = path.suffix.lower()
        if suffix in LISTS | TABLES and not _is_picture(path):
            return partial(read_table_list if suffix in TABLES else read_list, path, path.parent)
        return partial(iter, (Found(path, named=True),))

    def _folder(self, path: Path) -> Callable[[], Iterator[Found]] | None:
        this = identity(path)
        if this in self._named:
            return None
        self._named.add(this)
        self.folders.append(path)
        self._apart.add(this)
        return partial(walk, path, self._apart)

    def _kept_input(self) -> Path:
        """Standard input in a file, to be read more than once; it goes with this object."""
        if self._input is None:
            if sys.stdin is None:  # the caller closed it
                raise InputError("standard input is closed: pipe a list of paths into it")
            try:
                self._input = tempfile.NamedTemporaryFile(prefix="ris-list-")  # noqa: SIM115
                shutil.copyfileobj(sys.stdin.buffer, self._input)
                self._input.flush()
            except OSError as e:
                raise InputError(f"standard input cannot be read: {_reason(e)}") from e
        return Path(self._input.name)

    def __iter__(self) -> Iterator[Found]:
        for part in self._parts:
            yield from part()

    def count(self) -> int:
        """Number of files, those that are left out too. Opens none of them."""
        return sum(found.files for found in self)

    def photos(self) -> Iterator[Path]:
        """The photos, without what is passed over. A file that cannot be read is among them, for
        who reads it to count.

        Raises:
            InputError: (after the last file) there is none; says what there is instead.
        """
        passed: Counter[str] = Counter()
        none = True
        for found in self:
            try:
                reason = found.error or reason_against(found)
            except ImageError:
                reason = ""
            if reason:
                passed[reason] += found.files
            else:
                none = False
                yield found.path
        if none:
            there = ", ".join(f"{count} x {reason}" for reason, count in passed.most_common())
            raise InputError(f"no photos in {self.text} ({there or 'nothing is there'})")

    def first(self) -> Path:
        """The first photo.

        Raises:
            InputError: there is none; says what there is instead.
        """
        return next(self.photos())


def find_photos(arguments: Arguments) -> Iterator[Path]:
    """The photos that arguments name, see `Sources`; they are told by their content.

    Raises:
        InputError: nothing there, or no photo in it (raised before the first photo).
    """
    photos = Sources(arguments).photos()
    return chain([next(photos)], photos)


def briefly(arguments: Sequence[str | Path]) -> str:
    """Arguments in a message; of many, the first three."""
    more = f" and {len(arguments) - 3} more" if len(arguments) > 4 else ""
    return " ".join(map(str, arguments[:3] if more else arguments)) + more


def is_gone(path: Path) -> bool:
    """Whether a file is no longer there; one that just cannot be looked at is not gone."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def _is_picture(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return file_format(path) is not None
    return False


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
