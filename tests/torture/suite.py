"""All sections in as many workers as there are cores, each for its share of the time."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

from tests.torture import stores
from tests.torture.children import Children
from tests.torture.faults import Bench, Faults, shim
from tests.torture.findings import Tally
from tests.torture.mutations import Mutations, prepare
from tests.torture.operations import OPERATIONS, Workplace, make_template

SHARES = {"faults": 0.55, "mutations": 0.22, "pickles": 0.03, "crowds": 0.08, "limits": 0.12}
"""Of the time."""


class Section(Protocol):
    """A part of the suite; `step` is one trial, or some, which seed and number give alone."""

    section: str

    def step(self, number: int) -> None: ...


def _fast_folder(given: Path | None) -> Path:
    """Where files are made: in memory where there is room, since everything is synced."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        return given
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    return memory if roomy and os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def _sections(folder: Path, tally: Tally, seed: int) -> dict[str, Section]:
    from tests.torture.crowds import Crowds
    from tests.torture.limits import Limits
    from tests.torture.pickles import Pickles

    children = Children(folder)
    place = Workplace(folder)
    bench = Bench(place, children)
    found: dict[str, Section] = {
        "mutations": Mutations(folder / "mutations", children, tally, seed),
        "pickles": Pickles(folder / "pickles", children, tally, seed),
        "crowds": Crowds(folder / "crowds", place, children, tally, seed),
        "limits": Limits(bench, tally, seed),
    }
    if shim() is not None:
        found["faults"] = Faults(bench, tally, seed)
    return found


def _make_templates(folder: Path) -> None:
    """In a child, so that the parent stays without threads."""
    place, children = Workplace(folder), Children(folder, 300.0)
    for name in sorted({operation.template for operation in OPERATIONS}):
        outcome = children.run(lambda n=name: make_template(place.template(n), n))
        if outcome.status != "ok":
            raise AssertionError(f"template {name}: {outcome}")
    prepare(folder / "mutations", children)


def warm() -> None:
    """Everything that a child would have to import or build."""
    import duckdb  # noqa: F401
    import pydantic  # noqa: F401

    import ris.commands.ingest_command
    import ris.commands.search_commands
    import ris.commands.store_commands
    import ris.index  # noqa: F401
    from ris import cli  # noqa: F401
    from ris.data.models import (
        torch_files,  # noqa: F401
    )
    from ris.ops.native import library
    from tests.torture import targets  # noqa: F401

    with contextlib.suppress(ImportError):
        import faiss  # noqa: F401
    library()
    stores.quiet_arrow()
    gc.collect()
    gc.freeze()


def _worker(number: int, count: int, folder: Path, options: argparse.Namespace, end: float) -> None:
    tally = Tally(options.out / "findings.jsonl")
    mine = folder / f"worker{number}"
    mine.mkdir()
    for name in ("templates", "mutations"):
        shutil.copytree(folder / name, mine / name)
    sections = _sections(mine, tally, options.seed)
    if options.only:
        sections = {name: sections[name] for name in options.only.split(",")}
    spent = dict.fromkeys(sections, 0.0)
    steps: Counter[str] = Counter()
    while time.monotonic() < end:
        name = min(spent, key=lambda n: spent[n] / SHARES[n])
        begin = time.monotonic()
        sections[name].step(steps[name] * count + number)
        steps[name] += 1
        spent[name] += time.monotonic() - begin
    (folder / f"worker{number}.json").write_text(json.dumps(tally.to_json()))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The whole suite."""
    end = time.monotonic() + 60 * options.minutes
    folder = Path(tempfile.mkdtemp(prefix="ris-torture-", dir=_fast_folder(options.folder)))
    options.out = options.out.absolute()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "findings.jsonl").unlink(missing_ok=True)
    try:
        warm()
        _make_templates(folder)
        workers = []
        for number in range(options.workers):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    _worker(number, options.workers, folder, options, end)
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            workers.append(pid)
        states = [os.waitpid(pid, 0)[1] for pid in workers]
        if any(states):
            raise SystemExit(f"torture: a worker of the suite itself failed: {states}")
        parts = [json.loads(path.read_text()) for path in sorted(folder.glob("worker*.json"))]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        sys.stderr.flush()
    return {
        "seed": options.seed,
        "minutes": options.minutes,
        "workers": options.workers,
        "done": dict(sum((Counter(p["done"]) for p in parts), Counter())),
        "results": dict(sum((Counter(p["results"]) for p in parts), Counter())),
        "findings": [finding for p in parts for finding in p["findings"]],
    }


def repeat(options: argparse.Namespace) -> int:
    """One step again; prints what it finds."""
    section, seed, number, *_ = options.repeat.split(":")
    folder = Path(tempfile.mkdtemp(prefix="ris-torture-", dir=_fast_folder(options.folder)))
    try:
        warm()
        _make_templates(folder)
        tally = Tally(folder / "findings.jsonl")
        _sections(folder, tally, int(seed))[section].step(int(number))
        for finding in tally.findings:
            print(f"{finding.id}: {finding.wrong}: {finding.what}\n{finding.trace}")
        print(dict(tally.results))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if tally.findings else 0
