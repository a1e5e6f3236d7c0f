"""Looking into a store: summary, export."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ris.data import shards
from ris.data.durable import listed, replacing
from ris.data.failures import failures_if_readable
from ris.data.manifest import Manifest
from ris.data.store import Store
from ris.data.values import is_number
from ris.errors import InputError
from ris.method.features import features_of


def summary(store: Store) -> dict[str, Any]:
    """Numbers and settings of a store and of its indices, ready for JSON."""
    manifest = store.manifest()
    settings = manifest.settings
    indices = {}
    for meta in (path / "meta.json" for path in listed(store.folder / "index")):
        if not meta.is_file():
            continue
        try:
            content = json.loads(meta.read_text(encoding="utf-8"))
            extra = content.get("extra", {})
            entry = {name: content.get(name) for name in ("kind", "rows", "bytes")}
            current = extra.get("store_content") == manifest.content
        except (OSError, ValueError, AttributeError, RecursionError):
            continue  # opening it for a query says what is wrong, as does `ris verify`
        if (
            isinstance(entry["kind"], str)
            and is_number(entry["rows"])
            and is_number(entry["bytes"])
        ):
            indices[meta.parent.name] = {**entry, "current": current}
    files = {"generator_file": store.generator_file(), "inverter_file": store.inverter_file()}
    return {
        "store": str(store.folder),
        "faces": manifest.rows,
        "failures": len(failures_if_readable(store)),
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
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


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

    def write(manifest: Manifest) -> int:
        with (
            replacing(target) as temporary,
            temporary.open("wb") as file,
            pq.ParquetWriter(file, chosen, write_page_checksum=True) as writer,
        ):
            for batch in store.batches(columns, manifest):
                writer.write_batch(batch.select(list(columns)))
        return manifest.rows

    return store.consistently(write)
