"""Indices that a search needs and nobody has built; loads next to nothing where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ris.notices import tell

if TYPE_CHECKING:
    from ris.data.store import Store


def build_missing(store: Store, features: Sequence[str]) -> None:
    """Indexes features that were never indexed, with the defaults, and says so."""
    from ris.index.feature import is_indexed

    missing = [name for name in features if not is_indexed(store, name)]
    if missing:
        from ris.index.build import build_indices

        tell(f"no index for {', '.join(missing)} yet, building it")
        build_indices(store, missing)
