"""Which photo each file name of a table means.

Names are compared as paths, part by part from the end. In order of trust, a name means a photo

1. as it is written, relative to the store's root or absolute;
2. as the end of the photo's path (``a.jpg``, ``photos/a.jpg``);
3. as a path in another folder that the collection once lay in (``/home/me/photos/a.jpg`` where
   the store has ``photos/a.jpg``), if no name with folders fits the present place, and if all
   such names have that other folder in common.

Before that, ``./``, backslashes, blanks at the ends, ``file:`` and percent-encoding are resolved
and Unicode is composed (NFC). Names that still mean nothing are compared without regard to case,
then without suffix. A name that could mean two photos is an error, never a choice.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from ris.errors import InputError

_SPELLINGS: tuple[tuple[Callable[[str], str], bool], ...] = (
    (str, False),
    (str.casefold, False),
    (str, True),
    (str.casefold, True),
)
"""How paths are compared, in order of trust, and whether the photos' suffix is left out."""


@dataclass
class Matches:
    """What `FileNames.match` found.

    Attributes:
        rows: photo -> row of the table that means it.
        unused: rows that mean no photo, in order.
    """

    rows: dict[str, int]
    unused: list[int]


def plain_path(name: str) -> str:
    """A file name without blanks at its ends, ``file:``, ``./`` and double slashes, in NFC; the
    slash before an absolute path and ``..`` at the begin are left out too."""
    name = name.strip()
    if name[:5].lower() == "file:":
        name = unquote(name[5:])
    parts: list[str] = []
    for part in name.replace("\\", "/").split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    path = "/".join(parts)
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def _readings(name: str) -> Iterator[str]:
    """A name as a path, and without percent-encoding."""
    yield plain_path(name)
    if "%" in name:
        yield plain_path(unquote(name))


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _without_suffix(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    return folder + slash + (stem if dot and stem else name)


class FileNames:
    """Photos of a store, to look names up.

    Args:
        photos: their paths, as the store has them.
        root: folder that relative ones start from.
    """

    def __init__(self, photos: Iterable[str], root: Path) -> None:
        self.photos = sorted(set(photos))
        self._root = plain_path(root.absolute().as_posix())
        self._names: set[str] = set()
        for photo in self.photos:
            name = _last(plain_path(photo)).casefold()
            self._names |= {name, _without_suffix(name)}

    def possible(self, name: str) -> bool:
        """Whether a name could mean a photo, in any spelling; quick."""
        return any(_last(reading).casefold() in self._names for reading in _readings(name))

    def match(self, names: Sequence[str | None], where: Callable[[int], str]) -> Matches:
        """Finds the row that belongs to every photo.

        Args:
            names: one a row of the table; None where there is none.
            where: says where a row is, for an error.

        Raises:
            InputError: a name may mean several photos, or two names mean one.
        """
        matching = _Matching(names, where, self._root)
        rest = [i for i, name in enumerate(names) if name and self.possible(name)]
        for trust, (spelling, stems) in enumerate(_SPELLINGS):
            if rest:
                rest = matching.here(rest, _Photos(self.photos, spelling, stems), trust)
        if not matching.foldered:
            for trust, (spelling, stems) in enumerate(_SPELLINGS, len(_SPELLINGS)):
                if rest:
                    rest = matching.elsewhere(rest, _Photos(self.photos, spelling, stems), trust)
        return matching.result()


class _Photos:
    """Photos in one spelling, by the last part of their path."""

    def __init__(
        self, photos: Sequence[str], spelling: Callable[[str], str], without_suffix: bool
    ) -> None:
        self.spelling = spelling
        self._without_suffix = without_suffix
        self._by_name: dict[str, list[str]] = {}
        for photo in photos:
            self._by_name.setdefault(_last(self.path(photo)), []).append(photo)

    def path(self, photo: str) -> str:
        """A photo's path as it is compared."""
        path = self.spelling(plain_path(photo))
        return _without_suffix(path) if self._without_suffix else path

    def near(self, name: str) -> list[str]:
        """Photos with the last part of a name."""
        return self._by_name.get(_last(name), [])


class _Matching:
    """Which rows mean which photos, as far as is known."""

    def __init__(self, names: Sequence[str | None], where: Callable[[int], str], root: str) -> None:
        self._names, self._where, self._root = names, where, root
        self._claims: dict[str, list[tuple[int, int]]] = {}  # photo -> (trust, row)
        self._other: tuple[str, int] | None = None
        self.foldered = False

    def here(self, rows: list[int], photos: _Photos, trust: int) -> list[int]:
        """Takes the rows that mean a photo where the collection lies now; returns the others."""
        rest = []
        for row in rows:
            for reading in _readings(str(self._names[row])):
                name = photos.spelling(reading)
                found = self._meant(photos, name, row)
                if len(found) > 1:
                    raise InputError(
                        f"{self._said(row)} may be {found[0]} or {found[1]}: write the name as "
                        "the store does, with its folder"
                    )
                if found:
                    self._claims.setdefault(found[0], []).append((trust, row))
                    self.foldered |= "/" in name
                    break
            else:
                rest.append(row)
        return rest

    def _meant(self, photos: _Photos, name: str, row: int) -> list[str]:
        near = photos.near(name)
        if len(near) > 1 and self._names[row] in near:
            return [str(self._names[row])]  # two photos whose names differ in blanks, say
        full = {photo: self._full(photo, photos) for photo in near}
        same = [photo for photo in near if name in (photos.path(photo), full[photo])]
        return same or [photo for photo in near if full[photo].endswith("/" + name)]

    def _full(self, photo: str, photos: _Photos) -> str:
        path = photos.path(photo)
        absolute = photo.startswith("/") or re.match(r"[A-Za-z]:", photo)
        return path if absolute else f"{photos.spelling(self._root)}/{path}"

    def elsewhere(self, rows: list[int], photos: _Photos, trust: int) -> list[int]:
        """Takes the rows that mean a photo where the collection once lay."""
        rest = []
        for row in rows:
            for reading in _readings(str(self._names[row])):
                name = photos.spelling(reading)
                fits = [p for p in photos.near(name) if name.endswith("/" + photos.path(p))]
                if fits:
                    photo = max(fits, key=lambda p: len(photos.path(p)))
                    self._check_folder(name[: -len(photos.path(photo)) - 1].casefold(), row)
                    self._claims.setdefault(photo, []).append((trust, row))
                    break
            else:
                rest.append(row)
        return rest

    def _check_folder(self, folder: str, row: int) -> None:
        if self._other is None:
            self._other = folder, row
        elif self._other[0] != folder:
            raise InputError(
                f"{self._said(self._other[1])} and {self._said(row)} lie in different folders, "
                "neither of them the store's: write the names as the store does"
            )

    def _said(self, row: int) -> str:
        return f"{self._names[row]!r} ({self._where(row)})"

    def result(self) -> Matches:
        """The most trusted row of every photo.

        Raises:
            InputError: two rows are trusted alike.
        """
        rows: dict[str, int] = {}
        for photo, claims in self._claims.items():
            (trust, row), *others = sorted(claims)
            if others and others[0][0] == trust:
                raise InputError(
                    f"{self._said(row)} and {self._said(others[0][1])} are several rows for one "
                    f"photo, {photo}: leave one"
                )
            rows[photo] = row
        used = set(rows.values())
        return Matches(rows, [row for row in range(len(self._names)) if row not in used])
