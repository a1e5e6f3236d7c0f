"""Photos that gave no face: ``failures.parquet`` with path, stage and reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa

from ris.data import sealed
from ris.data.durable import put_aside, replacing
from ris.data.store import Store
from ris.errors import StoreError
from ris.notices import warn

FILE = "failures.parquet"
REMEDY = (
    "`Collection.verify(drop_damaged=True)` puts it aside, the next `Collection.ingest` lists anew "
    "what fails"
)
SCHEMA = pa.schema([("path", pa.string()), ("stage", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True)
class Failure:
    """Why a photo is not in the store; `stage` as in `ris.errors.ImageError`."""

    path: str
    stage: str
    reason: str


def read_failures(store: Store) -> list[Failure]:
    """All recorded failures, by path.

    Raises:
        DamagedError: the file is damaged.
    """
    path = store.folder / FILE
    if not path.exists():
        return []
    with sealed.opened(path, whole=True) as f:
        if f.schema_arrow.remove_metadata() != SCHEMA:
            raise ValueError("it has other columns")
        table = f.read()
        table.validate(full=True)
        return [Failure(**row) for row in table.to_pylist()]


def damaged(error: sealed.DamagedError) -> StoreError:
    """The error for a list of failures that cannot be read."""
    return StoreError(f"{error.path} is damaged ({error.reason})", REMEDY)


def failures_if_readable(store: Store) -> list[Failure]:
    """All recorded failures; none, and a warning, where the file is damaged: it is a report, which
    must not stand in the way of anything else."""
    try:
        return read_failures(store)
    except sealed.DamagedError as e:
        warn(f"the list of failures cannot be read ({e.reason}): {REMEDY}")
        return []


def update_failures(store: Store, failed: Sequence[Failure], cured: Iterable[str]) -> None:
    """Adds failures (the last one of a path counts) and drops those of `cured` paths. A damaged
    file is put aside first."""
    with store.locked():
        try:
            entries = {f.path: f for f in read_failures(store)}
        except sealed.DamagedError:
            put_aside(store.folder, store.folder / FILE)
            entries = {}
        before = dict(entries)
        for path in cured:
            entries.pop(path, None)
        entries |= {f.path: f for f in failed}
        if entries == before:
            return
        rows = [asdict(entries[path]) for path in sorted(entries)]
        with replacing(store.folder / FILE) as temporary:
            sealed.write_table(temporary, pa.Table.from_pylist(rows, schema=SCHEMA))
