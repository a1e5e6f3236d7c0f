"""Looking into a store: summary, integrity, export."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data import shards
from data.durable import replacing
from data.failures import read_failures
from data.hashing import file_sha256
from data.store import Store
from ris.errors import InputError
from ris.features import features_of


def summary(store: Store) -> dict[str, Any]:
    """Numbers and settings of a store and of its indices, ready for JSON."""
    manifest = store.manifest()
    settings = manifest.settings
    indices = {}
    for meta in sorted((store.folder / "index").glob("*/meta.json")):
        try:
            content = json.loads(meta.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # opening it for a query says what is wrong
        indices[meta.parent.name] = {
            "kind": content.get("kind"),
            "rows": content.get("rows"),
            "bytes": content.get("bytes"),
            "current": content.get("extra", {}).get("store_content") == manifest.content,
        }
    files = {"generator_file": store.generator_file(), "inverter_file": store.inverter_file()}
    return {
        "store": str(store.folder),
        "faces": manifest.rows,
        "failures": len(read_failures(store)),
        "generator": settings.generator,
        **{name: str(path) for name, path in files.items() if path is not None},
        "catalogue": settings.catalogue,
        "style_channels": settings.layout.channels,
        "covered_channels": settings.covered.channels,
        "max_resolution": settings.max_resolution,
        "features": list(features_of(settings.classes)),
        "inverters": store.inverters(),
        "indices": indices,
        "shards": len(manifest.shards),
        "bytes": _size(store.folder),
    }


def _size(folder: Path) -> int:
    """Bytes of all files below a folder, as far as they stay while it is looked at."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


@dataclass
class Verification:
    """What `verify` found. `damaged` shards lose their rows; `missing` photos do not."""

    shards: int = 0
    faces: int = 0
    damaged: list[str] = field(default_factory=list)
    lost_faces: int = 0
    missing_photos: list[str] = field(default_factory=list)


def verify(store: Store, *, drop_damaged: bool = False) -> Verification:
    """Checks every shard against its sha256, and that the photos are still there.

    Args:
        store: the store.
        drop_damaged: take damaged shards out of the store, so that the next ingest brings
            their photos in again.
    """
    manifest = store.manifest()
    found = Verification(len(manifest.shards), manifest.rows)
    good = []
    for shard in manifest.shards:
        path = store.folder / "faces" / shard.file
        if not path.is_file() or file_sha256(path) != shard.sha256:
            found.damaged.append(shard.file)
            found.lost_faces += shard.rows
            continue
        good.append(shard)
        for batch in shards.read(path, ["path"]):
            names = batch.column(0).to_pylist()
            found.missing_photos += [n for n in names if not store.resolve(n).is_file()]
    if found.damaged and drop_damaged:
        with store.locked() as now:
            kept = tuple(s for s in now.shards if s.file not in found.damaged)
            dataclasses.replace(now, shards=kept).write(store.folder)
    return found


def export(store: Store, target: Path, columns: Sequence[str]) -> int:
    """Writes columns of all rows into one Parquet file, streaming; returns the row count.

    Raises:
        InputError: unknown column, or another suffix than ``.parquet``.
    """
    schema = shards.schema(store.settings)
    unknown = [c for c in columns if c not in schema.names]
    if unknown:
        raise InputError(f"no column {unknown[0]!r}; there are: {', '.join(schema.names)}")
    if target.suffix != ".parquet":
        raise InputError(f"{target}: an export is written as .parquet")
    chosen = pa.schema([schema.field(c) for c in columns])
    rows = 0
    with replacing(target) as temporary, pq.ParquetWriter(temporary, chosen) as writer:
        for batch in store.batches(columns):
            writer.write_batch(batch.select(list(columns)))
            rows += len(batch)
    return rows
