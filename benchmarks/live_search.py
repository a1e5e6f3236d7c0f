"""Searches of one program while another ingests: how many are refused, and how long they take.

    python -m benchmarks.live_search --photos rendered/ --faces 100

Makes a store of the first photos of a folder (of `ris sample`, so that the ingest is quick),
indexes it, and searches by the ids of its faces, feature after feature, while `ris ingest` adds
the rest and brings the indices up to date. Printed are the number of searches, how many were
refused, the most faces that a search did not look at, and the times before and during the ingest.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import add_json, parser_of, write_json
from ris.data.store import Store
from ris.errors import RisError
from ris.face_names import FaceId
from ris.index.build import DEFAULT_FEATURES, build_indices
from ris.ingest.loaded_models import Models
from ris.ingest.run import ingest_collection
from ris.query.searcher import Searcher

ROOT = Path(__file__).resolve().parent.parent
BEFORE = 100  # searches of the quiet store
PAUSE = 0.02  # seconds between two searches, so that they do not take the ingest's core


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Prints one line for each phase; returns the numbers."""
    parser = parser_of(__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="a folder of `ris sample`")
    parser.add_argument("--faces", type=int, default=100, help="in the store at the beginning")
    parser.add_argument("--pause", type=float, default=PAUSE, help="seconds between searches")
    add_json(parser)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = sorted(p for p in options.photos.iterdir() if p.suffix in (".jpg", ".png"))
        listed = folder / "first.txt"
        listed.write_text("\n".join(map(str, first[: options.faces])))
        beside = options.photos / "latents.parquet"
        done = ingest_collection(str(listed), folder / ".ris", Models(), latents=beside)
        build_indices(done.store, DEFAULT_FEATURES)
        result = _searched(done.store, options.photos, options.pause)
    for phase in ("before", "during"):
        print(f"{phase}: " + ", ".join(f"{k} {v}" for k, v in result[phase].items()))
    write_json(result, options.json)
    return result


def _searched(store: Store, photos: Path, pause: float) -> dict[str, Any]:
    ids = [i for batch in store.batches(["id"]) for i in batch.column("id").to_pylist()]
    searcher = Searcher(store)
    for feature in DEFAULT_FEATURES:
        searcher.search(FaceId(ids[0]), {feature: 1.0})
    before = _Phase(searcher, ids)
    for _ in range(BEFORE):
        before.search()
    words = [sys.executable, "-m", "ris", "ingest", str(photos), "--store", str(store.folder)]
    during = _Phase(searcher, ids)
    begin = time.monotonic()
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL) as run:
        while run.poll() is None:
            during.search()
            time.sleep(pause)
    took = time.monotonic() - begin
    if run.returncode:
        raise SystemExit("the ingest failed")
    faces = store.manifest().rows
    return {
        "before": before.summary(),
        "during": {**during.summary(), "ingest_s": round(took, 1), "faces": faces},
    }


class _Phase:
    def __init__(self, searcher: Searcher, ids: list[str]) -> None:
        self._searcher, self._ids = searcher, ids
        self._times: list[float] = []
        self._refused = self._unsearched = 0

    def search(self) -> None:
        n = len(self._times)
        begin = time.perf_counter()
        try:
            found = self._searcher.search(
                FaceId(self._ids[n % len(self._ids)]),
                {DEFAULT_FEATURES[n % len(DEFAULT_FEATURES)]: 1.0},
            )
            self._unsearched = max(self._unsearched, found.unsearched)
        except RisError as e:
            self._refused += 1
            print(e, file=sys.stderr)
        self._times.append(time.perf_counter() - begin)

    def summary(self) -> dict[str, float]:
        """Counts, and milliseconds."""
        ms = 1e3 * np.array(self._times)
        return {
            "searches": len(ms),
            "refused": self._refused,
            "most_unsearched": self._unsearched,
            "p50_ms": round(float(np.percentile(ms, 50)), 1),
            "p99_ms": round(float(np.percentile(ms, 99)), 1),
            "worst_ms": round(float(ms.max()), 1),
        }


if __name__ == "__main__":
    main()
