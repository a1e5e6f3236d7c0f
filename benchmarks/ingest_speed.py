"""Where the time of an ingest goes, how fast it is, and how much memory it takes.

    python -m benchmarks.ingest_speed photos/ --count 60
    python -m benchmarks.ingest_speed photos/ --count 0 --memory 500 2500 --json ingest.json

First the CPU time of a face by stage, on one thread; then `ris ingest` of the same photos in
processes of their own, with one thread and with one a core: faces a second from file to row without
the start-up, seconds with it. With --memory also the peak memory of two sizes of collection.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.arguments import add_json, parser_of, write_json
from benchmarks.measures.processes import timed
from ris.cores import usable_cores
from ris.data.shards import FaceRow
from ris.data.store import Store
from ris.errors import ImageError
from ris.evaluate.markdown import markdown_table
from ris.ingest.alignment.cut import Aligner
from ris.ingest.alignment.face_square import Pixels
from ris.ingest.alignment.finder import Face, FaceFinder
from ris.ingest.loaded_models import Models
from ris.ingest.pictures.decode import decode, hash_photo
from ris.ingest.pipeline import AHEAD
from ris.ingest.reading import RowReader, Task
from ris.ingest.sources.sources import find_photos
from ris.ingest.threads import one_thread
from ris.memory import keep_freed_memory
from ris.once import once

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
WARM_UP = 2


class Clock:
    """CPU seconds of this process by stage."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def time(self, stage: str, work: Callable[[], T]) -> T:
        """What `work` gives; its time is added to the stage's."""
        begin = time.process_time()
        try:
            return work()
        finally:
            self.spent[stage] = self.spent.get(stage, 0.0) + time.process_time() - begin


class TimedFinder(FaceFinder):
    """A face finder whose time is kept apart from the cutting's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def look(self, photo: Pixels, *, largest: bool = False) -> tuple[list[Face], bool]:
        """See `FaceFinder.look`."""
        return self._clock.time(
            "find", lambda: super(TimedFinder, self).look(photo, largest=largest)
        )


@dataclass(frozen=True)
class TimedAligner(Aligner):
    """An aligner with such a finder."""

    clock: Clock = field(default_factory=Clock)

    @once
    def finder(self) -> FaceFinder:
        """The finder behind it."""
        return TimedFinder(self.clock)


class Timed:
    """An object one of whose methods is timed."""

    def __init__(self, behind: Any, method: str, stage: str, clock: Clock) -> None:
        self._behind = behind
        work = getattr(behind, method)
        setattr(self, method, lambda *a, **k: clock.time(stage, lambda: work(*a, **k)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


def stages(photos: Sequence[Path]) -> dict[str, float]:
    """CPU milliseconds of a face by stage, on one thread."""
    models, clock = Models(), Clock()
    embedder = Timed(models.embedder, "embed_all", "activations and scores", clock)
    inverter = Timed(models.inverter, "invert", "encode", clock)
    vars(models).update(embedder=embedder, inverter=inverter, aligner=TimedAligner(clock=clock))
    reader = RowReader(models)
    faces = 0
    rows: list[FaceRow] = []
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        store = Store.create(Path(folder) / ".ris", embedder.settings())
        for number, path in enumerate(photos):
            if number == WARM_UP:
                clock.spent.clear()
                faces = 0
            file = clock.time("hash", lambda path=path: hash_photo(path))
            task = Task(file, str(path), None, [])
            try:
                clock.time("decode", lambda path=path: decode(path))
                cut = clock.time("cut", lambda task=task: reader.cut(task))
            except ImageError:
                continue
            (found,) = clock.time("row", lambda cut=cut: reader.rows([cut]))
            assert not isinstance(found, ImageError)
            rows += found
            faces += len(found)
            if len(rows) >= AHEAD or number == len(photos) - 1:
                clock.time("write", partial(store.append, rows))
                rows.clear()
    spent = {stage: 1e3 * seconds / faces for stage, seconds in clock.spent.items()}
    spent["cut"] -= spent["find"] + spent["decode"]  # the reader decodes once more
    spent["row"] -= spent["encode"] + spent["activations and scores"]
    return {stage: round(ms, 2) for stage, ms in spent.items()}


def run(photos: Sequence[Path], threads: int | None) -> dict[str, float]:
    """`ris ingest` of some photos in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "photos.txt"
        listed.write_text("\n".join(str(p.absolute()) for p in photos) + "\n", encoding="utf-8")
        words = ["ingest", str(listed), "--store", f"{folder}/.ris", "--json"]
        environment = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        cost, printed = timed([sys.executable, "-m", "ris", *words], cwd=ROOT, **environment)
    report = json.loads(printed)
    faces = report["ingested"]
    return {
        "faces": faces,
        "failed": report["failed"],
        "faces_per_second": round(faces / report["seconds"], 2),
        "seconds": round(cost.wall, 2),
        "cpu_seconds": round(cost.cpu, 2),
        "cpu_ms_a_face": round(1e3 * cost.cpu / max(faces, 1), 1),
        "peak_mb": round(cost.peak),
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Prints Markdown tables; returns what they say."""
    parser = parser_of(__doc__)
    parser.add_argument("photos", help="folder, list or pattern")
    parser.add_argument("--count", type=int, default=60, help="photos that are timed; 0 for none")
    parser.add_argument("--memory", type=int, nargs="*", default=[], help="sizes of collections")
    add_json(parser)
    options = parser.parse_args(arguments)
    keep_freed_memory()
    result: dict[str, Any] = {"cores": usable_cores()}
    photos = list(islice(find_photos(options.photos), max([options.count, *options.memory])))
    if options.count:
        timed_ones = photos[: options.count]
        result["stages"] = stages(timed_ones)
        rows = [(stage, f"{spent:.1f}") for stage, spent in result["stages"].items()]
        print(markdown_table(["stage", "CPU ms a face"], rows))
        ways = {"one thread": 1, "one a core": result["cores"]}
        result["runs"] = {name: run(timed_ones, threads) for name, threads in ways.items()}
        _print_runs(result["runs"])
    if options.memory:
        sizes = {f"{size} photos": run(photos[:size], None) for size in options.memory}
        result["memory"] = sizes
        _print_runs(sizes)
    write_json(result, options.json)
    return result


def _print_runs(runs: dict[str, dict[str, float]]) -> None:
    rows = [[name, *(f"{v:g}" for v in values.values())] for name, values in runs.items()]
    print("\n" + markdown_table(["ris ingest", *next(iter(runs.values()))], rows))


if __name__ == "__main__":
    main()
