"""Parquet files that know when they are damaged.

Every page has a checksum, which reading verifies. The footer says what is in which page; its
key-value metadata ends in a *seal*: SHA-256 of the footer itself, with zeros in the seal's place,
beside SHA-256 of all bytes before the footer. So a reader checks the footer when it opens the file
(microseconds) and the pages that it reads; `check` reads all bytes. Files without a seal, which
earlier versions wrote, are read as they are.

An error is no damage yet: memory and file descriptors run out, and a file may not be readable for
this user. Only what the file itself is to blame for is a `DamagedError`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ris.data.durable import check_blame, flush, unreadable
from ris.errors import RisError, StoreError

NOTE = b"ris"
"""Key of the JSON object that a writer keeps in the file."""
_PAGES = b"ris-pages"
_SEAL = re.compile(rb"ris-seal:([0-9a-f]{64})")
_BLANK = b"ris-seal:" + b"0" * 64
_HASH = re.compile(re.escape(_PAGES) + rb"..([0-9a-f]{64})", re.DOTALL)
"""The hash of the pages in the bytes of a footer; between them stand the type and the length."""
_TAIL = 8  # bytes after the footer: its length and the format's mark
_MARK = b"PAR1"
BLOCK = 1 << 20
"""Bytes that are hashed at a time."""


class DamagedError(StoreError):
    """A file of the store that cannot be read, or is not as it was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} is missing or damaged ({reason})", "`Collection.verify` lists what is lost"
        )
        self.path = path
        self.reason = reason


class _Sink:
    """What `pyarrow` writes into: hashes the pages, and keeps the footer back."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._pages = hashlib.sha256()
        self._footer: list[bytes] | None = None
        self._size = 0
        self.closed = False

    def write(self, data: Any) -> int:
        block = bytes(data)
        self._size += len(block)
        if self._footer is None:
            self._pages.update(block)
            self._file.write(block)
        else:
            self._footer.append(block)
        return len(block)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def end_pages(self) -> bytes:
        """Hash of the pages; what is written from now on is the footer."""
        self._footer = []
        return self._pages.hexdigest().encode()

    def seal(self) -> str:
        """Writes the footer with its own hash in it; gives the hash of the whole file."""
        footer = b"".join(self._footer or [])
        start = footer.rindex(_BLANK)
        seal = b"ris-seal:" + hashlib.sha256(footer).hexdigest().encode()
        footer = footer[:start] + seal + footer[start + len(_BLANK) :]
        self._file.write(footer)
        flush(self._file)
        self._pages.update(footer)
        return self._pages.hexdigest()


class Writer:
    """Writes the rows of one sealed file, see `writer`.

    Attributes:
        rows: number of rows so far.
        sha256: of the whole file, once it is closed.
    """

    def __init__(self, parquet: pq.ParquetWriter) -> None:
        self._parquet = parquet
        self.rows = 0
        self.sha256 = ""

    def write_table(self, table: pa.Table, row_group_size: int | None = None) -> None:
        """Adds rows."""
        self._parquet.write_table(table, row_group_size=row_group_size)
        self.rows += table.num_rows

    def keep(self, values: Mapping[str, str]) -> None:
        """Adds key-value metadata to the footer."""
        self._parquet.add_key_value_metadata(dict(values))


@contextmanager
def writer(
    path: Path, schema: pa.Schema, note: Mapping[str, Any] | None = None, **options: Any
) -> Iterator[Writer]:
    """A writer of one sealed file, which is synced at the end.

    Args:
        path: of the file; use `ris.data.durable` for it to be whole or not there.
        schema: of the rows.
        note: JSON values to keep in the file, see `note_of`.
        options: of `pq.ParquetWriter`.

    Raises:
        OSError: the disk is full or fails.
    """
    with path.open("wb") as file:
        sink = _Sink(file)
        with pq.ParquetWriter(sink, schema, write_page_checksum=True, **options) as parquet:
            rows = Writer(parquet)
            yield rows
            text = json.dumps(dict(note or {}), sort_keys=True).encode()
            seal = {NOTE: text, _PAGES: sink.end_pages(), b"ris-seal": _BLANK}
            parquet.add_key_value_metadata(seal)
        rows.sha256 = sink.seal()


def write_table(path: Path, table: pa.Table, note: Mapping[str, Any] | None = None) -> None:
    """Writes a table as a sealed file; see `writer`."""
    table = table.replace_schema_metadata(None)
    with writer(path, table.schema, note) as rows:
        rows.write_table(table)


@contextmanager
def opened(path: Path, *, whole: bool = False) -> Iterator[pq.ParquetFile]:
    """A Parquet file whose footer is as it was written, and whose pages are checked as they are
    read.

    Args:
        path: of the file.
        whole: check all of its bytes first, if it has a seal.

    Raises:
        DamagedError: the file is missing or damaged, also where that shows within the block.
        UnreadableError: it cannot be read now.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        with pa.memory_map(str(path)) as file:
            sealed = _check_footer(file)
            with pq.ParquetFile(file, page_checksum_verification=True) as f:
                if is_sealed(f) and not sealed:
                    raise ValueError("its footer has lost its seal")
                if whole and sealed:
                    _check_pages(file, f)
                yield f
    except (RisError, MemoryError):
        raise
    except Exception as e:  # a damaged file makes pyarrow raise almost anything
        check_blame(path, e)
        if _only_pyarrow_failed(e, path):
            raise unreadable(path, e) from e
        raise DamagedError(path, reason(e)) from e


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """All rows of a file, without its metadata.

    Raises:
        DamagedError: the file is missing or damaged.
    """
    with opened(path) as f:
        table = f.read(columns=columns, use_threads=False).combine_chunks()
        table.validate(full=True)
        if table.num_rows != f.metadata.num_rows:
            raise ValueError(f"it gives {table.num_rows} rows instead of {f.metadata.num_rows}")
        return table.replace_schema_metadata(None)


def note_of(f: pq.ParquetFile) -> dict[str, Any]:
    """The writer's note; empty in a file without one."""
    note = json.loads((f.metadata.metadata or {}).get(NOTE, b"{}"))
    if not isinstance(note, dict):
        raise ValueError("its note is no object")
    return note


def is_sealed(f: pq.ParquetFile) -> bool:
    """Whether damage anywhere in the file is seen."""
    return _PAGES in (f.metadata.metadata or {})


def check_footer(path: Path) -> None:
    """Reads the footer alone.

    Raises:
        DamagedError: it is missing or damaged.
    """
    with opened(path):
        pass


def check(path: Path) -> None:
    """Reads all bytes of a file, and all rows of one that has no seal.

    Raises:
        DamagedError: it is missing or damaged.
    """
    with opened(path, whole=True) as f:
        for i in range(f.num_row_groups):
            f.read_row_group(i, use_threads=False).validate(full=True)


def check_twice(path: Path) -> None:
    """`check`, where a file that seems damaged is looked at again: a disk or network may fail
    once, and what is done with a damaged file should not hang on that."""
    try:
        check(path)
    except DamagedError:
        check(path)


def _check_pages(file: pa.MemoryMappedFile, f: pq.ParquetFile) -> None:
    """Compares all bytes before the footer with their hash in it."""
    left = _footer_start(file.size(), file.read_at(_TAIL, file.size() - _TAIL))
    digest, start = hashlib.sha256(), 0
    while left:
        block = file.read_at(min(left, BLOCK), start)
        digest.update(block)
        start, left = start + len(block), left - len(block)
    if digest.hexdigest().encode() != f.metadata.metadata[_PAGES]:
        raise ValueError("its content is not what was written")


def _only_pyarrow_failed(error: Exception, path: Path) -> bool:
    """Whether a sealed file is whole to the byte though its reader failed: for lack of memory,
    say, of which pyarrow speaks in many ways."""
    if not isinstance(error, OSError | RuntimeError | pa.ArrowException):
        return False
    if getattr(error, "errno", None) == errno.EIO:
        return False  # the disk says so; who can, reads a second time
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            start = _footer_start(size, file.read())
            file.seek(start)
            footer = file.read()
            if not _check_seal(footer):
                return False
            file.seek(0)
            digest, left = hashlib.sha256(), start
            while left and (block := file.read(min(left, BLOCK))):
                digest.update(block)
                left -= len(block)
    except (OSError, ValueError):
        return False
    found = _HASH.findall(footer)
    return bool(found) and digest.hexdigest().encode() == found[-1]


def _footer_start(size: int, tail: bytes) -> int:
    start = size - _TAIL - int.from_bytes(tail[:4], "little")
    if len(tail) < _TAIL or tail[4:] != _MARK or start < len(_MARK):
        raise ValueError("it is no whole Parquet file")
    return start


def _check_footer(file: pa.MemoryMappedFile) -> bool:
    size = file.size()
    tail = file.read_at(min(size, _TAIL), max(0, size - _TAIL))
    start = _footer_start(size, tail)
    return _check_seal(file.read_at(size - start, start))


def _check_seal(footer: bytes) -> bool:
    """Whether a footer has a seal; ValueError if it does not fit."""
    found = list(_SEAL.finditer(footer))
    if not found:
        return False
    seal = found[-1]
    blank = footer[: seal.start()] + _BLANK + footer[seal.end() :]
    if hashlib.sha256(blank).hexdigest().encode() != seal.group(1):
        raise ValueError("its footer is not what was written")
    return True


def reason(error: BaseException) -> str:
    """The first line of an error of pyarrow's, shortened."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
