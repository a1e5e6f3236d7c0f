"""The networks of alignment beside LiteRT, which they are held against, on one thread.

``OMP_NUM_THREADS=1 python -m benchmarks.alignment_networks [photo ...]``: processor milliseconds of
each network, and of finding the faces of each photo (by default the shipped portrait) at 500 px
width with the networks of either kind, taken in turns so that other work of the machine slows both
alike. It needs `ai-edge-litert`.
"""

from __future__ import annotations

import sys
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from ris.data.models.asset_files import asset_path
from ris.data.models.registry import model_file
from ris.ingest.alignment.finder import FaceFinder
from ris.ingest.alignment.landmarker_file import MODEL, Networks, load_networks, read_networks

FILES = {
    "detector": "face_detector.tflite",
    "landmarks": "face_landmarks_detector.tflite",
    "blendshapes": "face_blendshapes.tflite",
}
ROUNDS = 200
WIDTH = 500


class LiteRT:
    """One network in LiteRT, called as `ris.ingest.alignment.landmarker_file.Network` is."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._runtime: Any = Interpreter(model_content=content, num_threads=1)
        self._runtime.allocate_tensors()
        (given,) = self._runtime.get_input_details()
        self._input = given["index"]
        self._outputs = {d["name"]: d["index"] for d in self._runtime.get_output_details()}

    def __call__(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Runs it."""
        self._runtime.set_tensor(self._input, np.ascontiguousarray(values, dtype=np.float32))
        self._runtime.invoke()
        return {name: self._runtime.get_tensor(i) for name, i in self._outputs.items()}


def main() -> None:
    """Measures and prints."""
    torch.set_num_threads(1)
    ours = load_networks()
    path = model_file(MODEL).path(".task")
    torchs = read_networks(path, "reference")
    with zipfile.ZipFile(path) as archive:
        theirs = {name: LiteRT(archive.read(file)) for name, file in FILES.items()}
    print("median (least) processor milliseconds: kernels, torch alone, LiteRT")
    for name in FILES:
        values = np.random.default_rng(0).random(getattr(ours, name).input_shape, np.float32)
        ways = (getattr(ours, name), getattr(torchs, name), theirs[name])
        _print(name, [partial(run, values) for run in ways])
    rival = Networks(**theirs, canonical=ours.canonical)  # type: ignore[arg-type]
    finders = [_finder(networks) for networks in (ours, torchs, rival)]
    for photo in map(Path, sys.argv[1:] or [str(asset_path("portrait.jpg"))]):
        picture = Image.open(photo).convert("RGB")
        picture = picture.resize((WIDTH, WIDTH * picture.height // picture.width))
        _print(photo.name, [partial(finder.find, picture) for finder in finders])


def _finder(networks: Networks) -> FaceFinder:
    finder = FaceFinder()
    finder.__dict__["_networks"] = networks  # where it keeps what it has loaded
    return finder


def _print(name: str, ways: list[Callable[[], object]]) -> None:
    spent: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS):
        for way, times in zip(ways, spent, strict=True):
            start = time.thread_time()
            way()
            times.append(1000 * (time.thread_time() - start))
    print(f"{name:12}", *(f"{median(t):7.2f} ({min(t):.2f})" for t in spent))


if __name__ == "__main__":
    main()
