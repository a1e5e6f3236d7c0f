"""Everything about speed in one run: what `make bench` does.

    python -m benchmarks.bench                                   # on rendered faces, half an hour
    python -m benchmarks.bench --store out/celeba/.ris --photos photos/ --rows 30000 1000000

The parts run one after another in processes of their own and print their tables; the last table
puts what was reached beside what is aimed at. All numbers are written to OUT/bench.json.

Without a store and photos, rendered faces are used, which are kept in the output folder. Real
photos are better: they have other sizes, and some show no face or several.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.arguments import parser_of
from ris.cores import usable_cores
from ris.evaluate.markdown import markdown_table

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("startup", "scores", "ingest_speed", "search")
Results = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """One line of the last table.

    Attributes:
        what: is measured.
        reached: the number; None where this run did not measure it.
        aim: the number aimed at.
        least: whether more is better.
        unit: of both.
    """

    what: str
    reached: float | None
    aim: float
    unit: str
    least: bool = False

    def cells(self) -> list[str]:
        """A row of the table of goals."""
        aim = f"{'at least' if self.least else 'at most'} {self.aim:g} {self.unit}"
        if self.reached is None:
            return [self.what, "not measured", aim, ""]
        holds = self.reached >= self.aim if self.least else self.reached <= self.aim
        return [self.what, f"{self.reached:.3g} {self.unit}", aim, "yes" if holds else "no"]


def machine() -> Results:
    """What everything ran on."""
    import torch

    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    """The processor's name and its widest vector instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(tuple(map(str.strip, line.split(":", 1))) for line in lines if ":" in line)
    flags = set(facts.get("flags", "").split())
    widest = next((f for f in ("avx512f", "avx2", "sse4_2") if f in flags), "")
    return f"{facts.get('model name', platform.machine())} {widest}".strip()


def rendered(out: Path, faces: int) -> tuple[Path, Path]:
    """(folder of photos, store with all indices) of the generator's own faces."""
    photos, store = out / "faces", out / ".ris"
    cli = [sys.executable, "-m", "ris"]
    for words in (
        ["sample", str(photos), "--n", str(faces), "--size", "512"],
        ["ingest", str(photos), "--store", str(store)],
        ["index", "--all", "--store", str(store)],
    ):
        subprocess.run([*cli, *words], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (photos / "latents.parquet").rename(out / "latents.parquet")  # photos are to be encoded
    return photos, store


def arguments_of(part: str, options: argparse.Namespace) -> Iterator[list[str]]:
    """The command lines of a part."""
    store = str(options.store)
    if part == "startup":
        yield ["--store", store]
    elif part == "scores":
        yield []
    elif part == "ingest_speed":
        sizes = [str(n) for n in options.memory]
        yield [str(options.photos), *(["--memory", *sizes] if sizes else [])]
    else:
        for rows in options.rows:
            few = ["--kinds", *options.large_kinds] if rows > options.rows[0] else []
            yield ["--store", store, "--rows", str(rows), *few]


def run_part(part: str, arguments: list[str], target: Path) -> Results:
    """A part's numbers; its tables go to standard output."""
    command = [sys.executable, "-m", f"benchmarks.{part}", *arguments, "--json", str(target)]
    print(f"\n## {' '.join(command[1:-2])}\n", flush=True)
    subprocess.run(command, cwd=ROOT, check=True)
    found: Results = json.loads(target.read_text(encoding="utf-8"))
    return found


def goals(results: dict[str, list[Results]]) -> list[Goal]:
    """What was reached beside what is aimed at, on two cores."""

    def first(part: str, read: Callable[[Results], float]) -> float | None:
        for found in results.get(part, ()):
            try:
                return read(found)
            except KeyError:
                continue
        return None

    def cold(command: str) -> float | None:
        return first("startup", lambda r: r["seconds"][command]["wall"])

    lines = [
        Goal("`ris --help`, cold", cold("--help"), 0.3, "s"),
        Goal("query by id, cold", cold("query id"), 1.2, "s"),
        Goal("query by photo, cold", cold("query photo"), 5, "s"),
        Goal("query by photo, warm", cold("warm photo"), 0.6, "s"),
        Goal(
            "photo to row",
            first("ingest_speed", lambda r: r["runs"]["one a core"]["faces_per_second"]),
            4,
            "faces/s",
            least=True,
        ),
        Goal(
            "sigma and scores",
            first("scores", lambda r: r["engines"]["native, 64 px, 2 workers"]["seconds"]),
            0.12,
            "s a face",
        ),
    ]
    for way, what in (("faster", "times faster"), ("leaner", "times leaner")):
        aim = 50 if way == "faster" else 3
        read = first("scores", lambda r, way=way: r["ingest"]["2 workers"][way])  # type: ignore[misc]
        lines.append(Goal("encoder and scores against the plain formula", read, aim, what, True))
    lines.append(
        Goal(
            "StyleGAN2 by our path against the plain formula",
            first("scores", lambda r: r["stylegan2"]["up to 64 px"]["faster"]),
            5,
            "times faster",
            least=True,
        )
    )
    for found in results.get("search", ()):
        for table in found["tables"]:
            lines += _search_goals(table)
    return lines


def _search_goals(table: Results) -> list[Goal]:
    rows, mask = table["rows"], table["mask"]
    chosen = "sketch" if "sketch" in table["kinds"] else next(iter(table["kinds"]))
    found = table["kinds"][chosen]
    large = rows > 300_000
    name = f"{rows:,} faces, {mask} masks, {chosen}"
    wait = 25 if large else 3 if mask == "hard" else 10
    lines = [
        Goal(f"{name}: search, both ends", found["p50_ms"], wait, "ms"),
        Goal(
            f"{name}: recall@10, worse end",
            min(found["nearest"], found["furthest"]),
            0.97 if large else 0.99,
            "",
            least=True,
        ),
    ]
    if large:
        held = (found["anonymous"] + found["mapped"]) / 2**30
        lines += [
            Goal(f"{name}: memory held and touched", held, 6, "GB"),
            Goal(f"{name}: build", found["build_s"] / 60, 30, "minutes"),
            Goal(f"{name}: memory of the build", found["build_anonymous"] / 2**30, 8, "GB"),
        ]
    return lines


def main(arguments: Sequence[str] | None = None) -> Results:
    """Runs the parts, prints the last table; returns all numbers."""
    parser = parser_of(__doc__)
    parser.add_argument("--store", type=Path, help="with indices of all features")
    parser.add_argument("--photos", type=Path, help="folder, list or pattern")
    parser.add_argument("--faces", type=int, default=200, help="rendered where none are given")
    parser.add_argument("--memory", type=int, nargs="*", default=[], help="sizes of collections")
    parser.add_argument("--rows", type=int, nargs="+", default=[30_000], help="to search among")
    parser.add_argument("--large-kinds", nargs="+", default=["exact", "sketch"])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    options = parser.parse_args(arguments)
    options.out = options.out.absolute()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.store is None or options.photos is None:
        photos, store = rendered(options.out, options.faces)
        options.photos, options.store = options.photos or photos, options.store or store
    results: Results = {"machine": machine()}
    print(json.dumps(results["machine"], indent=1))
    measured: dict[str, list[Results]] = {}
    for part in options.only:
        for number, words in enumerate(arguments_of(part, options)):
            target = options.out / f"{part}-{number}.json"
            measured.setdefault(part, []).append(run_part(part, words, target))
    results |= measured
    rows = [goal.cells() for goal in goals(measured)]
    print("\n## Goals\n\n" + markdown_table(["what", "reached", "goal", "holds"], rows))
    (options.out / "bench.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    return results


if __name__ == "__main__":
    main()
