"""Reads the weights of a TensorFlow.js model (``model.json`` and its binary) with numpy alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ris.data.durable import check_blame
from ris.errors import ModelFileError

_DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "int32": np.dtype("<i4"),
}


def read_tfjs_weights(path: Path) -> dict[str, np.ndarray]:
    """The float tensors of a model by name; those stored in half precision become float32.

    Args:
        path: the JSON; the binary shards that its manifest names lie beside it and are read in
            the manifest's order, the tensors one after another.

    Raises:
        ModelFileError: not such a pair of files, or a tensor stored in a way not known here
            (integer quantisation).
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))["weightsManifest"]
        tensors: dict[str, np.ndarray] = {}
        for group in manifest:
            names = [Path(shard) for shard in group["paths"]]
            if any(shard.name != str(shard) for shard in names):
                raise ModelFileError(f"{path} names binaries in other folders")
            blob = b"".join((path.parent / shard).read_bytes() for shard in names)
            tensors |= _group(group["weights"], blob)
    except (OSError, ValueError, KeyError, TypeError) as e:
        check_blame(path, e)
        raise ModelFileError(f"{path} is not a readable TensorFlow.js model: {e}") from e
    return tensors


def _group(entries: list[dict[str, Any]], blob: bytes) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    offset = 0
    for entry in entries:
        stored = entry.get("quantization", {}).get("dtype", entry["dtype"])
        if stored not in _DTYPES:
            raise ValueError(f"{entry['name']} is stored as {stored}")
        dtype = _DTYPES[stored]
        count = math.prod(entry["shape"])
        values = np.frombuffer(blob, dtype, count, offset)
        offset += count * dtype.itemsize
        if entry["dtype"] == "float32":
            tensors[entry["name"]] = values.reshape(entry["shape"]).astype(np.float32)
    if offset != len(blob):
        raise ValueError(f"the binary has {len(blob)} bytes, its manifest {offset}")
    return tensors
