"""The store that a command is about."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from commands.terminal import notify

if TYPE_CHECKING:
    from data.store import Store


def open_store(store: Path | None) -> Store:
    """The store that was named, or the nearest one; StoreError where there is none."""
    from data.store import Store

    return Store.open(store)


def open_if_there(store: Path | None) -> Store | None:
    """The store that was named, or the nearest one if there is any."""
    from data.store import Store

    return open_store(store) if store is not None or Store.nearest() else None


def build_missing(store: Store, features: Iterable[str]) -> None:
    """Indexes features that were never indexed, with the defaults, and says so."""
    from index.feature import is_indexed

    missing = [name for name in features if not is_indexed(store, name)]
    if missing:
        from index.build import build_indices

        notify(f"no index for {', '.join(missing)} yet, building it")
        build_indices(store, missing)


def home(store: Path | None) -> Path:
    """The folder of the store that was named, of the nearest one, or of one to be made here."""
    from data.store import FOLDER, Store

    return store or Store.nearest() or Path(FOLDER)
