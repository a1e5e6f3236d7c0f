"""Text tables, read strictly: nothing in them is guessed, dropped or altered.

Two forms. Values apart by one of `DELIMITERS`, quoted as RFC 4180 says (a quote inside a quoted
value is written twice); and columns apart by blanks, which is how CelebA's own lists are written,
with or without their line of the count. Every row has as many values as the header.
"""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa

from ris.data.text_lines import text_lines
from ris.errors import InputError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_CHUNK = 8192
_LONGEST_HEADER = 2**20
_PICTURE = re.compile(r"\.(jpe?g?|jfif|png|webp|bmp|tiff?|gif|p[pgn]m|jp2|avif|hei[cf])$", re.I)
_LOOSE_QUOTE = re.compile(r'(?:^|[,;\t|])[ ]+"')
_EXCEL = re.compile(r"sep=([,;|\t])\s*$", re.I)
_COUNT = re.compile(r"[0-9]{1,12}$")
_HEADERLESS = {"identity": "identity", "partition": "partition"}
"""CelebA's lists of two columns have no header; the file's name says what the second one is."""
Row = tuple[int, list[str]]


@dataclass
class TextTable:
    """A table as it is written.

    Attributes:
        names: of the columns, all different, also without regard to case.
        columns: text, one a name.
        lines: number of the line that each row begins on, from 1.
    """

    names: list[str]
    columns: list[pa.ChunkedArray]
    lines: Sequence[int]


def read_delimited(source: Path) -> TextTable:
    """Reads a text table.

    Raises:
        InputError: it is none, or not well-formed; names the lines.
    """
    begin, first = _first_record(source)
    if told := _EXCEL.match(first):
        return _Builder(source).read(_records(source, told[1], skip=begin))
    if source.name.lower().removesuffix(".gz").endswith((".tsv", ".tab")):
        return _Builder(source).read(_records(source, "\t"))
    candidates = [d for d in DELIMITERS if d in first]
    if not candidates:
        return _blank_separated(source)
    if len(candidates) == 1:
        return _Builder(source).read(_records(source, candidates[0]))
    return _only_one(source, candidates)


def _first_record(source: Path) -> tuple[int, str]:
    """The first line that is not empty, with those that a quoted line end joins to it, and the
    number of its last line."""
    first = ""
    number = 0
    for number, line in enumerate(text_lines(source), 1):  # noqa: B007
        first += line if first or line.strip() else ""
        if first and (first.count('"') % 2 == 0 or len(first) > _LONGEST_HEADER):
            break
    if not first:
        raise InputError(f"{source} is empty")
    return number, first


def _only_one(source: Path, candidates: list[str]) -> TextTable:
    """The table that is well-formed with just one of several delimiters."""
    good: dict[str, TextTable] = {}
    failed: dict[str, InputError] = {}
    for delimiter in candidates:
        try:
            table = _Builder(source).read(_records(source, delimiter))
        except InputError as e:
            failed[delimiter] = e
            continue
        if len(table.names) > 1:
            good[delimiter] = table
    if len(good) > 1:
        names = " and by ".join(DELIMITERS[d] for d in good)
        raise InputError(f"{source} reads as a table by {names}: put names that hold one in quotes")
    if good:
        return next(iter(good.values()))
    raise next(iter(failed.values()), InputError(f"{source} has one column only"))


def _records(source: Path, delimiter: str, skip: int = 0) -> Iterator[Row]:
    """Records with the line that each begins on; empty lines are left out."""
    doubtful = False

    def watched() -> Iterator[str]:
        nonlocal doubtful
        for line in islice(text_lines(source), skip, None):
            doubtful = doubtful or _LOOSE_QUOTE.search(line) is not None
            yield line

    begin = 1
    reader = csv.reader(watched(), delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as e:
            raise InputError(f"{source}, line {begin + skip}: {_reason(str(e))}") from e
        if row is None:
            return
        if doubtful and any(value.lstrip(" ").startswith('"') and value[0] == " " for value in row):
            raise InputError(
                f"{source}, line {begin + skip}: a blank stands before a quote: take it out"
            )
        doubtful = False
        if len(row) > 1 or (row and row[0].strip()):
            yield begin + skip, row
        begin = reader.line_num + 1


def _reason(error: str) -> str:
    if "field limit" in error:
        return "a value is over 131,072 characters long: is a quote opened and never closed?"
    if "end of data" in error:
        return "a quote is opened and never closed"
    if "expected after" in error:
        return 'text follows a closing quote: a quote inside a quoted value is written twice ("")'
    return error


@dataclass
class _Builder:
    """Makes columns of records and keeps account of those that are not like the header."""

    source: Path
    lines: array[int] = field(default_factory=lambda: array("Q"))
    chunks: list[list[pa.Array]] = field(default_factory=list)
    ragged: list[tuple[int, int]] = field(default_factory=list)

    def read(self, records: Iterator[Row], header: list[str] | None = None) -> TextTable:
        """The table whose first record is the header, if none is given."""
        if header is None:
            _, header = next(records, (0, []))
            self._check_header(header)
        self.chunks = [[] for _ in header]
        while batch := list(islice(records, _CHUNK)):
            rows = self._rectangular(batch, header)
            for chunk, values in zip(self.chunks, zip(*rows, strict=True), strict=bool(rows)):
                chunk.append(pa.array(values, pa.string()))
        if self.ragged:
            raise self._ragged_error(header)
        columns = [pa.chunked_array(chunk, pa.string()) for chunk in self.chunks]
        return self._named(header, columns)

    def _rectangular(self, records: Iterable[Row], header: list[str]) -> list[list[str]]:
        kept = []
        for line, row in records:
            if len(row) != len(header):
                self.ragged.append((line, len(row)))
                continue
            if row == header:
                raise InputError(f"{self.source}, line {line} is the header once more")
            self.lines.append(line)
            kept.append(row)
        return kept

    def _check_header(self, header: list[str]) -> None:
        names = [name.strip() for name in header]
        if any(_PICTURE.search(name) for name in names) or all(
            name.lstrip("-").replace(".", "", 1).isdigit() for name in names
        ):
            raise InputError(
                f"{self.source} has no header (it begins with {', '.join(names)[:60]!r}): write "
                "the columns' names in the first line, as in file,smiling"
            )

    def _ragged_error(self, header: list[str]) -> InputError:
        shown = ", ".join(f"line {line} has {n}" for line, n in self.ragged[:3])
        more = f" (and {len(self.ragged) - 3} more lines)" if len(self.ragged) > 3 else ""
        return InputError(
            f"{self.source} has {len(header)} columns, but {shown}{more}: put values that hold the "
            "delimiter in quotes"
        )

    def _named(self, header: list[str], columns: list[pa.ChunkedArray]) -> TextTable:
        names: list[str] = []
        kept: list[pa.ChunkedArray] = []
        for place, (given, column) in enumerate(zip(header, columns, strict=True), 1):
            name = given.strip()
            if not name and all(not value.strip() for value in column.unique().to_pylist()):
                continue  # nothing but a delimiter at the end of every line
            names.append(name or f"column{place}")
            kept.append(column)
        check_names(names, self.source)
        return TextTable(names, kept, self.lines)


def check_names(names: Sequence[str], source: Path) -> None:
    """Refuses a table with two columns of one name; SQL's names have no case.

    Raises:
        InputError: as said.
    """
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            raise InputError(
                f"{source} has two columns of one name, {seen[name.lower()]!r} and {name!r}: "
                "rename one"
            )
        seen[name.lower()] = name


# -- columns apart by blanks ------------------------------------------------------------------


def _blank_separated(source: Path) -> TextTable:
    rows = _split(source)
    line, first = next(rows)
    count = int(first[0]) if len(first) == 1 and _COUNT.match(first[0]) else None
    if count is not None:
        line, first = next(rows, (0, []))
    following = list(islice(rows, 1))
    builder = _Builder(source)
    if count is None and len(first) == 2 and _PICTURE.search(first[0]):
        stem = source.name.lower()
        name = next((n for part, n in _HEADERLESS.items() if part in stem), None)
        if name is not None:
            return builder.read(chain([(line, first)], following, rows), ["file", name])
    builder._check_header(first)
    # CelebA's list of attributes has no name over the column of files
    header = ["file", *first] if following and len(following[0][1]) == len(first) + 1 else first
    if len(header) < 2:
        raise InputError(f"{source} needs a column of file names and at least one more")
    table = builder.read(chain(following, rows), header)
    if count is not None and count != len(table.lines):
        raise InputError(
            f"{source} says in line 1 that it has {count} rows, and has {len(table.lines)}: is it "
            "whole?"
        )
    return table


def _split(source: Path) -> Iterator[Row]:
    for number, line in enumerate(text_lines(source), 1):
        # str.split takes more than blanks apart, which matters in other scripts only
        row = line.split() if line.isascii() else re.split(r"[ \t]+", line.strip())
        if row:
            yield number, row
