"""Tiny stores that have everything a store can have, and what can be seen of one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from ris.data import sealed
from ris.data.failures import Failure, read_failures, update_failures
from ris.data.manifest import StoreSettings
from ris.data.metadata import join_metadata
from ris.data.shards import FaceRow
from ris.data.stats_file import style_statistics
from ris.data.store import Store
from ris.data.verify import verify
from ris.data.views import METADATA, run_sql
from ris.index.build import build_indices
from ris.index.directory import index_folder, open_index
from ris.method.layout import StyleLayer

SETTINGS = StoreSettings(
    generator="toy-1",
    generator_name="toy",
    catalogue="catalogue-1",
    classes=("eyes", "mouth", "hair"),
    layers=(
        StyleLayer("a", 16, 4, 0, early=True),
        StyleLayer("b", 24, 16, 0),
        StyleLayer("rgb", 8, 16, 1, to_image=True),
        StyleLayer("c", 24, 32, 1),
        StyleLayer("d", 8, 64, 1),
    ),
    max_resolution=32,
    instance_norm=True,
    latent_rows=2,
    latent_size=512,
)
CHANNELS = 80
COVERED = 72
FACES = 60
PHOTOS = 10
FEATURE = "eyes"


def row(number: int, *, path: str | None = None, face: str | None = None) -> FaceRow:
    """A face that its number gives."""
    rng = np.random.default_rng(number)
    scores = rng.random((3, COVERED)) * (rng.random((3, COVERED)) < 0.4)
    return FaceRow(
        id=face or hashlib.sha256(str(number).encode()).hexdigest()[:20],
        path=path or f"photos/{number:04d}.jpg",
        width=100,
        height=120 + number,
        file_size=1000 + number,
        file_mtime_ns=number,
        inverter="given",
        inversion_error=None,
        w=rng.standard_normal((2, 512), dtype=np.float32),
        sigma=rng.standard_normal(CHANNELS, dtype=np.float32),
        scores=scores.astype(np.float16),
        roll=float(number % 7),
    )


def rows(first: int, last: int) -> list[FaceRow]:
    """The faces first, ..., last - 1."""
    return [row(number) for number in range(first, last)]


def make(folder: Path, faces: int = FACES, kinds: dict[str, str] | None = None) -> Store:
    """A store in ``folder/.ris`` with shards, statistics, failures, metadata and indices."""
    folder.mkdir(parents=True)
    store = Store.create(folder / ".ris", SETTINGS)
    for first in range(0, faces, 20):
        store.append(rows(first, min(first + 20, faces)))
    table = folder / "labels.csv"
    lines = [f"{number:04d}.jpg,{number % 5},name {number}" for number in range(faces)]
    table.write_text("\n".join(["file,age,word", *lines]) + "\n")
    join_metadata(store, table)
    lines = [f"{number:04d}.jpg,{number / 2},word {number}" for number in range(30, FACES)]
    (folder / "more.csv").write_text("\n".join(["file,height2,word", *lines]) + "\n")
    update_failures(store, [Failure("photos/bad.jpg", "decode", "damaged")], [])
    style_statistics(store)
    for feature, kind in (kinds if kinds is not None else {FEATURE: "exact"}).items():
        build_indices(store, [feature], kind=kind)
    photos = folder / "new"
    photos.mkdir()
    for number in range(PHOTOS):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    (photos / "broken.png").write_bytes((photos / "0.png").read_bytes()[:200])
    return store


def faces(store: Store) -> dict[str, str]:
    """A hash of everything in every row, by id."""
    found: dict[str, str] = {}
    for batch in store.batches():
        names = batch.column("id").to_pylist()
        plain = [n for n in batch.schema.names if n not in ("w", "sigma", "scores")]
        values = batch.select(plain).to_pylist()
        arrays = [
            batch.column(n).flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
            for n in ("w", "sigma", "scores")
        ]
        for i, name in enumerate(names):
            if name in found:
                raise AssertionError(f"the face {name} is there twice")
            digest = hashlib.sha256(json.dumps(values[i], sort_keys=True).encode())
            for array in arrays:
                digest.update(array[i].tobytes())
            found[name] = digest.hexdigest()[:16]
    return found


def metadata(store: Store) -> list[Any]:
    """The user's columns as SQL gives them, by id."""
    names, values = run_sql(store, "select * from faces order by id")
    keep = [i for i, name in enumerate(names) if name in ("id", "age", "word", "height2")]
    return [[names[i] for i in keep], [[row[i] for i in keep] for row in values]]


def columns(store: Store) -> list[Any]:
    """The user's columns as their file has them."""
    path = store.folder / METADATA
    if not path.exists():
        return []
    try:
        table = sealed.read_table(path)
    except sealed.DamagedError as e:
        return ["damaged", e.reason]
    return [table.schema.to_string(), table.to_pylist()]


def index(store: Store, feature: str) -> dict[str, Any]:
    """What an index holds and what it answers."""
    found = open_index(index_folder(store, feature))
    dims = found.meta.dims
    ids = [] if found.ids is None else [name.decode() for name in np.asarray(found.ids)]
    queries = np.stack([np.random.default_rng(i).standard_normal(dims) for i in range(3)])
    ends = found.index.search(queries.astype(np.float32), 5)
    attached = hashlib.sha256()
    for name in sorted(found.attached):
        attached.update(np.ascontiguousarray(found.attached[name]).tobytes())
    return {
        "kind": found.meta.kind,
        "ids": ids,
        "attached": attached.hexdigest()[:16],
        "nearest": [ends.nearest.rows.tolist(), ends.nearest.scores.tolist()],
        "furthest": [ends.furthest.rows.tolist(), ends.furthest.scores.tolist()],
    }


def statistics(store: Store) -> str:
    """A hash of the statistics of sigma."""
    arrays = style_statistics(store).to_arrays()
    return hashlib.sha256(b"".join(arrays[n].tobytes() for n in sorted(arrays))).hexdigest()[:16]


def problems(store: Store) -> dict[str, Any]:
    """What verifying finds, without the photos, which the tiny stores do not have."""
    found = dataclasses.asdict(verify(store))
    return {name: found[name] for name in ("damaged", "problems", "strangers")}


def state(folder: Path) -> dict[str, Any]:
    """Everything of the store in ``folder/.ris``; indices that are missing are left out."""
    if not (folder / ".ris" / "manifest.json").exists():
        return {"faces": {}, "metadata": [], "failures": [], "indices": {}, "problems": {}}
    store = Store.open(folder / ".ris")
    indices = {
        path.parent.name: index(store, path.parent.name)
        for path in sorted((folder / ".ris" / "index").glob("*/meta.json"))
    }
    return {
        "faces": faces(store),
        "metadata": columns(store),
        "failures": [[f.path, f.stage, f.reason] for f in read_failures(store)],
        "indices": indices,
        "problems": problems(store),
    }


def quiet_arrow() -> None:
    """One thread: children are forked from this process."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
