"""Every index kind side by side: recall at both ends, latency, memory, size, build.

    python -m benchmarks.index_kinds --store out/celeba/.ris --rows 30000 --masks soft hard
    python -m benchmarks.index_kinds --store out/celeba/.ris --rows 1000000 --masks soft \\
        --kinds exact sketch --folder /a/disk/with/room

Rows are made by `benchmarks.collections_at_scale`. Half of the queries are made in the same way
from another seed, half are faces of the stores: none is a row. Recall counts a row that scores
like the true k-th (within `ris.index.approximate.TIE`) as found; the truth is an exact scan of the
float16 vectors. Every build and every measurement of a kind is a process of its own, so that its
memory is its own: anonymous memory is what it holds, mapped memory what it has touched of the
files, which the system may drop.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks.collections_at_scale import Population
from ris.data.store import Store
from ris.index import KINDS
from ris.index.approximate import TIE, candidates
from ris.index.directory import open_index
from ris.index.exact import Exact
from ris.index.kind import Efforts
from ris.index.meta import IndexMeta
from ris.index.sketch import Sketch
from ris.index.vectors import StoredVectors
from ris.index.writing import IndexWriter
from ris.ops.scan import cores

T = TypeVar("T")
WARM = 20
STAGE = "stage"


def made_rows(population: Population, folder: Path, rows: int) -> dict[str, float]:
    """Writes new faces as an exact index, which the other kinds are built from."""
    making = 0.0
    begin = time.monotonic()
    with IndexWriter(folder, population.dims) as writer:
        blocks = population.blocks(rows, seed=1)
        while True:
            before = time.monotonic()
            block = next(blocks, None)
            making += time.monotonic() - before
            if block is None:
                break
            names = [f"{writer.rows + i:016x}" for i in range(len(block))]
            writer.append(block, names)
        meta = writer.finish("exact", {})
    took = time.monotonic() - begin - making
    return {"making_s": making, "writing_s": took, "bytes": meta.bytes}


def build(stage: Path, folder: Path, kind: str) -> dict[str, Any]:
    """Builds one kind over the stage's vectors, as `ris index` does from the store's."""
    opened = open_index(stage)
    with _PeakOfAnonymous() as peak:
        begin = time.monotonic()
        with IndexWriter(folder, opened.index.vectors.dims) as writer:
            for start, block in opened.index.vectors.blocks():
                assert opened.ids is not None
                writer.append(block, [n.decode() for n in opened.ids[start : start + len(block)]])
            meta = writer.finish(kind, {})
        took = time.monotonic() - begin
    mapped = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"build_s": took, "build_anonymous": peak.bytes, "build_rss": mapped, **_sizes(meta)}


def measure(folder: Path, queries: np.ndarray, k: int, threads: int) -> dict[str, Any]:
    """Latencies, results and memory of one index in a fresh process."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    before = _memory()
    begin = time.monotonic()
    index = open_index(folder).index
    opening = time.monotonic() - begin
    for query in queries[:WARM]:
        index.search(query[None], k)
    times, ends = [], []
    busy = time.process_time()
    for query in queries:
        begin = time.perf_counter()
        found = index.search(query[None], k)
        times.append(time.perf_counter() - begin)
        ends.append([hits.scores[0] for hits in found])
    after = _memory()
    return {
        "open_ms": opening * 1e3,
        "p50_ms": float(np.percentile(times, 50)) * 1e3,
        "p99_ms": float(np.percentile(times, 99)) * 1e3,
        "best_ms": min(times) * 1e3,
        "cpu_ms": (time.process_time() - busy) / len(queries) * 1e3,
        "anonymous": after["RssAnon"] - before["RssAnon"],
        "mapped": after["RssFile"] - before["RssFile"],
        "scores": np.array(ends),  # [Q, 2, k]
    }


def truth(stage: Path, queries: np.ndarray, k: int) -> np.ndarray:
    """(Q, 2) float32 scores of the true k-th rows at both ends."""
    ends = Exact(open_index(stage).index.vectors).search(queries, k)
    return np.stack([ends.nearest.scores[:, -1], ends.furthest.scores[:, -1]], axis=1)


def read_bytes(meta: dict[str, Any], k: int, row_bytes: float) -> float | None:
    """What one search reads from memory; None where it depends on the query."""
    rows, dims = meta["rows"], meta["dims"]
    if meta["kind"] == "exact":
        return rows * row_bytes
    if meta["kind"] == "sketch":
        efforts = Efforts.from_json(meta["efforts"])
        counts = [candidates(k, e.factor) for e in (efforts.nearest, efforts.furthest)]
        return rows * Sketch.width(rows, dims) + sum(counts) * row_bytes
    return None


def bandwidth(threads: int) -> float:
    """Bytes a second that so many threads together read from memory."""
    values = np.ones(64 << 20, np.int64)
    parts = np.array_split(values, threads)
    best = 0.0
    with ThreadPoolExecutor(len(parts)) as pool:
        for _ in range(5):
            begin = time.perf_counter()
            list(pool.map(np.sum, parts))
            best = max(best, values.nbytes / (time.perf_counter() - begin))
    return best


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Prints one table for every feature and mask; returns their numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, nargs="+", required=True)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--features", nargs="+", default=["eyes"])
    parser.add_argument("--masks", nargs="+", default=["soft", "hard"])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--threads", type=int, default=cores(), help="of one search")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary one by default")
    parser.add_argument("--json", type=Path, help="writes the numbers to this file")
    options = parser.parse_args(arguments)
    stores = [Store.open(path) for path in options.store]
    limit = bandwidth(options.threads)
    results: dict[str, Any] = {"bandwidth": limit, "threads": options.threads, "tables": []}
    for feature in options.features:
        for mask in options.masks:
            with tempfile.TemporaryDirectory(dir=options.folder) as work:
                table = _table(Path(work), stores, feature, mask, options, limit)
            results["tables"].append(table)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def _table(
    work: Path,
    stores: list[Store],
    feature: str,
    mask: str,
    options: argparse.Namespace,
    limit: float,
) -> dict[str, Any]:
    population = Population(stores, feature, mask)
    made = made_rows(population, work / STAGE, options.rows)
    print("made in {making_s:.0f} s, written in {writing_s:.0f} s".format(**made), flush=True)
    half = options.queries // 2
    faces = population.real()
    chosen = np.random.default_rng(2).choice(len(faces), min(half, len(faces)), replace=False)
    fresh = np.concatenate(list(population.blocks(options.queries - len(chosen), seed=3)))
    queries = np.concatenate((fresh, faces[chosen]))
    del population, faces
    stored = open_index(work / STAGE).index.vectors
    kth = _apart(truth, work / STAGE, queries, options.k)
    print(
        f"\n{feature}, {mask} masks: {options.rows:,} rows x {stored.dims} channels, "
        f"{stored.row_bytes:.0f} bytes a row; k {options.k}, {len(queries)} queries, "
        f"{options.threads} threads, memory {limit / 1e9:.1f} GB/s\n"
        "| kind | recall nearest | furthest | p50 ms | p99 | cpu | of bandwidth "
        "| held B/face | touched | disk | build s | peak held MB |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    table: dict[str, Any] = {
        "feature": feature,
        "mask": mask,
        "rows": options.rows,
        "dims": stored.dims,
        "made": made,
        "kinds": {},
    }
    for kind in options.kinds:
        table["kinds"][kind] = _row(
            work, kind, queries, kth, stored, options.k, limit, options.threads
        )
    return table


def _row(
    work: Path,
    kind: str,
    queries: np.ndarray,
    kth: np.ndarray,
    stored: StoredVectors,
    k: int,
    limit: float,
    threads: int,
) -> dict[str, Any]:
    built = _apart(build, work / STAGE, work / kind, kind)
    got = _apart(measure, work / kind, queries, k, threads)
    scores = got.pop("scores")
    meta = built.pop("meta")
    shutil.rmtree(work / kind)
    nearest = float((scores[:, 0] >= kth[:, :1] - TIE).mean())
    furthest = float((scores[:, 1] <= kth[:, 1:] + TIE).mean())
    read = read_bytes(meta, k, stored.row_bytes)
    share = None if read is None else read / (got["p50_ms"] / 1e3) / limit
    row = {"nearest": nearest, "furthest": furthest, "of_bandwidth": share, **got, **built}
    print(
        f"| {kind} | {nearest:.4f} | {furthest:.4f} | {got['p50_ms']:.2f} | {got['p99_ms']:.2f} "
        f"| {got['cpu_ms']:.2f} | {'' if share is None else f'{share:.2f}'} "
        f"| {got['anonymous'] / stored.rows:.0f} | {got['mapped'] / stored.rows:.0f} "
        f"| {built['disk'] / stored.rows:.0f} | {built['build_s']:.0f} "
        f"| {built['build_anonymous'] / 2**20:.0f} |",
        flush=True,
    )
    return row


def _sizes(meta: IndexMeta) -> dict[str, Any]:
    kept = {name: getattr(meta, name) for name in ("kind", "rows", "dims", "efforts")}
    return {"disk": meta.bytes, "recall_reported": asdict(meta.recall), "meta": kept}


def _apart(work: Callable[..., T], *arguments: object) -> T:
    """What `work` returns, run in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *arguments).result()


def _memory() -> dict[str, int]:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    fields = (line.split() for line in lines if line.startswith(("RssAnon", "RssFile")))
    return {name.rstrip(":"): int(value) * 1024 for name, value, _ in fields}


class _PeakOfAnonymous:
    """Samples the process's anonymous memory while the block runs."""

    def __init__(self) -> None:
        self.bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _PeakOfAnonymous:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.bytes = max(self.bytes, _memory()["RssAnon"])


if __name__ == "__main__":
    main()
