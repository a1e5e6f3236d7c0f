"""Lines of a text file in UTF-8 or, by its mark, UTF-16; compressed with gzip or not."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from ris.errors import InputError

LONGEST = 2**24
"""Bytes of a line, at most: a file without line ends must not fill the memory."""
LARGEST = 2**31
"""Bytes or characters of a text, at most: a small packed file may hold far more than memory."""
_Stream = io.BufferedReader | gzip.GzipFile
_GZIP = b"\x1f\x8b"
_MARKS = {  # the longer ones first: UTF-32's begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_PIECE = re.compile(r"[^\r]*(?:\r\n|\r)|[^\r]+")


def text_lines(source: Path) -> Iterator[str]:
    r"""Each line with its end, which may be ``\n``, ``\r\n`` or ``\r``, without byte-order mark.

    Raises:
        InputError: not readable, not text, in another encoding, damaged, or a line is too long.
    """
    try:
        with source.open("rb") as file:
            packed = file.read(2) == _GZIP
            file.seek(0)
            yield from _decoded(gzip.GzipFile(fileobj=file) if packed else file, source)
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise InputError(f"{source} is a damaged .gz file: make it anew") from e
    except OSError as e:
        raise InputError(f"{source} cannot be read: {e.strerror or e}") from e


def _decoded(stream: _Stream, source: Path) -> Iterator[str]:
    head = stream.peek(4)[:4]
    encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    if encoding is None or encoding == "utf-8-sig":
        stream.read(3 if encoding else 0)
        numbered = _utf8(stream, source)
    else:
        numbered = _wide(stream, encoding, source)
    size = 0
    for number, line in enumerate(numbered, 1):
        size += len(line)
        if size > LARGEST:
            raise InputError(
                f"{source} holds over {LARGEST >> 30} GB of text: keep the rows of your photos, or "
                "save it as Parquet"
            )
        if "\0" in line:
            raise InputError(
                f"{source}, line {number} holds a zero byte: it is no text, or UTF-16 without its "
                "mark; save it as UTF-8"
            )
        yield line


def _utf8(stream: _Stream, source: Path) -> Iterator[str]:
    number = 0
    while raw := stream.readline(LONGEST):
        _check_length(len(raw), number + 1, source)
        try:
            line = raw.decode()
        except UnicodeDecodeError as e:
            if b"\0" in raw:
                raise InputError(
                    f"{source} is no text (line {number + 1} holds zero bytes): name a table in "
                    "CSV or Parquet"
                ) from e
            raise InputError(
                f"{source}, line {number + 1}: byte 0x{raw[e.start]:02x} is not UTF-8 (it may be "
                "Latin-1 or Windows-1252): save it as UTF-8, as by `iconv -f LATIN1 -t UTF-8`"
            ) from e
        pieces = _PIECE.findall(line) if "\r" in line[:-2] else [line]
        number += len(pieces)
        yield from pieces


def _wide(stream: _Stream, encoding: str, source: Path) -> Iterator[str]:
    text = io.TextIOWrapper(stream, encoding, newline="")
    number = 0
    try:
        while line := text.readline(LONGEST):
            number += 1
            _check_length(len(line), number, source)
            yield line
    except UnicodeError as e:
        raise InputError(
            f"{source} begins with the mark of {encoding.upper()} and is not {encoding.upper()} "
            f"after line {number}: save it as UTF-8"
        ) from e


def _check_length(length: int, number: int, source: Path) -> None:
    if length >= LONGEST:
        raise InputError(f"{source}, line {number} is over {LONGEST >> 20} MB long: no table")
