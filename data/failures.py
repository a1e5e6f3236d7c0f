"""Photos that gave no face: ``failures.parquet`` with path, stage and reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from data.durable import replacing
from data.store import Store

FILE = "failures.parquet"
SCHEMA = pa.schema([("path", pa.string()), ("stage", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True)
class Failure:
    """Why a photo is not in the store; `stage` as in `ris.errors.ImageError`."""

    path: str
    stage: str
    reason: str


def read_failures(store: Store) -> list[Failure]:
    """All recorded failures, by path."""
    try:
        table = pq.read_table(store.folder / FILE)
        return [Failure(**row) for row in table.to_pylist()]
    except (OSError, pa.ArrowException, TypeError):
        return []  # a report, which the next ingest writes again


def update_failures(store: Store, failed: Sequence[Failure], cured: Iterable[str]) -> None:
    """Adds failures (the last one of a path counts) and drops those of `cured` paths."""
    with store.locked():
        entries = {f.path: f for f in read_failures(store)}
        before = dict(entries)
        for path in cured:
            entries.pop(path, None)
        entries |= {f.path: f for f in failed}
        if entries == before:
            return
        rows = [asdict(entries[path]) for path in sorted(entries)]
        with replacing(store.folder / FILE) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
