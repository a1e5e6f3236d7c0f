"""A recording: JSON values and arrays, whole or reduced to what machines have in common."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.golden.reading import Arrays, Values, read_indices, read_picture, read_store, read_table
from tests.golden.workload import Workload

VALUES, ARRAYS = "values.json", "arrays.npz"
STORE = ".ris"
BY_CHANCE = {"build": "build-*", "seconds": "some"}
"""Keys of values that no two runs have in common, and what stands there instead."""
BY_MACHINE = frozenset(
    {
        *("sha256", "crc32", "keys", "checksum", "store_content"),  # of floats
        *("bytes", "file_size", "engine"),
    }
)
"""Keys of values that another processor, codec or compiler may change."""
SIZED = frozenset({"vectors.f16", "sums.u32", "ids.npy", "attached.npz", "codes.i8", "coder.npz"})
"""Files of an index whose size no machine changes."""
MADE = ("faces/", "photos/group.bmp")
"""Photos that the workload makes: their bytes, and with them their ids, are the machine's."""
HERE = "<by machine>"
BLOCKS, SAMPLES, SIDE = 24, 40, 24


@dataclass(frozen=True)
class Recording:
    """What the workload left.

    Attributes:
        exact: all bits are there, to be compared on one machine; else `reduced` was applied.
        values: JSON values.
        arrays: by name.
    """

    exact: bool
    values: Values
    arrays: Arrays

    def write(self, folder: Path) -> None:
        """Writes it into a folder; of equal arrays the first alone."""
        folder.mkdir(parents=True, exist_ok=True)
        first: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        same = {
            name: first.setdefault((array.dtype.str, array.shape, array.tobytes()), name)
            for name, array in sorted(self.arrays.items())
        }
        parts = {"exact": self.exact, "arrays": same, **self.values}
        lines = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in parts.items()]
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        (folder / VALUES).write_text(text, encoding="utf-8")
        np.savez_compressed(folder / ARRAYS, **{n: self.arrays[n] for n in first.values()})

    @classmethod
    def read(cls, folder: Path) -> Recording:
        """The inverse of `write`."""
        values = json.loads((folder / VALUES).read_text(encoding="utf-8"))
        with np.load(folder / ARRAYS) as arrays:
            held = dict(arrays)
        named = {name: held[first] for name, first in values.pop("arrays").items()}
        return cls(values.pop("exact"), values, named)


def record() -> Recording:
    """Does the workload in a temporary folder and records all of it, exactly."""
    values: Values = {}
    arrays: Arrays = {}

    def keep(name: str, read: tuple[Values, Arrays]) -> None:
        values[name] = read[0]
        arrays.update({f"{name}/{key}": array for key, array in read[1].items()})

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        work = Workload(
            folder,
            lambda moment, where: keep(f"store {moment}", read_store(where / STORE)),
            lambda moment, where: keep(f"index {moment}", read_indices(where / STORE)),
        )
        work.run()
        keep("latents", read_table(folder / "faces" / "latents.parquet"))
        keep("export", read_table(folder / "export.parquet"))
        for path in sorted([*folder.glob("*.png"), *folder.glob("faces/*.jpg")]):
            told, pixels = read_picture(path)
            keep(f"picture {path.relative_to(folder).as_posix()}", (told, {"pixels": pixels}))
        del work.printed["info"]["bytes"]  # with meta.json, which names a build
        values["printed"] = work.printed
        text = json.dumps(values).replace(json.dumps(str(folder))[1:-1], "<folder>")
    return Recording(True, _without_chance(json.loads(text)), arrays)


def _without_chance(value: Any) -> Any:
    """Without what no two runs have in common."""
    if isinstance(value, dict):
        return {k: BY_CHANCE.get(k) or _without_chance(item) for k, item in value.items()}
    return [_without_chance(item) for item in value] if isinstance(value, list) else value


def reduced(whole: Recording) -> Recording:
    """What every machine should give, within tolerances, and small enough to be kept in git."""
    if not whole.exact:
        return whole
    text = json.dumps(whole.values)
    for path, face in _made_ids(whole):
        text = text.replace(face, f"id of {path}")
    arrays = {name: _reduced_array(name, array) for name, array in whole.arrays.items()}
    kept = {name: array for name, array in arrays.items() if array is not None}
    return Recording(False, _reduced_values(json.loads(text), ()), kept)


def _made_ids(whole: Recording) -> Iterator[tuple[str, str]]:
    for row in whole.values["printed"]["ids"]:
        if row["path"].startswith(MADE):
            yield row["path"], row["id"]


def _reduced_values(value: Any, way: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _reduced_item(key, item, way) for key, item in value.items()}
    if isinstance(value, list):
        return [_reduced_values(item, way) for item in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _reduced_item(key: str, item: Any, way: tuple[str, ...]) -> Any:
    if way and way[0].startswith("store ") and way[-1] == "files":
        return "a file"
    if key == "bytes" and way[-2:-1] == ("files",) and way[-1] in SIZED:
        return item
    return HERE if key in BY_MACHINE else _reduced_values(item, (*way, key))


def _reduced_array(name: str, array: np.ndarray) -> np.ndarray | None:
    if name.endswith("/pixels"):
        size = (min(SIDE, array.shape[1]), min(SIDE, array.shape[0]))
        return np.asarray(Image.fromarray(array).resize(size, Image.Resampling.BOX))
    if re.search(r"/(sum|square)_(high|low)$", name):
        return None  # mean and std are made of them
    if array.dtype.kind != "f":
        return array
    rows = np.atleast_2d(array).astype(np.float64)
    if rows.shape[1] > BLOCKS + SAMPLES:
        blocks = [part.mean(axis=1) for part in np.array_split(rows, BLOCKS, axis=1)]
        step = rows.shape[1] // SAMPLES
        rows = np.concatenate([np.stack(blocks, axis=1), rows[:, ::step][:, :SAMPLES]], axis=1)
    return rows.astype(np.float32)
