"""Lists of photos: a path a line, as editors, `find -print0` and Windows write them, and
tables whose column of file names says which."""

from __future__ import annotations

import codecs
import csv
import io
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, AnyStr

from ris.errors import InputError
from ris.ingest.pictures.formats import PICTURE_SUFFIXES
from ris.ingest.sources.folders import COMMENT, Found

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST = 1 << 16
"""Bytes (of UTF-16: characters) that a path has at most; what has more is no list."""
_WIDE = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings by the mark that a file begins with; that of 32 bits begins with that of 16."""
_BLANK = " \t\r"
LOOKED_AT = 200
"""Rows that show which column holds the files."""
_DELIMITERS = ",;\t|"


def read_list(source: Path, base: Path) -> Iterator[Found]:
    """The files that a list names, one a line, or with NUL bytes between them.

    UTF-8 (with or without a mark) and UTF-16 with its mark are read; names in other bytes are
    those of the file system. A name that exists exactly as it stands there is that file; else it
    is looked for without blanks at its ends, as accents are written elsewhere (NFC, NFD), and
    with ``/`` for ``\\``. Blank lines are ignored, and a line that begins with ``#`` and names no
    file is a comment. A name that is not found is given out as it stands.

    Args:
        source: the list.
        base: the folder that relative paths start from.

    Raises:
        InputError: not a list of paths.
    """
    try:
        with source.open("rb") as file:
            head = file.read(LONGEST)
            wide = next((name for mark, name in _WIDE.items() if head.startswith(mark)), None)
            if wide:
                file.seek(0)
                text = io.TextIOWrapper(file, wide, newline="")
                names: Iterator[str] = _pieces(text.read, "\n", source)
            else:
                file.seek(len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)
                _check_unmarked(head, source)
                separator = b"\0" if b"\0" in head else b"\n"
                names = map(os.fsdecode, _pieces(file.read, separator, source))
            for name in names:
                found = look_up(name, base)
                if found is not None:
                    yield found
    except UnicodeDecodeError as e:
        raise InputError(f"{source} is not a list of paths: its {e.encoding} is damaged") from e
    except OSError as e:
        raise InputError(f"{source} cannot be read: {e.strerror or e}") from e


def _pieces(read: Callable[[int], AnyStr], separator: AnyStr, source: Path) -> Iterator[AnyStr]:
    rest = separator[:0]  # nothing yet
    while chunk := read(LONGEST):
        pieces = (rest + chunk).split(separator)
        yield from pieces[:-1]
        rest = pieces[-1]
        if len(rest) > LONGEST:
            raise InputError(
                f"{source} is not a list of paths: a line is over {LONGEST // 1024} KB long"
            )
    if rest:
        yield rest


def _check_unmarked(head: bytes, source: Path) -> None:
    """Refuses UTF-16 without its mark, which would fall apart into single letters."""
    for first in (0, 1):
        zeros, letters = head[first::2], head[1 - first :: 2]
        if len(head) >= 16 and not zeros.strip(b"\0") and b"\n" in letters:
            raise InputError(
                f"{source} looks like UTF-16 without the mark that says so: save it as UTF-8"
            )


def look_up(name: str, base: Path) -> Found | None:
    """The file of one entry; None for a blank line."""
    if "\0" in name:
        return Found(base / name.replace("\0", "?"), True, error="the name has a NUL in it")
    spellings = [name, name.removesuffix("\r"), name.rstrip(_BLANK), name.strip(_BLANK)]
    plain = spellings[-1]
    spellings += [unicodedata.normalize(form, plain) for form in ("NFC", "NFD")]
    spellings.append(plain.replace("\\", "/"))
    for spelling in dict.fromkeys(filter(None, spellings)):
        path = base / spelling
        if os.path.lexists(path):
            return Found(path, named=True)
    if not plain:
        return None
    if plain.startswith("#"):
        return Found(base / plain, named=True, left_out=COMMENT)
    return Found(base / plain, named=True)


def read_table_list(source: Path, base: Path) -> Iterator[Found]:
    """The files that a table names, as the reader of metadata reads it, in the order of its rows.

    The column is the one with most files that are there, or else with most names of pictures,
    in the first `LOOKED_AT` rows. A table may also have that column alone.

    Args:
        source: the table.
        base: the folder that relative paths start from.

    Raises:
        InputError: not a table, or none of its columns names files.
    """
    from ris.data.tables import read_table
    from ris.data.text_lines import text_lines

    first = next((line for line in text_lines(source) if line.strip()), "")
    if not any(c in first for c in _DELIMITERS):
        yield from _only_column(source, base)
        return
    table = read_table(source)
    texts = {n: text for n in table.names if (text := table.text(n)) is not None}
    likely = {n: _likeness(islice(_values(text), LOOKED_AT), base) for n, text in texts.items()}
    name = max(likely, key=lambda n: likely[n], default=None)
    if name is None or likely[name] == (0, 0):
        raise InputError(
            f"{source} is no list of photos: no file is named in any of its columns "
            f"({', '.join(table.names)[:200]})"
        )
    yield from _found(_values(texts[name]), base)


def _only_column(source: Path, base: Path) -> Iterator[Found]:
    from ris.data.text_lines import text_lines

    try:
        rows = (row for row in csv.reader(text_lines(source), strict=True) if row)
        head = next(rows, [""])[0]
        if any(_likeness([head], base)):  # else it is the column's name
            yield from _found([head], base)
        for row in rows:
            if len(row) > 1:
                raise InputError(f"{source} has one column, but also the line {row!r:.100}")
            yield from _found(row, base)
    except csv.Error as e:
        raise InputError(f"{source} is not a readable table: {e}") from e


def _values(column: pa.ChunkedArray) -> Iterator[str]:
    for chunk in column.chunks:
        yield from (value or "" for value in chunk.to_pylist())


def _found(names: Sequence[str] | Iterator[str], base: Path) -> Iterator[Found]:
    for name in names:
        found = look_up(name, base)
        if found is not None:
            yield found


def _likeness(names: Sequence[str] | Iterator[str], base: Path) -> tuple[int, int]:
    """How many of the names are files that are there, and how many are named as pictures."""
    there = pictures = 0
    for found in _found(names, base):
        there += os.path.isfile(found.path)  # False too for a name longer than any can be
        pictures += found.path.suffix.lower() in PICTURE_SUFFIXES
    return there, pictures
