"""The store that a command is about."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ris.commands.terminal import notify, progress_bar
from ris.errors import RisError

if TYPE_CHECKING:
    from ris.data.store import Store


def open_store(store: Path | None) -> Store:
    """The store that was named, or the nearest one; StoreError where there is none."""
    from ris.data.store import Store

    return Store.open(store)


def open_if_there(store: Path | None) -> Store | None:
    """The store that was named, or the nearest one if there is any."""
    from ris.data.store import Store

    return open_store(store) if store is not None or Store.nearest() else None


def build_missing(store: Store, features: Iterable[str]) -> None:
    """Indexes features that were never indexed, with the defaults, and says so."""
    from ris.index.feature import is_indexed

    missing = [name for name in features if not is_indexed(store, name)]
    if missing:
        from ris.index.build import build_indices

        notify(f"no index for {', '.join(missing)} yet, building it")
        build_indices(store, missing)


def bring_up_to_date(store: Store, *, quiet: bool) -> dict[str, Any]:
    """Adds the faces that are new to the indices that there are; says on stderr what went wrong,
    which is no error of the command: the faces are in the store, and searches find them.

    Returns:
        by feature ``{"faces", "built", "appended", "removed"}``, or ``{"error"}``; JSON values.
    """
    from ris.index.build import refresh_indices

    report: dict[str, Any] = {}
    with progress_bar("indexing", quiet) as progress:
        done = refresh_indices(store, progress)
    for feature, made in done.items():
        if isinstance(made, RisError):
            notify(f"the faces are in the store, but an index is not up to date: {made}")
            report[feature] = {"error": str(made)}
        else:
            report[feature] = {
                "faces": made.faces,
                "built": made.built,
                "appended": made.appended,
                "removed": made.removed,
            }
    return report


def home(store: Path | None) -> Path:
    """The folder of the store that was named, of the nearest one, or of one to be made here."""
    from ris.data.store import FOLDER, Store

    return store or Store.nearest() or Path(FOLDER)
