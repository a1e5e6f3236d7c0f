"""How large the rooms are, and how many doors a photo passes on its way.

    python benchmarks/house_counts.py [CHECKOUT] [--names]

Prints modules and lines of every room, and then, for one photo through ``ris ingest``, a photo and
an id through ``ris query`` and two photos through ``ris transfer``: the modules that were entered
and the names, functions and methods, that one module called in another; and of these the ones that
were given the photo or the id (its path, or something that holds it, in an argument), which are
the doors that it passes. A name counts once, however often it is called.

The commands run in processes of their own with a profiler set, on faces that they render first; so
the program needs nothing of the checkout that it counts but its command, and gives the same for
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

import pyarrow.parquet as pq
from PIL import Image

OUTSIDE = {"benchmarks", "tests", "docs", "train", "examples", "out", "build"}
TRACED = """
import json, os, sys, threading
root, target = os.path.realpath(sys.argv.pop(1)) + os.sep, sys.argv.pop(1)
sys.path.insert(0, root)
try:
    from ris.cli import main
except ImportError:
    from cli import main
places, names, given = {}, set(), set()
needles = set(os.environ["NEEDLES"].split(os.pathsep)) - {""}
def carries(value, depth=2):
    if isinstance(value, (str, os.PathLike)):
        text = str(value)
        return len(text) < 4096 and os.path.basename(text) in needles
    if depth and isinstance(value, (tuple, list)):
        return any(carries(v, depth - 1) for v in value[:8])
    if depth and isinstance(value, dict):
        return any(carries(v, depth - 1) for v in list(value.values())[:16])
    fields = getattr(type(value), "__dataclass_fields__", None)
    if depth and fields:
        return any(carries(getattr(value, f, None), depth - 1) for f in fields)
    return False
def is_given(frame):
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    return any(carries(frame.f_locals.get(name)) for name in code.co_varnames[:count])
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
        name = (here, getattr(frame.f_code, "co_qualname", frame.f_code.co_name))
        names.add(name)
        if name not in given and is_given(frame):
            given.add(name)
threading.setprofile(look)
sys.setprofile(look)
try:
    main()
except SystemExit as e:
    assert not e.code, e.code
finally:
    sys.setprofile(None)
    with open(target, "w") as f:
        json.dump([sorted(names), sorted(given)], f)
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


Names = list[tuple[str, str]]
"""(module, name) of functions and methods."""


def ways(root: Path) -> dict[str, tuple[Names, Names]]:
    """By the way: all names that it passes, and those that are given what the way is of."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)

        def ris(*words: str, of: tuple[str, ...] = ()) -> tuple[Names, Names]:
            target = folder / "names.json"
            subprocess.run(
                [sys.executable, "-c", TRACED, str(root), str(target), *words],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(root), "NEEDLES": os.pathsep.join(of)},
                stdout=subprocess.DEVNULL,
                check=True,
            )
            every, given = json.loads(target.read_text())
            return [tuple(name) for name in every], [tuple(name) for name in given]

        ris("sample", "faces", "--n", "6", "--size", "256")
        (folder / "new").mkdir()
        for name, seed in (("one.jpg", 0), ("two.jpg", 1), ("new/one.jpg", 2)):
            with Image.open(folder / "faces" / f"seed00000{seed}.jpg") as picture:
                picture.save(folder / name, quality=90)  # photos that no store has seen
        ris("ingest", "faces")
        ris("index", "--all")
        ris("export", "all.parquet")
        face = pq.read_table(folder / "all.parquet", columns=["id"])["id"][0].as_py()
        transfer = ["transfer", "one.jpg", "two.jpg", "--feature", "hair", "--out", "t.png"]
        return {
            "a photo through ingest": ris(
                "ingest", "new", "--store", "other/.ris", of=("one.jpg",)
            ),
            "a photo through query": ris("query", "one.jpg", "--feature", "eyes", of=("one.jpg",)),
            "an id through query": ris("query", face, "--feature", "eyes", of=(face,)),
            "a transfer": ris(*transfer, of=("one.jpg", "two.jpg")),
        }


def main() -> None:
    """Command line of this program."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    print("| room | modules | lines |\n|---|---|---|")
    for room, modules, lines in sizes(root):
        if room not in OUTSIDE:
            print(f"| {room} | {modules} | {lines:,} |")
    print("\n| way | modules | names | modules given it | names given it |\n|---|---|---|---|---|")
    for way, (every, given) in ways(root).items():
        counts = (len({m for m, _ in every}), len(every), len({m for m, _ in given}), len(given))
        print(f"| {way} | " + " | ".join(map(str, counts)) + " |")
        if "--names" in sys.argv:
            print("\n".join(f"    {module}: {name}" for module, name in given))


if __name__ == "__main__":
    main()
