"""Tables as lists of photos: the column of file names says which."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa

from ris.errors import InputError
from ris.ingest.pictures.recognition import PICTURE_SUFFIXES
from ris.ingest.sources.found import Found
from ris.ingest.sources.lists import look_up

LOOKED_AT = 200
"""Rows that show which column holds the files."""
_DELIMITERS = ",;\t|"


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
