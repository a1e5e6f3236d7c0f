"""Reads everything that a store's indices consist of, and says what is damaged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ris.data.durable import check_blame, listed
from ris.data.store import Store
from ris.errors import IndexMissingError, StoreError
from ris.index.damage import damaged
from ris.index.feature import FOLDER
from ris.index.files import problem
from ris.index.meta import IndexMeta, read_meta


@dataclass(frozen=True)
class IndexProblem:
    """An index that cannot be used.

    Attributes:
        feature: of the index.
        message: one line, which ends with the command that mends it.
    """

    feature: str
    message: str

    def __str__(self) -> str:
        return self.message


def check_indices(store: Store) -> list[IndexProblem]:
    """Compares every byte of every index of a store with its checksums.

    Reads as fast as the disk, holds nothing, takes no lock: an index that is replaced meanwhile is
    read again.

    Returns:
        one problem for each index that is damaged or of another version; empty if all are whole.
    """
    root = store.folder / FOLDER
    folders = [path for path in listed(root) if path.is_dir()]
    found = []
    for folder in folders:
        try:
            check_index(folder)
        except IndexMissingError:
            continue  # a build has begun there, or died
        except StoreError as error:
            found.append(IndexProblem(folder.name, str(error)))
    return found


def check_index(folder: Path) -> None:
    """Compares every byte of the index in a folder with its checksums.

    Raises:
        IndexMissingError: there is none.
        StoreError: it is damaged or of another version.
    """
    meta = read_meta(folder)
    while wrong := _problem(folder, meta):
        now = read_meta(folder)
        if now == meta:
            raise damaged(folder, wrong)
        meta = now


def _problem(folder: Path, meta: IndexMeta) -> str | None:
    for name, record in meta.files.items():
        try:
            if wrong := problem(meta.path(folder, name), record):
                return f"{name} {wrong}"
        except OSError as error:
            check_blame(meta.path(folder, name), error)
            return f"{name} cannot be read: {error.strerror or error}"
    return None
