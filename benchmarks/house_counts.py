"""How large the rooms are, and how many doors a photo passes on its way.

    python benchmarks/house_counts.py [CHECKOUT]

Prints modules and lines of every room, and then, for one photo through ``ris ingest``, a photo and
an id through ``ris query`` and two photos through ``ris transfer``: the rooms (folders) and modules
that were entered, and the names, functions and methods that one module called in another. A name
counts once, however often it is called; what a class or module does by itself does not count.

The commands run in processes of their own with a profiler set, on faces that they render first; so
the program needs nothing of the checkout that it counts but its ``cli.py``, and gives the same for
any two of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

OUTSIDE = {"benchmarks", "tests", "docs", "train", "examples", "out", "build"}
TRACED = """
import json, os, sys, threading
root, target = os.path.realpath(sys.argv.pop(1)) + os.sep, sys.argv.pop(1)
sys.path.insert(0, root)
try:
    from ris.cli import main
except ImportError:
    from cli import main
places, names = {}, set()
def place(code):
    if code not in places:
        path = os.path.realpath(code.co_filename)
        ours = path.startswith(root) and os.sep + "." not in path[len(root) - 1:]
        places[code] = path[len(root):] if ours else ""
    return places[code]
def look(frame, event, argument):
    if event != "call":
        return
    here = place(frame.f_code)
    if not here or frame.f_code.co_name.startswith("<"):
        return
    caller = frame.f_back
    while caller is not None and not place(caller.f_code):
        caller = caller.f_back
    if caller is not None and place(caller.f_code) != here:
        names.add((here, getattr(frame.f_code, "co_qualname", frame.f_code.co_name)))
threading.setprofile(look)
sys.setprofile(look)
try:
    main()
except SystemExit as e:
    assert not e.code, e.code
finally:
    sys.setprofile(None)
    with open(target, "w") as f:
        json.dump(sorted(names), f)
"""


def sizes(root: Path) -> list[tuple[str, int, int]]:
    """(room, modules, lines) of a checkout; the rooms are its top-level folders with Python."""
    modules: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=root, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split():
        path = root / name
        if path.is_file() and not path.is_symlink():
            room = Path(name).parts[0]
            modules[room] += 1
            lines[room] += path.read_text(encoding="utf-8").count("\n")
    return [(room, modules[room], lines[room]) for room in sorted(modules)]


def ways(root: Path) -> dict[str, list[tuple[str, str]]]:
    """(module, name) that each way passes, by the way."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)

        def ris(*words: str) -> list[tuple[str, str]]:
            target = folder / "names.json"
            subprocess.run(
                [sys.executable, "-c", TRACED, str(root), str(target), *words],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(root)},
                stdout=subprocess.DEVNULL,
                check=True,
            )
            return [(module, name) for module, name in json.loads(target.read_text())]

        ris("sample", "faces", "--n", "6", "--size", "256")
        photo = folder / "faces" / "seed000000.jpg"
        one, two = folder / "one.jpg", folder / "two.jpg"
        one.write_bytes(photo.read_bytes())
        two.write_bytes((folder / "faces" / "seed000001.jpg").read_bytes())
        ris("ingest", "faces")
        ris("index", "--all")
        ris("export", "all.parquet")
        import pyarrow.parquet as pq

        face = pq.read_table(folder / "all.parquet", columns=["id"])["id"][0].as_py()
        (folder / "new").mkdir()
        (folder / "new" / "one.jpg").write_bytes(one.read_bytes())
        return {
            "a photo through ingest": ris("ingest", "new", "--store", "other/.ris"),
            "a photo through query": ris("query", "one.jpg", "--feature", "eyes"),
            "an id through query": ris("query", face, "--feature", "eyes"),
            "a transfer": ris(
                "transfer", "one.jpg", "two.jpg", "--feature", "hair", "--out", "t.png"
            ),
        }


def main() -> None:
    """Command line of this program."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    print("| room | modules | lines |\n|---|---|---|")
    for room, modules, lines in sizes(root):
        if room not in OUTSIDE:
            print(f"| {room} | {modules} | {lines:,} |")
    print("\n| way | rooms | modules | names |\n|---|---|---|---|")
    for way, names in ways(root).items():
        passed = {module for module, _ in names}
        rooms = {str(Path(module).parent) for module in passed}
        print(f"| {way} | {len(rooms)} | {len(passed)} | {len(names)} |")


if __name__ == "__main__":
    main()
