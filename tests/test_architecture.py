"""The rooms of the project: what may import what, and what start-up may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
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
    "commands": {"ris", "data", "ingest", "index", "query", "edit", "evaluate"},
}
METHOD = {"torch", "numpy"}
"""Third-party packages that the method itself may use."""
KEPT = {"native.py": {"ninja"}, "cache.py": {"platformdirs"}}
"""What its native kernels are built and kept with."""


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.add((node.module or "").split(".")[0])
    return found


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_between_rooms(room):
    for path in modules(room):
        rooms = imports(path) & (set(ROOMS) | {"cli", "tests", "benchmarks"})
        assert rooms <= ROOMS[room] | {room}, path


def test_the_method_needs_torch_and_numpy_only():
    for path in modules("ris"):
        own = METHOD | KEPT.get(path.name, set())
        foreign = imports(path) - set(sys.stdlib_module_names) - own - {"ris"}
        assert not foreign, path


def test_the_entry_point_only_joins_commands():
    assert imports(ROOT / "cli.py") & set(ROOMS) == {"commands"}


@pytest.mark.parametrize("room", [*ROOMS, "cli"])
def test_imported_packages_are_the_repositorys_own(room):
    found = __import__(room).__file__
    assert found is not None
    assert Path(found).is_relative_to(ROOT)


def test_every_package_is_listed_for_installation():
    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for room in ROOMS:
        for package in (ROOT / room).rglob("__init__.py"):
            name = ".".join(package.parent.relative_to(ROOT).parts)
            assert f'"{name}"' in listed, name


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['ris', '--help']; import cli\n"
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
