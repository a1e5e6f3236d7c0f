"""Reads what RIS wrote, without RIS: tables, indices and pictures as JSON values and arrays."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Arrays = dict[str, np.ndarray]
Values = dict[str, Any]

BUILD = re.compile(r"build-[0-9a-f]{8}")
FEW = 100
"""Rows of a table whose single values are JSON rather than arrays."""


def read_store(folder: Path) -> tuple[Values, Arrays]:
    """Manifest, files with their hashes, and tables of the store in `folder`."""
    values: Values = {
        "manifest": json.loads((folder / "manifest.json").read_text(encoding="utf-8")),
        "files": {
            BUILD.sub("build-*", path.relative_to(folder).as_posix()): _hash(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
        "tables": {},
    }
    arrays: Arrays = {}
    for path in sorted(folder.rglob("*.parquet")):
        name = path.relative_to(folder).as_posix()
        values["tables"][name], columns = read_table(path)
        arrays |= {f"{name}/{column}": array for column, array in columns.items()}
    return values, arrays


def _hash(path: Path) -> str:
    if path.name == "meta.json":  # names its build, which is drawn by chance
        return "by chance"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_table(path: Path) -> tuple[Values, Arrays]:
    """Schema and columns of a Parquet file; lists and long columns are arrays."""
    table = pq.read_table(path)
    schema = table.schema
    few = len(table) <= FEW
    values: Values = {
        "rows": len(table),
        "schema": [str(field) for field in schema],
        "metadata": {k.decode(): v.decode() for k, v in sorted((schema.metadata or {}).items())},
        "columns": {},
    }
    arrays: Arrays = {}
    for field in schema:
        column = table[field.name].combine_chunks()
        if pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type):
            arrays[field.name] = np.array(
                [row.values.to_numpy(zero_copy_only=False) for row in column]
            )
        elif few:
            values["columns"][field.name] = column.to_pylist()
        elif pa.types.is_string(field.type):
            text = json.dumps(column.to_pylist())
            values["columns"][field.name] = hashlib.sha256(text.encode()).hexdigest()
        else:
            arrays[field.name] = column.to_numpy(zero_copy_only=False)
    return values, arrays


def read_indices(folder: Path) -> tuple[Values, Arrays]:
    """meta.json, ids, vectors and statistics of every index of the store in `folder`."""
    values: Values = {}
    arrays: Arrays = {}
    for meta_file in sorted((folder / "index").glob("*/meta.json")):
        meta = json.loads(meta_file.read_text(encoding="utf-8"))
        build = meta_file.parent / meta["build"]
        assert BUILD.fullmatch(meta["build"]), meta["build"]
        feature = meta_file.parent.name
        files = {
            name: build / _file_name(name, record["revision"])
            for name, record in meta["files"].items()
        }
        packed = {name: np.load(path) for name, path in files.items() if path.suffix == ".npz"}
        arrays[f"{feature}/vectors"] = _vectors(files, meta["rows"], meta["dims"])
        for name in ("mean", "scale", "places"):
            arrays[f"{feature}/{name}"] = packed["attached.npz"][name]
        del meta["crc32"]  # depends on the build's name
        values[feature] = {
            "meta": meta | {"build": "build-*"},
            "ids": [face.decode() for face in np.load(files["ids.npy"]).tolist()],
            "arrays": {
                f"{name}/{member}": f"{array.dtype.kind} {list(array.shape)}"
                for name, members in packed.items()
                for member, array in members.items()
            },
        }
    return values, arrays


def _file_name(name: str, revision: int) -> str:
    stem, _, suffix = name.partition(".")
    return f"{stem}.{revision}.{suffix}" if revision else name


def _vectors(files: dict[str, Path], rows: int, dims: int) -> np.ndarray:
    """(N, D) float16, from one file of them all or from three of those other than zero."""
    if "vectors.f16" in files:
        return np.fromfile(files["vectors.f16"], "<f2").reshape(rows, dims)
    counts = np.diff(np.fromfile(files["ends.i64"], "<i8"), prepend=0)
    vectors = np.zeros((rows, dims), "<f2")
    at = np.repeat(np.arange(rows), counts), np.fromfile(files["channels.u16"], "<u2")
    vectors[at] = np.fromfile(files["values.f16"], "<f2")
    return vectors


def read_picture(path: Path) -> tuple[Values, np.ndarray]:
    """What a picture says about itself, and its pixels (H, W, 3) uint8."""
    with Image.open(path) as picture:
        told = {
            key: json.loads(text) if key == "ris" else text
            for key, text in picture.info.items()
            if isinstance(text, str)
        }
        return {"size": list(picture.size), "told": told}, np.asarray(picture.convert("RGB"))
