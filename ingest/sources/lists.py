"""Lists of photos: a path a line, as editors, `find -print0` and Windows write them."""

from __future__ import annotations

import codecs
import io
import os
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import AnyStr

from ris.errors import InputError
from ris.ingest.sources.found import COMMENT, Found

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
