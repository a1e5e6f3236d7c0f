"""Files of an index: what is recorded of each, the one way in which they are written, and what is
said of those that are damaged.

Every write, the flush, the fsync and the close are checked, and so is the size that the file has
in the end. The checksum is that of the bytes that were to be written, not of those that are found
afterwards, so that what a disk lost shows. CRC-32 tells every damage of up to 32 bits in a row and
all but one of 2^32 others, reads as fast as memory and can go on where an earlier run stopped.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ris.data.durable import flush
from ris.errors import StoreError

DENSE = ("vectors.f16",)
SPARSE = ("ends.i64", "channels.u16", "values.f16")
SUMS = "sums.u32"
IDS = "ids.npy"
ATTACHED = "attached.npz"
CODES = "codes.i8"
CODER = "coder.npz"
FAISS = "faiss.index"
PROJECTION = "projection.npz"
GROWING = (*DENSE, *SPARSE, SUMS, CODES)
"""Files that are appended to; the others are written anew under another revision."""
FILES = (*GROWING, IDS, ATTACHED, CODER, FAISS, PROJECTION)
_BLOCK = 1 << 20  # bytes read at a time


@dataclass(frozen=True)
class FileRecord:
    """What is recorded of a file.

    Attributes:
        bytes: committed size; what follows in the file, if anything, is not part of it.
        crc32: of the committed bytes.
        revision: which writing of it, 0 for the first; part of the file's name.
    """

    bytes: int
    crc32: int
    revision: int = 0


def file_name(name: str, revision: int) -> str:
    """``ids.npy`` of revision 3 is the file ``ids.3.npy``."""
    stem, _, suffix = name.partition(".")
    return f"{stem}.{revision}.{suffix}" if revision else name


def is_ours(name: str) -> bool:
    """Whether a file name is one of an index's, of any revision."""
    return re.sub(r"\.\d+\.", ".", name) in FILES


@dataclass(frozen=True)
class Files:
    """The files of one build.

    Attributes:
        folder: that they lie in, whose folder is the index's.
        records: of each, by name.
    """

    folder: Path
    records: Mapping[str, FileRecord]

    def path(self, name: str) -> Path:
        """Where a file lies; KeyError if there is none of that name."""
        return self.folder / file_name(name, self.records[name].revision)

    def problem(self, names: Iterable[str], *, content: bool = True) -> str | None:
        """What is wrong with the first file that is not what was written; None if all are.

        Args:
            names: of the files.
            content: read all of them; otherwise only sizes are compared.

        Raises:
            OSError: one cannot be read.
        """
        for name in names:
            path, record = self.path(name), self.records[name]
            size = path.stat().st_size
            # A run that died leaves something behind the committed rows.
            if size < record.bytes or (size > record.bytes and name not in GROWING):
                return f"{name} has {size} bytes, expected {record.bytes}"
            if content and _crc32(path, record.bytes) != record.crc32:
                return f"{name} is not the file that was written"
        return None


def damaged(folder: Path, why: str) -> StoreError:
    """The error for an index, given by its folder, that cannot be used."""
    return StoreError(
        f"the index {folder} is damaged ({why})",
        f"run `Collection.index({folder.name!r}, rebuild=True)`",
    )


def reason(error: Exception) -> str:
    """An error's message in one line."""
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "is not JSON"
    if isinstance(error, KeyError):
        return f"lacks {error}"
    return " ".join(str(error).split()) or type(error).__name__


def _crc32(path: Path, size: int) -> int:
    crc = 0
    with path.open("rb") as file:
        while size and (block := file.read(min(_BLOCK, size))):
            crc = zlib.crc32(block, crc)
            size -= len(block)
    return crc


class CheckedFile:
    """A file that is being written; `close` says what was written and raises if it was not.

    Args:
        path: a new file, or one to go on with.
        record: of what is there already and stays; what follows is cut off.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, record: FileRecord | None = None) -> None:
        self.path = path
        self._bytes, self._crc = (record.bytes, record.crc32) if record else (0, 0)
        self._revision = record.revision if record else 0
        if record:
            os.truncate(path, record.bytes)
        self._file = path.open("ab" if record else "wb")

    def write(self, data: bytes | np.ndarray) -> int:
        """Appends bytes, or an array's; returns their number, as file objects do."""
        if isinstance(data, np.ndarray):
            content = np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
        else:
            content = memoryview(data)
        self._file.write(content)
        self._bytes += len(content)
        self._crc = zlib.crc32(content, self._crc)
        return len(content)

    def close(self) -> FileRecord:
        """Makes the file durable and compares its size.

        Raises:
            OSError: some of it could not be written.
        """
        try:
            flush(self._file)
        finally:
            self._file.close()
        size = self.path.stat().st_size
        if size != self._bytes:
            raise OSError(f"{size} of {self._bytes} bytes arrived in {self.path.name}")
        return FileRecord(self._bytes, self._crc, self._revision)

    def abandon(self) -> None:
        """Closes the file, whatever becomes of it; does nothing after `close`."""
        with contextlib.suppress(OSError):  # the next run deletes it or cuts it off
            self._file.close()


def write_file(path: Path, write: Callable[[CheckedFile], object], revision: int = 0) -> FileRecord:
    """Writes a file of some revision in one go.

    Args:
        path: the folder and the name without the revision.
        write: writes the content.
        revision: part of the file's name.

    Raises:
        OSError: it could not be written.
    """
    file = CheckedFile(path.with_name(file_name(path.name, revision)))
    try:
        write(file)
        record = file.close()
    finally:
        file.abandon()
    return FileRecord(record.bytes, record.crc32, revision)


def write_array(path: Path, array: np.ndarray, revision: int = 0) -> FileRecord:
    """Writes an .npy; as `write_file`."""
    return write_file(path, lambda file: _through_memory(file, np.save, array), revision)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], revision: int = 0) -> FileRecord:
    """Writes an .npz; as `write_file`."""
    return write_file(path, lambda file: _through_memory(file, np.savez, **arrays), revision)


def _through_memory(
    file: CheckedFile, save: Callable[..., None], *args: np.ndarray, **arrays: np.ndarray
) -> None:
    # numpy does not check the last flush of files that it writes itself
    content = io.BytesIO()
    save(content, *args, **arrays)
    file.write(content.getvalue())
