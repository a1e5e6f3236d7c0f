"""Tables that a user gives: text with delimiters or blanks, or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ris.data.column_types import typed, without_nan
from ris.data.delimited import check_names, read_delimited
from ris.errors import InputError

_REFUSED = {
    b"PK\x03\x04": "a spreadsheet or an archive",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
}
"""First bytes of files that are no table here."""


@dataclass
class Table:
    """A user's table.

    Attributes:
        source: the file.
        names: of the columns, all different, also without regard to case.
        rows: how many.
    """

    source: Path
    names: list[str]
    rows: int
    _written: list[pa.ChunkedArray]
    _lines: Sequence[int] | None
    _typed: dict[str, pa.ChunkedArray] = field(default_factory=dict)

    @property
    def as_text(self) -> bool:
        """Whether it was text, whose types follow from its values."""
        return self._lines is not None

    def column(self, name: str) -> pa.ChunkedArray:
        """The values of a column, with its type and NULL where nothing is known."""
        if name not in self._typed:
            written = self._written[self.names.index(name)]
            self._typed[name] = typed(written) if self.as_text else without_nan(written)
        return self._typed[name]

    def text(self, name: str) -> pa.ChunkedArray | None:
        """The values of a column as they are written; None of a column that holds no names."""
        column = self._written[self.names.index(name)]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        kind = column.type
        if pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_nested(kind):
            return None
        try:
            return column.cast(pa.string())
        except pa.ArrowException:
            return None

    def where(self, row: int) -> str:
        """How a person finds a row: its line in a text, else its number, from 1."""
        return f"row {row + 1}" if self._lines is None else f"line {self._lines[row]}"


def read_table(source: Path) -> Table:
    """Reads a table: CSV (comma, semicolon, tab or bar), CelebA's lists, or Parquet.

    Text is UTF-8 or, by its mark, UTF-16, and may be packed with gzip.

    Raises:
        InputError: missing, unreadable, of another kind, not well-formed, or of one column.
    """
    try:
        if source.is_dir():
            raise InputError(f"{source} is a folder, not a table")
        if not source.is_file():
            if source.exists():
                raise InputError(f"{source} is a pipe or device: save the table as a file")
            raise InputError(f"no metadata file {source}")
        with source.open("rb") as file:
            head = file.read(6)
    except (OSError, ValueError) as e:
        raise InputError(f"{source} cannot be read: {getattr(e, 'strerror', None) or e}") from e
    if what := next((text for mark, text in _REFUSED.items() if head.startswith(mark)), None):
        raise InputError(f"{source} is {what}: save the table as CSV in UTF-8, or as Parquet")
    suffix = source.suffix.lower()
    if suffix in (".json", ".jsonl", ".ndjson"):
        raise InputError(f"{source}: JSON is not read: save the table as CSV or Parquet")
    if head.startswith(b"PAR1") or suffix in (".parquet", ".pq"):
        table = _read_parquet(source)
    else:
        text = read_delimited(source)
        table = Table(source, text.names, len(text.lines), text.columns, text.lines)
    if len(table.names) < 2:
        raise InputError(f"{source} needs a column of file names and at least one more")
    if not table.rows:
        raise InputError(f"{source} has no rows")
    return table


def _read_parquet(source: Path) -> Table:
    try:
        with pq.ParquetFile(source) as file:
            data = file.read()
            data.validate(full=True)  # text that is not UTF-8, say, which no later reader expects
    except (OSError, ValueError, pa.ArrowException) as e:
        reason = (str(e).splitlines() or [""])[0][:200]
        raise InputError(f"{source} is not a readable Parquet file: {reason}") from e
    check_names(data.column_names, source)
    return Table(source, data.column_names, data.num_rows, data.columns, None)
