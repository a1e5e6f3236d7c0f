"""What keeping freed memory (`ris.memory`) gives a render and the scores of a face.

    python -m benchmarks.freed_memory --runs 5

Two processes take turns, one as glibc comes, one that keeps what it frees; printed are medians and
their ratio, and the peak memory of both. Linux with glibc only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

import numpy as np

PROBE = """
import json, resource, sys, time
from ris.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory(), "this needs glibc"
import torch
from ris.edit.subjects import seed_subject
from ris.ingest.session import Session
session = Session()
face = seed_subject("seed:1", session)

def seconds(work, times=6):
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return sorted(found)[times // 2]

with torch.inference_mode():
    render = seconds(lambda: session.generator.render(face.sigma[None]))
    scores = seconds(lambda: seed_subject("seed:2", session))
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="processes of each kind")
    runs = parser.parse_args().runs
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(runs):
        for way in WAYS:
            found[way].append(measure(way))
    first, second = (np.median(found[way], axis=0) for way in WAYS)
    print("| freed memory | render, s | scores, s | peak, MB |\n|---|---|---|---|")
    for way, row in zip(WAYS, (first, second), strict=True):
        print(f"| {way} | {row[0]:.3f} | {row[1]:.3f} | {row[2]:.0f} |")
    print(f"| ratio | {first[0] / second[0]:.2f} | {first[1] / second[1]:.2f} | |")


if __name__ == "__main__":
    main()
