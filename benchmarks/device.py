"""What a CUDA device gains over the processor of the same machine, step by step.

    python -m benchmarks.device photos/ --count 200 --json device.json

Faces a second of each step on faces that are cut out already, in groups as an ingest has them;
then `ris ingest` of the photos in processes of its own, from file to row, without the start-up.
Without a CUDA device the processor alone is measured.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.arguments import add_json, parser_of, write_json
from benchmarks.ingest_speed import ROOT
from benchmarks.measures.processes import timed
from ris.evaluate.markdown import markdown_table
from ris.images import from_pixels
from ris.ingest.inversion.optimisation import load_inverter
from ris.ingest.loaded_models import Models
from ris.ingest.pipeline import DEVICE_FACES
from ris.ingest.reading import AT_ONCE
from ris.ingest.sources.sources import find_photos
from ris.memory import keep_freed_memory

REPEATS = 3
STEPS = 30
SIDE = 256


def rate(work: Callable[[], Any], faces: int) -> float:
    """Faces a second, the best of some runs after one that is not counted."""
    best = float("inf")
    for run in range(REPEATS + 1):
        begin = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if run:
            best = min(best, time.perf_counter() - begin)
    return faces / best


def steps(device: str, faces: int) -> dict[str, float]:
    """Faces a second of each step on one device."""
    models = Models(device=device)  # type: ignore[arg-type]
    embedder, inverter, generator = models.embedder, models.inverter, models.generator
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in range(faces)]
    images = from_pixels(np.stack(pixels))
    codes = list(inverter.invert(images).w)
    few = max(4, faces // 16)

    def embed() -> None:
        group = AT_ONCE if device == "cuda" else 1
        for start in range(0, faces, group):
            embedder.embed_all(codes[start : start + group])

    def render() -> None:
        with torch.no_grad():
            for code in codes[:few]:
                generator.render(generator.sigma(code[None].to(generator.device))).cpu()

    refine = load_inverter(generator, steps=STEPS)
    return {
        "encode": rate(lambda: inverter.invert(images), faces),
        "activations and scores": rate(embed, faces),
        f"{STEPS} steps of optimisation": rate(lambda: refine.invert(images[:few]), few),
        "render at full size": rate(render, few),
    }


def ingest(photos: Sequence[Path], device: str) -> float:
    """Faces a second of `ris ingest`."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "photos.txt"
        listed.write_text("\n".join(str(p.absolute()) for p in photos) + "\n", encoding="utf-8")
        words = ["ingest", str(listed), "--store", f"{folder}/.ris", "--device", device, "--json"]
        _, printed = timed([sys.executable, "-m", "ris", *words], cwd=ROOT)
    report = json.loads(printed)
    return float(report["ingested"]) / float(report["seconds"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a Markdown table."""
    parser = parser_of(__doc__)
    parser.add_argument("photos", help="folder, list or pattern")
    parser.add_argument("--count", type=int, default=200, help="photos that are ingested")
    add_json(parser)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    photos = list(islice(find_photos(options.photos), options.count))
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    found = {d: steps(d, DEVICE_FACES) for d in devices}
    for device in devices:
        found[device]["ris ingest, from file to row"] = ingest(photos, device)
    names = [torch.cuda.get_device_name() if d == "cuda" else "processor" for d in devices]
    rows = [[step, *(f"{found[d][step]:.3g}" for d in devices)] for step in found["cpu"]]
    print(markdown_table(["faces a second", *names], rows))
    write_json(found, options.json)


if __name__ == "__main__":
    main()
