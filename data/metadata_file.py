"""The file of the user's own columns: its name, what it says of faces, and what to say when it is
damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ris.data import sealed
from ris.errors import StoreError

METADATA = "metadata.parquet"
REMEDY = (
    "`Collection.verify(drop_damaged=True)` puts it aside, "
    "then give the table again with `metadata`"
)


def labels_of(folder: Path, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The user's columns of some faces, by face id; without those that have none.

    Args:
        folder: of the store.
        ids: of the faces.

    Raises:
        StoreError: the file is damaged.
    """
    path, wanted = folder / METADATA, pa.array(ids, pa.string())
    if not path.exists():
        return {}
    found: dict[str, dict[str, Any]] = {}
    try:
        with sealed.opened(path) as f:
            for i in range(f.num_row_groups):
                rows = f.read_row_group(i)
                for row in rows.filter(pc.is_in(rows["id"], wanted)).to_pylist():
                    found[row.pop("id")] = row
    except sealed.DamagedError as e:
        raise damaged_metadata(e) from e
    return found


def damaged_metadata(error: sealed.DamagedError) -> StoreError:
    """The error for metadata that cannot be read."""
    return StoreError(f"{error.path} is damaged ({error.reason})", REMEDY)
