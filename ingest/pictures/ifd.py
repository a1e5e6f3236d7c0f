"""Directories of tags, as TIFF files and EXIF blocks hold them (TIFF 6.0, section 2; BigTIFF)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import BinaryIO

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
MOST_ENTRIES = 4096
"""A directory that claims more is damaged."""


@dataclass(frozen=True)
class Entry:
    """A tag's type, number of values and the bytes in its place: the values, or their offset."""

    kind: int
    count: int
    inline: bytes

    @property
    def size(self) -> int:
        """Bytes of its values."""
        return _SIZES.get(self.kind, 0) * self.count


@dataclass(frozen=True)
class Directory:
    """A directory: its tags, where it lies, and where the next one does (0 for none).

    Attributes:
        file: what it was read from.
        order: ``<`` or ``>``, as in `struct`.
        big: whether offsets have 8 bytes.
    """

    file: BinaryIO = field(repr=False)
    order: str
    big: bool
    offset: int
    entries: dict[int, Entry]
    next: int

    @staticmethod
    def first(file: BinaryIO) -> Directory:
        """The first directory of a file or block.

        Raises:
            ValueError, struct.error: there is none that can be read.
        """
        file.seek(0)
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None:
            raise ValueError("not a TIFF header")
        big = struct.unpack_from(order + "H", head, 2)[0] == 43
        (offset,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
        return Directory.at(file, order, big, offset)

    @staticmethod
    def at(file: BinaryIO, order: str, big: bool, offset: int) -> Directory:
        """The directory at an offset.

        Tags beyond the end of the file are left out.

        Raises:
            ValueError, struct.error: there is none that can be read.
        """
        if offset >= 1 << 62:
            raise ValueError("a directory outside the file")
        file.seek(offset)
        head, each = (8, 20) if big else (2, 12)
        (count,) = struct.unpack(order + ("Q" if big else "H"), file.read(head))
        if not 0 < count <= MOST_ENTRIES:
            raise ValueError(f"a directory of {count} tags")
        body = file.read(count * each + (8 if big else 4))
        entries = {}
        for at in range(0, min(len(body) // each, count) * each, each):
            tag, kind = struct.unpack_from(order + "HH", body, at)
            (number,) = struct.unpack_from(order + ("Q" if big else "I"), body, at + 4)
            entries[tag] = Entry(kind, number, body[at + each - (8 if big else 4) : at + each])
        rest = body[count * each :]
        following = (
            struct.unpack(order + ("Q" if big else "I"), rest)
            if len(body) > len(rest) and len(rest) == (8 if big else 4)
            else (0,)
        )
        return Directory(file, order, big, offset, entries, following[0])

    def number(self, tag: int) -> int | None:
        """A tag's only value, if it is a whole number."""
        found = self.numbers(tag, 1)
        return found[0] if len(found) == 1 else None

    def numbers(self, tag: int, most: int) -> tuple[int, ...]:
        """A tag's values, if they are at most `most` whole numbers and can be read."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _NUMBERS or not 0 < entry.count <= most:
            return ()
        data = self.data(tag, entry.size)
        if data is None:
            return ()
        return struct.unpack(f"{self.order}{entry.count}{_NUMBERS[entry.kind]}", data)

    def data(self, tag: int, most: int) -> bytes | None:
        """The bytes of a tag's values, if there are at most `most` and all can be read."""
        entry = self.entries.get(tag)
        if entry is None or not 0 < entry.size <= most:
            return None
        if entry.size <= len(entry.inline):
            return entry.inline[: entry.size]
        (offset,) = struct.unpack(self.order + ("Q" if self.big else "I"), entry.inline)
        if offset >= 1 << 62:
            return None
        self.file.seek(offset)
        data = self.file.read(entry.size)
        return data if len(data) == entry.size else None
