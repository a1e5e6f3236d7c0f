"""A file put together from parts of another one, without copying the large ones."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO

SMALL = 4 << 20
"""Bytes up to which the parts are read at once, which is quicker."""


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `end` of a file."""

    start: int
    end: int

    def __len__(self) -> int:
        return max(self.end - self.start, 0)


def spliced(file: BinaryIO, parts: Sequence[bytes | Span]) -> BinaryIO:
    """A file of `parts` of another one, one after the other; bytes stand for themselves."""
    if sum(map(len, parts)) > SMALL:
        return io.BufferedReader(_Spliced(file, parts))
    return io.BytesIO(b"".join([p if isinstance(p, bytes) else _read(file, p) for p in parts]))


def _read(file: BinaryIO, span: Span) -> bytes:
    file.seek(span.start)
    return file.read(len(span))


class _Spliced(io.RawIOBase):
    def __init__(self, file: BinaryIO, parts: Sequence[bytes | Span]) -> None:
        self._file = file
        self._parts = [part for part in parts if len(part)]
        self._starts = [0, *accumulate(map(len, self._parts))]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise ValueError("a position before the file's beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._next(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        found = []
        while data := self._next(self._starts[-1] - self._at):
            found.append(data)
        return b"".join(found)

    def _next(self, size: int) -> bytes:
        """At most `size` bytes, from one part; none at the end."""
        if size <= 0 or self._at >= self._starts[-1]:
            return b""
        number = bisect_right(self._starts, self._at) - 1
        part, skip = self._parts[number], self._at - self._starts[number]
        size = min(size, len(part) - skip)
        if isinstance(part, bytes):
            data = part[skip : skip + size]
        else:
            self._file.seek(part.start + skip)
            data = self._file.read(size)
        self._at += len(data)
        return data
