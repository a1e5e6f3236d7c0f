"""Damaged files of a store, put where nothing reads them and nothing deletes them."""

from __future__ import annotations

import os
from pathlib import Path

from ris.data.durable import disk_error, make_folder, sync_folder
from ris.notices import warn

FOLDER = "damaged"


def put_aside(folder: Path, path: Path) -> Path:
    """Moves a file of the store `folder` into ``damaged/`` there, under a name that is free, and
    says so; gives its new place.

    Raises:
        StoreError: it cannot be moved.
    """
    target = free_place(folder, path.name)
    try:
        make_folder(target.parent)
        os.replace(path, target)
        sync_folder(target.parent)
        sync_folder(path.parent)
    except OSError as e:
        raise disk_error(e, target) from e
    warn(f"{path} is damaged and now lies in {target}: delete it if you have no use for it")
    return target


def free_place(folder: Path, name: str) -> Path:
    """A path in ``damaged/`` of a store, of that name or numbered, where nothing lies yet."""
    target = folder / FOLDER / name
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{name}.{number}")
    return target
