"""What keeping freed memory (`ris.memory`) gives a render and the scores of a face.

    python -m benchmarks.freed_memory --runs 5

Two processes take turns, one as glibc comes, one that keeps what it frees; printed are medians and
their ratio, and the peak memory of both. Linux with glibc only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np

from benchmarks.arguments import parser_of
from ris.evaluate.markdown import markdown_table

PROBE = """
import json, resource, sys, time
from ris.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory(), "this needs glibc"
import torch
from ris.edit.subjects import subject
from ris.face_names import Seed
from ris.ingest.loaded_models import Models
models = Models()
face = subject(Seed(1), models)

def seconds(work, times=6):
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return sorted(found)[times // 2]

with torch.inference_mode():
    render = seconds(lambda: models.generator.render(face.sigma[None]))
    scores = seconds(lambda: subject(Seed(2), models))
print(json.dumps([render, scores, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
WAYS = ("as it comes", "kept")


def measure(way: str) -> list[float]:
    """Seconds of a render, seconds of a face's scores, and MB at the peak."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, way], env=plain, check=True, capture_output=True
    )
    found: list[float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Prints a Markdown table."""
    parser = parser_of(__doc__)
    parser.add_argument("--runs", type=int, default=5, help="processes of each kind")
    runs = parser.parse_args().runs
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(runs):
        for way in WAYS:
            found[way].append(measure(way))
    first, second = (np.median(found[way], axis=0) for way in WAYS)
    rows = [
        [way, f"{row[0]:.3f}", f"{row[1]:.3f}", f"{row[2]:.0f}"]
        for way, row in zip(WAYS, (first, second), strict=True)
    ]
    rows.append(["ratio", f"{first[0] / second[0]:.2f}", f"{first[1] / second[1]:.2f}", ""])
    print(markdown_table(["freed memory", "render, s", "scores, s", "peak, MB"], rows))


if __name__ == "__main__":
    main()
