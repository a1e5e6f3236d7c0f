"""Attribute labels of a store's faces, from the columns that `ris ingest --metadata` joined."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ris.data.store import Store
from ris.data.views import run_sql
from ris.errors import InputError


def read_labels(store: Store, ids: Sequence[str], attributes: Sequence[str]) -> np.ndarray:
    """(N, A) int8 labels: 1 has it, -1 has it not, 0 unknown.

    Args:
        store: has one column an attribute, holding -1 and 1 (as CelebA's), 0 and 1, or truth
            values; empty, or 0 beside -1, where the label is unknown.
        ids: faces, one a row of the result.
        attributes: column names.

    Raises:
        InputError: no such columns, or one that holds something else.
    """
    columns = {name.lower() for name in run_sql(store, "SELECT * FROM faces LIMIT 0")[0]}
    missing = [a for a in attributes if a.lower() not in columns]
    if missing:
        raise InputError(
            f"the faces have no column {', '.join(missing)}: ingest them with --metadata LABELS.csv"
        )
    quoted = ", ".join(f'"{a}"' for a in attributes)
    _, rows = run_sql(store, f"SELECT id, {quoted} FROM faces")
    known = {str(face): values for face, *values in rows}
    labels = np.zeros((len(ids), len(attributes)), dtype=np.int8)
    for a, name in enumerate(attributes):
        labels[:, a] = signs([known[face][a] for face in ids], name)
    return labels


def signs(values: Sequence[object], name: str) -> np.ndarray:
    """(N,) int8 labels of a column: 1, -1, and 0 for unknown.

    Args:
        values: -1 and 1, where 0 is unknown; or 0 and 1, or truth values; None or NaN is unknown.
        name: of the column, for the error.

    Raises:
        InputError: another value.
    """
    # NaN is how some tables say "unknown"
    values = [None if isinstance(v, float) and math.isnan(v) else v for v in values]
    given = {v for v in values if v is not None}
    if not given <= {-1, 0, 1}:
        shown = ", ".join(sorted(map(repr, given))[:4])
        raise InputError(f"column {name} holds {shown}: an attribute is -1 or 1, 0 or 1, or empty")
    absent = -1 if -1 in given else 0
    return np.array([1 if v == 1 else -1 if v == absent else 0 for v in values], dtype=np.int8)
