"""The rooms of the project: what may import what, and what start-up may cost."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

ROOMS = {
    "ris": set(),
    "data": {"ris"},
    "ingest": {"ris", "data"},
    "index": {"ris", "data"},
    "query": {"ris", "data", "ingest", "index"},
    "edit": {"ris", "data", "ingest", "index", "query"},
    "evaluate": {"ris", "data", "ingest", "index", "query", "edit"},
    "door": {"ris", "data", "ingest", "index", "query", "edit", "evaluate"},
    "commands": {"ris"},
}
"""The rooms of the package `ris`, and the rooms that each may import."""
INSIDE = {"door"}
"""Rooms that stand in `ris/` itself, without a link."""
FOR_COMMANDS = {"ris", "ris.choices", "ris.errors", "ris.memory", "ris.notices", "ris.places"}
"""What a command may import beside the other commands: the door, and what loads nothing."""
OUTSIDE = ("train", "examples", "benchmarks", "tests")
"""What uses the package and is no part of it."""
METHOD = {"torch", "numpy"}
"""Third-party packages that the method itself may use."""
KEPT = {"native.py": {"ninja"}, "cache.py": {"platformdirs"}}
"""What its native kernels are built and kept with."""
DOOR = {"__init__.py", "__main__.py"}
"""Modules of `ris/` that lead to every room."""


def room_of(module: str) -> str:
    """`ris.data.store` -> "data"; what is no room's is of the room `ris`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in {*ROOMS, "cli"} else "ris"


def imported(path: Path) -> Iterator[str]:
    """Names that a module imports, dotted: `from ris.data import shards` -> ris.data.shards."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def modules(room: str) -> list[Path]:
    found = (ROOT / "ris" / room if room in INSIDE else ROOT / room).rglob("*.py")
    return sorted(p for p in found if room != "ris" or not in_another_room(p))


def in_another_room(path: Path) -> bool:
    """Is it a room's module, in `ris/` or seen through the link there?"""
    first = path.relative_to(ROOT / "ris").parts[0]
    return first in INSIDE or (ROOT / "ris" / first).is_symlink()


def dotted(path: Path) -> str:
    """The name by which a module is imported."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts if parts[0] in {"ris", *OUTSIDE} else ["ris", *parts])


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_between_rooms(room):
    for path in modules(room):
        if room == "ris" and path.parent == ROOT / "ris" and path.name in DOOR:
            continue
        rooms = {room_of(name) for name in imported(path) if name.split(".")[0] == "ris"}
        assert rooms <= ROOMS[room] | {room}, path
        assert not roots(path) & set(OUTSIDE), path


@pytest.mark.parametrize("room", [*ROOMS, *OUTSIDE])
def test_no_room_is_imported_by_its_bare_name(room):
    for path in modules(room):
        assert not roots(path) & ({*ROOMS, "cli"} - {"ris"}), path


def test_a_link_in_the_package_leads_to_every_room():
    links = {p.name: os.readlink(p) for p in (ROOT / "ris").iterdir() if p.is_symlink()}
    rooms = [*(r for r in ROOMS if r not in INSIDE), "cli.py"]
    assert links == {name: f"../{name}" for name in rooms if name != "ris"}


def test_the_method_needs_torch_and_numpy_only():
    for path in modules("ris"):
        own = METHOD | KEPT.get(path.name, set())
        foreign = roots(path) - set(sys.stdlib_module_names) - own - {"ris"}
        assert not foreign, path


def test_commands_call_the_door_and_nothing_else():
    import ris

    for path in modules("commands"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                used = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                used = [node.module]
                if node.module == "ris":
                    names = {alias.name for alias in node.names}
                    assert names <= {*ris.__all__, "notices"}, path
            else:
                continue
            ours = {name for name in used if name.split(".")[0] == "ris"}
            ours = {name for name in ours if not name.startswith("ris.commands.")}
            assert ours <= FOR_COMMANDS, path


def test_nothing_in_the_package_but_commands_uses_the_door():
    for room in set(ROOMS) - {"door", "commands"}:
        for path in modules(room):
            if path.parent != ROOT / "ris" or path.name not in DOOR:
                assert not [n for n in imported(path) if n.startswith("ris.door")], path


def test_the_entry_point_only_joins_commands():
    used = {room_of(name) for name in imported(ROOT / "cli.py") if name.startswith("ris.")}
    assert used == {"commands"}


def test_no_module_name_stands_twice():
    names = Counter(
        path.stem
        for room in [*ROOMS, "train", "examples", "benchmarks"]
        for path in modules(room)
        if path.stem not in ("__init__", "__main__")
    )
    assert not [name for name, count in names.items() if count > 1]


def test_no_circle_of_imports():
    paths = [path for room in [*ROOMS, "train", "benchmarks"] for path in modules(room)]
    known = {dotted(path): path for path in paths}
    arrows: dict[str, set[str]] = {}
    for name, path in known.items():
        used = (n if n in known else n.rpartition(".")[0] for n in imported(path))
        arrows[name] = {n for n in used if n in known and n not in (name, "ris")}
    while leaves := {name for name, targets in arrows.items() if not targets & set(arrows)}:
        arrows = {name: targets for name, targets in arrows.items() if name not in leaves}
    assert not sorted(arrows)


def test_no_index_is_asked_for_its_class():
    """Kinds of indices differ by their methods, and one table knows them all."""
    from ris.index import KINDS

    classes = {base.__name__ for kind in KINDS.values() for base in kind.__mro__} - {
        "object",
        "ABC",
    }
    assert {"Kind", "Exact", "Sketch", "Ivf", "Hnsw"} <= classes
    for path in (path for room in [*ROOMS, *OUTSIDE] for path in modules(room)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, asked]):
                    names = {n.id for n in ast.walk(asked) if isinstance(n, ast.Name)}
                    assert not names & classes, f"{path}:{node.lineno}"


def test_imported_packages_are_the_repositorys_own():
    for room in [*ROOMS, "cli"]:
        name = "ris" if room == "ris" else f"ris.{room}"
        found = __import__(name, fromlist=["__file__"]).__file__
        assert found is not None
        assert Path(found).is_relative_to(ROOT)


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['ris', '--help']; from ris import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    loaded = set(ast.literal_eval(done.stderr.splitlines()[-1]))
    assert "query" in done.stdout
    heavy = {"torch", "numpy", "pyarrow", "duckdb", "faiss", "PIL", "rich", "safetensors"}
    assert not heavy & loaded
