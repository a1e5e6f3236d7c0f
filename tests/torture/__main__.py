"""``python -m tests.torture --minutes 60 --seed 1 --json out/torture.json``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Runs the suite; exit status 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path, help="file for counts and findings")
    parser.add_argument("--out", type=Path, default=Path("out/torture"))
    parser.add_argument("--folder", type=Path, help="where stores are made and broken")
    parser.add_argument("--only", help="sections, as faults,limits")
    parser.add_argument("--repeat", metavar="ID", help="one finding again")
    parser.add_argument("--table", type=Path, metavar="JSON", help="print the table of a run")
    options = parser.parse_args()
    if options.table:
        from tests.torture.report import table

        print(table(json.loads(options.table.read_text())))
        return 0
    _preload()
    from tests.torture.suite import repeat, run

    begin = time.monotonic()
    if options.repeat:
        return repeat(options)
    report = run(options)
    report["seconds"] = round(time.monotonic() - begin)
    from tests.torture.report import summary, table

    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))
    print(summary(report), flush=True)
    # without the interpreter's tidying up, which would look at every frozen object
    os._exit(1 if report["findings"] else 0)


def _preload() -> None:
    """Starts this program again with the shim that makes faults, and one thread a library."""
    from tests.torture.faults import compile_shim, shim

    if os.environ.get("RIS_TORTURE") == "1":
        if shim() is None:
            print("torture: the shim is not loaded: faults of files are left out", file=sys.stderr)
        return
    library = compile_shim()
    if library is None:
        print("torture: no C compiler: faults of files are left out", file=sys.stderr)
    ones = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {
        **os.environ,
        **dict.fromkeys(ones, "1"),
        "MALLOC_ARENA_MAX": "1",  # each takes 64 MB of the address space that is limited
        "PYTHONPATH": path,
        "RIS_TORTURE": "1",
        **({"LD_PRELOAD": str(library)} if library else {}),
    }
    words = [sys.executable, "-m", "tests.torture", *sys.argv[1:]]
    os.execve(sys.executable, words, environment)


if __name__ == "__main__":
    sys.exit(main())
