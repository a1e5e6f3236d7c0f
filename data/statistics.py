"""Statistics of sigma over a store, kept in ``stats.parquet`` and brought up to date on need.

One row per channel (layer, channel, count, mean, std and the exact accumulators) and one per
layer with channel -1. The file names the shards that it covers; shard names are never reused, so
new shards are added to it and anything else is counted anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from data import shards
from data.durable import replacing
from data.manifest import Manifest
from data.store import Store
from ris.layout import StyleLayout
from ris.statistics import StyleStatistics

FILE = "stats.parquet"


def style_statistics(store: Store) -> StyleStatistics:
    """Statistics of sigma over all rows of the store; an outdated file is written anew.

    Raises:
        StoreError: a shard is missing or damaged.
    """
    return store.consistently(lambda manifest: _statistics(store, manifest))


def _statistics(store: Store, manifest: Manifest) -> StyleStatistics:
    names = [s.file for s in manifest.shards]
    stats, covered = _load(store.folder / FILE, manifest)
    if covered == set(names):
        return stats
    if not covered <= set(names):
        stats, covered = StyleStatistics(manifest.settings.layout.channels), set()
    for name in names:
        if name not in covered:
            for batch in shards.read(store.folder / "faces" / name, ["sigma"]):
                stats.add(shards.vectors(batch, "sigma"))
    if stats.count:
        _save(store.folder / FILE, stats, names, manifest.settings.layout)
    return stats


def _load(path: Path, manifest: Manifest) -> tuple[StyleStatistics, set[str]]:
    channels = manifest.settings.layout.channels
    try:
        table = pq.read_table(path)
        note = json.loads(table.schema.metadata[b"ris"])
        per_channel = table.slice(0, channels)
        arrays = {f: per_channel[f].to_numpy().copy() for f in StyleStatistics.FIELDS}
        if len(per_channel) != channels:
            raise ValueError
        return StyleStatistics.from_arrays(int(note["count"]), arrays), set(note["shards"])
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError):
        return StyleStatistics(channels), set()  # it can always be computed again


def _save(path: Path, stats: StyleStatistics, names: list[str], layout: StyleLayout) -> None:
    mean, std = stats.channel_moments()
    layer_mean, layer_std = stats.layer_moments(layout)
    layer_names = np.array([layer.name for layer in layout])
    index = np.concatenate([np.arange(layer.channels) for layer in layout])
    blank = np.full(len(layout), np.nan)
    columns: dict[str, np.ndarray] = {
        "layer": np.concatenate([layer_names[layout.layer_of_channel], layer_names]),
        "channel": np.concatenate([index, np.full(len(layout), -1)]),
        "count": np.full(len(index) + len(layout), stats.count),
        "mean": np.concatenate([mean, layer_mean]),
        "std": np.concatenate([std, layer_std]),
    }
    columns |= {name: np.concatenate([a, blank]) for name, a in stats.to_arrays().items()}
    table = pa.table(columns)
    note = json.dumps({"count": stats.count, "shards": names})
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata({"ris": note}), temporary)
