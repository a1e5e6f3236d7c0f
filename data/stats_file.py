"""Statistics of sigma over a store, kept in ``stats.parquet`` and brought up to date on need.

One row per channel (layer, channel, count, mean, std and the exact accumulators) and one per
layer with channel -1. The file names the shards that it covers, with the start of their hashes; so
new shards are added to it and anything else is counted anew, as is everything where the file is
damaged.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from ris.data import sealed, shards
from ris.data.commit import FACES
from ris.data.durable import replacing
from ris.data.manifest import Manifest, Shard
from ris.data.store import Store
from ris.method.layout import StyleLayout
from ris.method.statistics import StyleStatistics
from ris.notices import warn

FILE = "stats.parquet"


def style_statistics(store: Store) -> StyleStatistics:
    """Statistics of sigma over all rows of the store; an outdated file is written anew.

    Raises:
        StoreError: a shard is missing or damaged.
    """
    return store.consistently(lambda manifest: _statistics(store, manifest))


def _statistics(store: Store, manifest: Manifest) -> StyleStatistics:
    names = {_mark(shard): shard.file for shard in manifest.shards}
    stats, covered = _load(store.folder / FILE, manifest)
    if covered == set(names):
        return stats
    if not covered <= set(names):
        stats, covered = StyleStatistics(manifest.settings.layout.channels), set()
    for mark, file in names.items():
        if mark not in covered:
            for batch in shards.read(store.folder / FACES / file, ["sigma"]):
                stats.add(shards.vectors(batch, "sigma"))
    if stats.count:
        _save(store.folder / FILE, stats, list(names), manifest.settings.layout)
    return stats


def _mark(shard: Shard) -> str:
    return f"{shard.file}:{shard.sha256[:16]}"


def _load(path: Path, manifest: Manifest) -> tuple[StyleStatistics, set[str]]:
    channels = manifest.settings.layout.channels
    if path.exists():
        try:
            with sealed.opened(path, whole=True) as f:
                note = sealed.note_of(f)
                if not sealed.is_sealed(f):  # an earlier version's, which shows no damage
                    return StyleStatistics(channels), set()
                per_channel = f.read().slice(0, channels)
                arrays = {n: per_channel[n].to_numpy().copy() for n in StyleStatistics.FIELDS}
                if len(per_channel) != channels:
                    raise ValueError(f"it has {len(per_channel)} channels instead of {channels}")
                covered = set(map(str, note["shards"]))
                return StyleStatistics.from_arrays(int(note["count"]), arrays), covered
        except sealed.DamagedError as e:
            warn(f"{path} is damaged ({e.reason}): the statistics are computed again")
    return StyleStatistics(channels), set()


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
    note = {"count": stats.count, "shards": names}
    with replacing(path) as temporary:
        sealed.write_table(temporary, pa.table(columns), note)
