"""Recall, size and time of every index kind on masked vectors at scale, both ends.

    python -m benchmarks.sampled_store --n 1000 --store out/sampled/.ris
    python -m benchmarks.index_recall --store out/sampled/.ris --rows 20000

Rows are style coefficients of as many newly sampled codes under masks drawn from the store's
faces: real styles and real masks, paired anew, so that no pass through the generator is needed.
Queries are rows of the collection; the row itself is not counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from data.assets import load_generator
from data.statistics import style_statistics
from data.store import Store
from index.build import DEFAULT_FEATURES, row_tensors
from index.directory import IndexWriter, open_index
from index.kinds import KINDS
from ris.masks import MaskOptions, eligible_channels, feature_mask
from ris.normaliser import Normaliser

BATCH = 500
LATENCY_QUERIES = 50


def rows_of(store: Store, feature: str, mask: str, rows: int, seed: int) -> np.ndarray:
    """(N, D) float16 masked vectors."""
    settings = store.settings
    layout = settings.covered
    scores = torch.cat([row_tensors(b, settings)[1] for b in store.batches(["sigma", "scores"])])
    options = MaskOptions(kind=mask)  # type: ignore[arg-type]
    keep = eligible_channels(layout, feature)
    q = feature_mask(scores, layout, settings.classes, feature, options)[:, keep]
    normaliser = Normaliser.fit("layer", style_statistics(store), layout)
    generator = load_generator()
    draw = torch.Generator().manual_seed(seed)
    parts = []
    with torch.no_grad():
        for start in range(0, rows, BATCH):
            count = min(BATCH, rows - start)
            w = generator.mapping(torch.randn(count, generator.latent_size, generator=draw))
            w = generator.mean_w() + 0.7 * (w - generator.mean_w())
            sigma = normaliser(generator.sigma(w))[:, keep]
            chosen = torch.randint(len(q), (count,), generator=draw)
            parts.append((sigma * q[chosen]).half().numpy())
    return np.concatenate(parts)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("out/sampled/.ris"))
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--features", nargs="+", default=list(DEFAULT_FEATURES))
    parser.add_argument("--masks", nargs="+", default=["soft", "hard"])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    options = parser.parse_args()
    store = Store.open(options.store)
    print("| feature | mask | kind | recall@10 nearest | furthest | build s | query ms | MB |")
    print("|---|---|---|---|---|---|---|---|")
    for feature in options.features:
        for mask in options.masks:
            vectors = rows_of(store, feature, mask, options.rows, seed=1)
            queries = vectors[:LATENCY_QUERIES].astype(np.float32)
            for kind in options.kinds:
                with tempfile.TemporaryDirectory() as folder:
                    begin = time.monotonic()
                    with IndexWriter(Path(folder) / feature, vectors.shape[1]) as writer:
                        for start in range(0, len(vectors), BATCH):
                            writer.append(vectors[start : start + BATCH].astype(np.float32))
                        meta = writer.finish(kind, {})
                    built = time.monotonic() - begin
                    index = open_index(Path(folder) / feature).index
                    index.search(queries[:1], 10)
                    begin = time.monotonic()
                    for query in queries:
                        index.search(query[None], 10)
                    took = (time.monotonic() - begin) / len(queries) * 1e3
                    recall = meta["recall"]
                    print(
                        f"| {feature} | {mask} | {kind} | {recall['nearest']:.3f} | "
                        f"{recall['furthest']:.3f} | {built:.0f} | {took:.1f} | "
                        f"{meta['bytes'] / 2**20:.0f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
