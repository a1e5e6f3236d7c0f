"""The map of the code names every room and every package, and nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from conftest import ROOT

MAP = ROOT / "docs" / "code-map.md"
APART = {"build", "docs", "out", "tests"}
"""Folders at the top level that are no rooms of code, or have no packages worth a line."""


def named() -> set[str]:
    """Folders and modules on the map. One without a folder is of the folder before it on its line,
    or else at the top level."""
    found = set()
    for line in MAP.read_text(encoding="utf-8").splitlines():
        folder = ""
        for name in re.findall(r"`(\.?[\w./]+(?:/|\.py))`", line):
            folder = name if name.endswith("/") else folder
            found.add(name if "/" in name else folder + name)
    return found


def folders_of_modules() -> set[str]:
    """Rooms, and all folders of modules within them."""
    tops = [p for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")]
    rooms = [top for top in tops if top.name not in APART and any(top.rglob("*.py"))]
    return {path for room in rooms for path in _with_modules(room)}


def _with_modules(folder: Path) -> set[str]:
    own = {f"{folder.relative_to(ROOT)}/"} if any(folder.glob("*.py")) else set()
    inner = [p for p in folder.iterdir() if p.is_dir() and not p.is_symlink()]
    return own.union(*map(_with_modules, inner))


def test_every_room_and_package_is_named():
    assert sorted(folders_of_modules() - named()) == []


def test_what_is_named_is_there():
    assert [name for name in sorted(named()) if not (ROOT / name).exists()] == []
