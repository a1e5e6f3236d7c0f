"""How long a command takes from a cold start, and a search once everything is loaded.

    python -m benchmarks.startup --store out/celeba/.ris --photo face.jpg --json startup.json

Every command runs several times in processes of its own; the warm searches run one after another in
one process, through a `ris.query.searcher.Searcher`. Printed are median and best, by the clock and
in CPU seconds. Without a store one is made of rendered faces; the photo is by default the portrait
that ships.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import add_json, parser_of, write_json
from benchmarks.measures.processes import Cost, timed
from examples.demo import PORTRAIT
from ris.cores import usable_cores
from ris.data.models.asset_files import asset_path
from ris.data.models.shipped import load_generator
from ris.data.store import Store
from ris.evaluate.markdown import markdown_table
from ris.index.build import DEFAULT_FEATURES, build_indices
from ris.index.feature import is_indexed
from ris.ingest.loaded_models import Models
from ris.ingest.run import ingest_collection
from ris.ingest.sampling import sample

ROOT = Path(__file__).resolve().parent.parent
WARM = """
import json, sys, time
from ris.memory import keep_freed_memory
keep_freed_memory()
from ris.data.store import Store
from ris.face_names import FaceId
from ris.query.searcher import Searcher

store, photo, face, runs = sys.argv[1:]
searcher = Searcher(Store.open(store))
found = {}
for name, query in (("photo", photo), ("id", FaceId(face))):
    searcher.search(query, {"eyes": 1.0})
    for _ in range(int(runs)):
        wall, cpu = time.perf_counter(), time.process_time()
        searcher.search(query, {"eyes": 1.0})
        spent = time.perf_counter() - wall, time.process_time() - cpu
        found.setdefault(name, []).append(spent)
print(json.dumps(found))
"""


@contextlib.contextmanager
def store_to_search(given: Path | None, faces: int) -> Iterator[Store]:
    """The store that was named, or one of rendered faces; with indices of all features."""
    if given is not None:
        store = Store.open(given)
        missing = [name for name in DEFAULT_FEATURES if not is_indexed(store, name)]
        if missing:
            sys.exit(f"no index of {', '.join(missing)}: run `ris index --all`")
        yield store
        return
    with tempfile.TemporaryDirectory() as folder:
        sample(Path(folder) / "faces", load_generator(), n=faces, size=256)
        done = ingest_collection(str(Path(folder) / "faces"), Path(folder) / ".ris", Models())
        build_indices(done.store, DEFAULT_FEATURES)
        yield done.store


def commands(face: str, photo: Path, folder: Path) -> dict[str, list[str]]:
    """What is timed, by name."""
    eyes = ["--feature", "eyes"]
    return {
        "--help": ["--help"],
        "info": ["info"],
        "query id": ["query", face, *eyes],
        "query id, three features": ["query", face, *eyes, "--feature", "mouth:2,nose"],
        "query id --where": ["query", face, *eyes, "--where", "width > 10"],
        "query id --out": ["query", face, *eyes, "--out", str(folder / "sheet.png")],
        "query photo": ["query", str(photo), *eyes],
        "query photo --out": ["query", str(photo), *eyes, "--out", str(folder / "sheet.png")],
    }


def cold(words: Sequence[str], store: Store, runs: int) -> list[Cost]:
    """What each run of a command costs."""
    words = [*words, *([] if "--help" in words else ["--store", str(store.folder)])]
    return [timed([sys.executable, "-m", "ris", *words], cwd=ROOT)[0] for _ in range(runs)]


def warm(store: Store, photo: Path, face: str, runs: int) -> dict[str, list[Cost]]:
    """What further searches cost a program that has searched before."""
    words = [str(store.folder), str(photo), face, str(runs)]
    done = subprocess.run(
        [sys.executable, "-c", WARM, *words], cwd=ROOT, check=True, capture_output=True
    )
    return {
        f"warm {name}": [Cost(*cost) for cost in costs]
        for name, costs in json.loads(done.stdout).items()
    }


def summary(costs: Sequence[Cost]) -> dict[str, float]:
    """Median and best, by the clock and of the processor, in seconds."""
    wall, cpu = [c.wall for c in costs], [c.cpu for c in costs]
    return {
        "wall": round(float(np.median(wall)), 3),
        "wall_best": round(min(wall), 3),
        "cpu": round(float(np.median(cpu)), 3),
        "cpu_best": round(min(cpu), 3),
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Prints a Markdown table; returns seconds by command."""
    parser = parser_of(__doc__)
    parser.add_argument("--store", type=Path, help="with indices of all features")
    parser.add_argument("--photo", type=Path, default=asset_path(PORTRAIT), help="a new photo")
    parser.add_argument("--faces", type=int, default=60, help="of a store that is made")
    parser.add_argument("--runs", type=int, default=5, help="of every command")
    add_json(parser)
    options = parser.parse_args(arguments)
    found: dict[str, dict[str, float]] = {}
    with (
        store_to_search(options.store, options.faces) as store,
        tempfile.TemporaryDirectory() as folder,
    ):
        face = str(next(store.batches(["id"])).column("id")[0])
        for name, words in commands(face, options.photo, Path(folder)).items():
            found[name] = summary(cold(words, store, options.runs))
        for name, costs in warm(store, options.photo, face, 2 * options.runs).items():
            found[name] = summary(costs)
        facts = {"faces": store.manifest().rows, "runs": options.runs, "cores": usable_cores()}
    rows = [[name, *(f"{value:.2f}" for value in s.values())] for name, s in found.items()]
    print(markdown_table(["command", "s, median", "best", "CPU s, median", "best"], rows))
    result = {**facts, "seconds": found}
    write_json(result, options.json)
    return result


if __name__ == "__main__":
    main()
