"""Which photos an argument names: a folder, a list of files, a glob pattern or one photo."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from ris.errors import InputError

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
SUFFIXES = frozenset(
    (*JPEG_SUFFIXES, ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2")
)
LIST_SUFFIXES = frozenset({".txt", ".lst"})


def find_photos(argument: str) -> Iterator[Path]:
    """The photos that `argument` names, in a fixed order, without holding them all.

    A folder is searched with its sub-folders (hidden ones and links to folders are left out);
    a ``.txt`` or ``.lst`` file holds one path a line, relative to the file; anything with
    ``*``, ``?`` or ``[`` that is no path itself is a glob pattern (``**`` for sub-folders).

    Raises:
        InputError: nothing there, or no photo in it (raised before the first photo).
    """
    path = Path(argument).expanduser()
    if path.is_dir():
        photos = _walk(path)
    elif path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
        photos = _listed(path)
    elif path.is_file():
        photos = iter([path])
    elif any(c in argument for c in "*?["):
        found = sorted(glob.glob(str(path), recursive=True))
        photos = (Path(p) for p in found if _is_photo(p) and os.path.isfile(p))
    else:
        raise InputError(f"no file or folder {argument}")
    first = next(photos, None)
    if first is None:
        raise InputError(f"no photos in {argument} (looked for {' '.join(sorted(SUFFIXES))})")
    return _chained(first, photos)


def _chained(first: Path, rest: Iterator[Path]) -> Iterator[Path]:
    yield first
    yield from rest


def _is_photo(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(files):
            if _is_photo(name) and not name.startswith("."):
                yield Path(where) / name


def _listed(source: Path) -> Iterator[Path]:
    try:
        with source.open(encoding="utf-8") as f:
            for line in f:
                if line.strip():
                    yield source.parent / line.strip()
    except UnicodeDecodeError as e:
        raise InputError(f"{source} is not a text file with one path a line") from e
