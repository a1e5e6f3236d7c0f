"""`ris verify` as a piece of JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from data.store import Store
from data.verify import verify


def verified(store: Store) -> dict[str, Any]:
    """What verifying finds, without the photos, which the tiny stores do not have."""
    found = dataclasses.asdict(verify(store))
    found.pop("missing_photos")
    return found
