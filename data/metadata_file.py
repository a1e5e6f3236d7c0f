"""The file of the user's own columns: its name, and what to say when it is damaged."""

from __future__ import annotations

from ris.data import sealed
from ris.errors import StoreError

METADATA = "metadata.parquet"
REMEDY = "`ris verify --drop-damaged` puts it aside, then give the table again with --metadata"


def damaged_metadata(error: sealed.DamagedError) -> StoreError:
    """The error for metadata that cannot be read."""
    return StoreError(f"{error.path} is damaged ({error.reason}): {REMEDY}")
