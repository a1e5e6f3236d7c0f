"""Pictures of groups of faces that use the same channels for a feature (Fig. 2 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from ris.data import shards
from ris.data.manifest import Manifest
from ris.data.squares import square_of
from ris.data.store import Store
from ris.edit.editor import render
from ris.errors import ImageError, InputError
from ris.evaluate.submembership import (
    FACES,
    check_enough,
    check_feature,
    draw_faces,
    feature_rows,
)
from ris.ingest.alignment.cut import cut_again
from ris.ingest.loaded_models import Models
from ris.ingest.sampling import to_picture
from ris.method.kmeans import nearest, spherical_kmeans
from ris.query.sheet import save_picture
from ris.query.tiles import grid

TILE = 160
COLUMNS = 8
FORMATS = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Cluster:
    """A cluster of faces.

    Attributes:
        size: number of its faces.
        faces: rows within the store of those nearest to the centre, the nearest first.
    """

    size: int
    faces: list[int]


def find_clusters(
    store: Store,
    feature: str,
    manifest: Manifest,
    *,
    clusters: int = 5,
    columns: int = COLUMNS,
    faces: int = FACES,
    seed: int = 0,
) -> list[Cluster]:
    """Clusters a store's faces as `evaluate_submembership` does, the largest cluster first.

    Args:
        store: the collection.
        feature: any but the pose.
        manifest: its state.
        clusters: K, 1 or more.
        columns: faces named of each cluster.
        faces: faces read at most.
        seed: of the draw and of k-means.

    Raises:
        InputError: unknown feature, too few faces, or numbers below 1.
    """
    if clusters < 1 or columns < 1:
        raise InputError("a sheet takes one cluster and one face of it at least")
    check_feature(manifest.settings, feature)
    chosen = draw_faces(manifest.rows, faces, seed)
    rows = feature_rows(store, manifest, feature, chosen)
    check_enough(rows.scores, feature, clusters)
    centres = spherical_kmeans(rows.scores, clusters, seed=seed)
    labels = nearest(rows.scores, centres)
    found = []
    for number, centre in enumerate(centres):
        members = torch.nonzero(labels == number)[:, 0]
        if len(members):
            own = torch.nn.functional.normalize(rows.scores[members].float(), dim=1) @ centre
            best = members[own.argsort(descending=True, stable=True)[:columns]]
            found.append(Cluster(len(members), rows.numbers[best.numpy()].tolist()))
    return sorted(found, key=lambda c: -c.size)


def make_sheet(
    store: Store,
    features: Sequence[str],
    clusters: Sequence[int],
    out: Path,
    *,
    columns: int = COLUMNS,
    faces: int = FACES,
    seed: int = 0,
) -> dict[str, Any]:
    """Clusters a store's faces by one feature and draws those nearest to each centre.

    Args:
        store: the collection.
        features: exactly one.
        clusters: exactly one number of them.
        out: .png or .jpg.
        columns: faces of each cluster.
        faces: faces read at most.
        seed: of the draw and of k-means.

    Returns:
        what it shows, ready for JSON.

    Raises:
        InputError: see `find_clusters`, or several features, numbers or another suffix.
    """
    if len(features) != 1 or len(clusters) != 1:
        raise InputError(
            "a sheet shows one feature and one number of clusters, "
            f"not {len(features)} and {len(clusters)}",
            "name one, and one number of `clusters`",
        )
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"{out}: a picture is written as .png or .jpg")
    (feature,), (count,) = features, clusters
    manifest = store.manifest()
    found = find_clusters(
        store, feature, manifest, clusters=count, columns=columns, faces=faces, seed=seed
    )
    drawn = draw_sheet(store, feature, manifest, found, out)
    title = f"{len(found)} clusters of faces by {feature}"
    if drawn:
        title += f"; {drawn} photos are gone, those faces are drawn from their codes"
    sizes = [cluster.size for cluster in found]
    return {"file": out, "feature": feature, "sizes": sizes, "from_codes": drawn, "title": title}


def draw_sheet(
    store: Store, feature: str, manifest: Manifest, clusters: list[Cluster], out: Path
) -> int:
    """A row of faces for each cluster; a photo that is gone is drawn from its code.

    Args:
        store: the collection.
        feature: for the titles.
        manifest: the state whose rows the clusters name.
        clusters: what to draw.
        out: .png or .jpg.

    Returns:
        number of faces drawn from their codes.

    Raises:
        InputError: `out` is not .png or .jpg.
    """
    wanted = np.unique([number for cluster in clusters for number in cluster.faces])
    tiles, drawn = _tiles(store, manifest, wanted)
    columns = max(len(cluster.faces) for cluster in clusters)
    rows: list[list[Image.Image | None]] = [
        [tiles[n] for n in cluster.faces] + [None] * (columns - len(cluster.faces))
        for cluster in clusters
    ]
    titles = [f"{feature}, cluster of {cluster.size} faces" for cluster in clusters]
    save_picture(grid(rows, titles=titles), out)
    return drawn


def _tiles(
    store: Store, manifest: Manifest, wanted: np.ndarray
) -> tuple[dict[int, Image.Image], int]:
    """Picture of each wanted row of the store, and how many were drawn from their codes."""
    models: Models | None = None
    tiles: dict[int, Image.Image] = {}
    start = drawn = 0
    for batch in store.batches(["path", "aligned", "quad", "sigma"], manifest):
        inside = wanted[(wanted >= start) & (wanted < start + len(batch))]
        start += len(batch)
        if not len(inside):
            continue
        part = batch.take(pa.array(inside - start + len(batch)))
        sigma = torch.from_numpy(shards.vectors(part, "sigma").copy())
        for i, row in enumerate(part.select(["path", "aligned", "quad"]).to_pylist()):
            quad = square_of(row["quad"], row["aligned"])
            try:
                tile = Image.fromarray(cut_again(store.resolve(row["path"]), quad, TILE))
            except ImageError:
                models = models or Models.of_store(store)
                tile = to_picture(render(models.generator, sigma[i : i + 1])[0], TILE)
                drawn += 1
            tiles[int(inside[i])] = tile
    return tiles, drawn
