"""One small file of every kind that the product reads, and how it is read."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ris.data.file_names import FileNames
from ris.data.latents import read_latents, write_latents
from ris.data.metadata import match_rows
from ris.data.models.stylegan2_files import convert, load_stylegan2
from ris.data.store import Store
from ris.data.tables import read_table
from ris.generators.stylegan2 import StyleGAN2Config
from ris.index import KINDS
from ris.index.build import build_indices
from ris.index.directory import index_folder
from ris.index.meta import read_meta
from ris.ingest.pictures.decode import decode
from ris.ingest.sources.sources import find_photos
from tests.checkpoints import as_nvidia, rosinality, write_pickle
from tests.torture import stores
from tests.torture.mutations import Target

GENERATOR = StyleGAN2Config((8, 8, 8, 8), latent=16, mapping_layers=1)
PHOTOS = {
    "a.jpg": {"format": "JPEG"},
    "progressive.jpg": {"format": "JPEG", "progressive": True},
    "a.png": {"format": "PNG"},
    "a.gif": {"format": "GIF"},
    "a.bmp": {"format": "BMP"},
    "a.tif": {"format": "TIFF"},
    "lzw.tif": {"format": "TIFF", "compression": "tiff_lzw"},
    "a.webp": {"format": "WEBP"},
    "a.ppm": {"format": "PPM"},
    "a.jp2": {"format": "JPEG2000"},
    "a.avif": {"format": "AVIF"},
    "a.mpo": {"format": "MPO"},
}
LINES = [
    "file,age,word,date",
    *(f"{n:04d}.jpg,{n / 4},w{n % 3},2020-01-{n % 28 + 1:02d}" for n in range(60)),
]


def make_files(folder: Path) -> None:
    """Makes all files in an empty folder."""
    _make_photos(folder / "photos")
    _make_tables(folder / "tables")
    _make_latents(folder / "latents")
    _make_checkpoints(folder / "checkpoints")
    for kind in KINDS:
        store = stores.make(folder / "stores" / kind, kinds={"eyes": kind})
        if kind == "exact":
            build_indices(store, ["hair"], kind="exact")


def _make_photos(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 255, (6, 6, 3), np.uint8)
    picture = Image.fromarray(smooth).resize((48, 40), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, options in PHOTOS.items():
        extra: dict[str, Any] = {"exif": exif} if name in ("a.jpg", "a.png", "a.webp") else {}
        try:
            picture.save(folder / name, **options, **extra)
        except (OSError, KeyError):
            continue  # a Pillow without this format
    deep = rng.integers(0, 65535, (40, 40), np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    picture.convert("P").save(folder / "palette.png", transparency=3)
    picture.convert("CMYK").save(folder / "cmyk.jpg")


def _make_tables(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    text = "\n".join(LINES) + "\n"
    (folder / "a.csv").write_text(text)
    (folder / "semicolon.csv").write_text(text.replace(",", ";"))
    (folder / "tab.tsv").write_text(text.replace(",", "\t"))
    (folder / "utf16.csv").write_text(text, encoding="utf-16")
    (folder / "a.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    celeba = ["60", "Smiling Young", *(f"{n:04d}.jpg {1 - n % 2 * 2:2d} -1" for n in range(60))]
    (folder / "celeba.txt").write_text("\n".join(celeba) + "\n")
    names = [f"{n:04d}.jpg" for n in range(60)]
    table = pa.table({"file": names, "age": [n / 4 for n in range(60)], "word": ["w"] * 60})
    pq.write_table(table, folder / "a.parquet")
    for name in names[:20]:
        (folder / name).write_bytes(b"\xff\xd8\xff" + bytes(20))
    (folder / "photos.txt").write_text("\n".join(names[:20]) + "\n")


def _make_latents(folder: Path) -> None:
    folder.mkdir()
    codes = np.random.default_rng(3).standard_normal((6, 512), dtype=np.float32)
    np.save(folder / "a.npy", codes)
    np.savez(folder / "a.npz", w=codes)
    np.savez_compressed(folder / "packed.npz", w=codes)
    torch.save(torch.from_numpy(codes), folder / "a.pt")
    torch.save(torch.from_numpy(codes), folder / "old.pt", _use_new_zipfile_serialization=False)
    files = [f"{n}.jpg" for n in range(6)]
    write_latents(folder / "a.parquet", codes, files, ["0" * 64] * 6, "toy-1")


def _make_checkpoints(folder: Path) -> None:
    folder.mkdir()
    tensors = rosinality(GENERATOR)
    content = {"g_ema": tensors, "latent_avg": torch.zeros(16)}
    torch.save(content, folder / "a.pt")
    torch.save(content, folder / "old.pt", _use_new_zipfile_serialization=False)
    convert(folder / "a.pt", folder / "a.safetensors")
    for protocol in (3, 4):
        write_pickle(folder / f"{protocol}.pkl", as_nvidia(tensors), protocol=protocol)


def _picture(path: Path) -> Any:
    photo = decode(path)
    return [photo.width, photo.height, hashlib.sha256(photo.picture.tobytes()).hexdigest()]


def _table(path: Path) -> Any:
    table = read_table(path)
    columns = {name: table.column(name).to_pylist() for name in table.names}
    names = [f"{n:04d}.jpg" for n in range(60)]
    return [columns, match_rows(table, FileNames(names, path.parent))]


def _list(path: Path) -> Any:
    return [photo.name for photo in find_photos(str(path))]


def _codes(path: Path) -> Any:
    found = read_latents(path)
    codes = [found.codes[i].tobytes().hex() for i in range(min(len(found.codes), 64))]
    return [codes, found.files, found.hashes, found.generator]


def _generator(path: Path) -> Any:
    return load_stylegan2(path).fingerprint


def _store(folder: Path) -> Any:
    store = Store.open(folder / ".ris")
    return [stores.faces(store), stores.metadata(store), store.manifest().content]


def _beside(folder: Path) -> Any:
    from ris.data.failures import read_failures

    store = Store.open(folder / ".ris")
    return [stores.statistics(store), [vars(f) for f in read_failures(store)]]


def _index(folder: Path, feature: str) -> Any:
    return stores.index(Store.open(folder / ".ris"), feature)


def targets(folder: Path) -> list[Target]:
    """All that is mutated."""
    found = [
        Target(f"photo {path.suffix[1:]}", path.name, path, partial(_picture, path), False)
        for path in sorted((folder / "photos").iterdir())
    ]
    for path in sorted((folder / "tables").iterdir()):
        if path.name == "photos.txt":
            found.append(Target("list", path.name, path, partial(_list, path), False))
        elif path.suffix != ".jpg":
            found.append(Target("table", path.name, path, partial(_table, path), False))
            if path.suffix in (".csv", ".tsv"):
                listed = partial(_list, path)
                found.append(Target("list", f"{path.name} as a list", path, listed, False))
    for room, read in (("latents", _codes), ("checkpoints", _generator)):
        for path in sorted((folder / room).iterdir()):
            name = f"{room} {path.suffix}"
            found.append(Target(name, f"{room}/{path.name}", path, partial(read, path), False))
    found += _of_store(folder / "stores" / "exact")
    for kind in KINDS:
        found += _of_index(folder / "stores" / kind, kind, "eyes")
    found += _of_index(folder / "stores" / "exact", "exact hair", "hair")
    return found


def _of_store(folder: Path) -> list[Target]:
    inside = folder / ".ris"
    read: Callable[[], Any] = partial(_store, folder)
    shard = sorted((inside / "faces").iterdir())[0]
    rest = [("statistics", "stats.parquet"), ("failures", "failures.parquet")]
    return [
        Target("manifest", "manifest.json", inside / "manifest.json", read, True),
        Target("shard", "shard", shard, read, True),
        Target("metadata", "metadata.parquet", inside / "metadata.parquet", read, True),
        *(Target(g, name, inside / name, partial(_beside, folder), True) for g, name in rest),
    ]


def _of_index(folder: Path, kind: str, feature: str) -> list[Target]:
    store = Store.open(folder / ".ris")
    place = index_folder(store, feature)
    meta = read_meta(place)
    read: Callable[[], Any] = partial(_index, folder, feature)
    paths = [place / "meta.json", *sorted((place / meta.build).iterdir())]
    return [Target(f"index {p.name}", f"{kind} {p.name}", p, read, True) for p in paths]
