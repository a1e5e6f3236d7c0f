"""Stores of a few small rows that no generator made."""

from __future__ import annotations

import numpy as np

from ris.data.manifest import StoreSettings
from ris.data.shards import FaceRow, vectors
from ris.data.store import Store
from ris.method.layout import StyleLayer

SETTINGS = StoreSettings(
    generator="toy-1",
    generator_name="toy",
    catalogue="catalogue-1",
    classes=("eyes", "hair"),
    layers=(StyleLayer("a", 4, 4, 0, early=True), StyleLayer("b", 6, 8, 1)),
    max_resolution=4,
    instance_norm=True,
    latent_rows=2,
    latent_size=3,
)


def row(number: int, path: str | None = None) -> FaceRow:
    rng = np.random.default_rng(number)
    return FaceRow(
        id=f"face{number:04d}",
        path=path or f"photos/{number:04d}.jpg",
        width=100,
        height=120 + number,
        file_size=1000 + number,
        file_mtime_ns=number,
        inverter="given",
        inversion_error=None,
        w=rng.standard_normal((2, 3), dtype=np.float32),
        sigma=rng.standard_normal(10, dtype=np.float32),
        scores=rng.random((2, 4)).astype(np.float16),
    )


def content(store: Store) -> dict[str, tuple[str, bytes, bytes]]:
    found = {}
    for batch in store.batches():
        sigma, scores = vectors(batch, "sigma"), vectors(batch, "scores")
        for i, (face, path) in enumerate(
            zip(batch.column("id").to_pylist(), batch.column("path").to_pylist(), strict=True)
        ):
            assert face not in found
            found[face] = (path, sigma[i].tobytes(), scores[i].tobytes())
    return found
