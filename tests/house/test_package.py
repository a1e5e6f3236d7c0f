"""What is installed: one package, whole, typed, and no trouble to what stands beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

NEIGHBOURS = ("evaluate", "data", "ingest", "query", "edit", "commands", "train", "examples")
"""Packages of a user's own, or of others (Hugging Face's `evaluate`), called like our folders."""
MODULES = ("index", "cli")
"""Modules of a user's own that are called like our folders and files."""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The wheel and the source distribution of a fresh clone."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    folder = tmp_path_factory.mktemp("built")
    run("git", "clone", "--quiet", str(ROOT), str(folder / "clone"))
    run("uv", "build", "--quiet", "--out-dir", str(folder / "dist"), str(folder / "clone"))
    (wheel,) = (folder / "dist").glob("*.whl")
    (source,) = (folder / "dist").glob("*.tar.gz")
    return wheel, source


@pytest.fixture(scope="module")
def site(built, tmp_path_factory) -> Path:
    """Where the wheel is installed, with nothing else in it."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(built[0]) as wheel:
        wheel.extractall(folder)
    return folder


def run(*words: str, **options) -> str:
    tool = Path(sys.executable).parent / words[0]  # of this environment, or of the system
    command = [str(tool) if tool.exists() else words[0], *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_only_name_of_the_wheel_is_ris(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = {name.split("/")[0] for name in wheel.namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"ris"}
    assert len(names) == 2


def test_the_wheel_is_whole_and_holds_nothing_else(site):
    tracked = run("git", "ls-files", cwd=ROOT).splitlines()
    rooms = {p.name for p in (ROOT / "ris").iterdir() if p.is_symlink()}
    ours = {
        name if name.startswith("ris/") else f"ris/{name}"
        for name in tracked
        if name.split("/")[0] in rooms | {"ris"} and not (ROOT / name).is_symlink()
    }
    packed = {
        path.relative_to(site).as_posix() for path in (site / "ris").rglob("*") if path.is_file()
    }
    assert packed == ours


def test_the_source_distribution_holds_the_same(built, site, tmp_path):
    with tarfile.open(built[1]) as source:
        source.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    held = {p.relative_to(site): p.read_bytes() for p in (site / "ris").rglob("*") if p.is_file()}
    given = {
        p.relative_to(folder): p.read_bytes() for p in (folder / "ris").rglob("*") if p.is_file()
    }
    assert given == held


@pytest.fixture
def neighbours(site, tmp_path) -> tuple[Path, dict[str, str]]:
    """A project with modules that are called like our folders, on the path before and after `ris`;
    gives its folder and the environment."""
    shared = tmp_path / "shared"
    shutil.copytree(site, shared)
    for name in NEIGHBOURS:
        (shared / name).mkdir()
        (shared / name / "__init__.py").write_text(f"WHOSE = 'theirs: {name}'\n")
    project = tmp_path / "project"
    project.mkdir()
    for name in MODULES:
        (project / f"{name}.py").write_text(f"WHOSE = 'theirs: {name}'\n")
    (project / "data").mkdir()
    (project / "data" / "__init__.py").write_text("WHOSE = 'theirs: data'\n")
    return project, {**os.environ, "PYTHONPATH": f".{os.pathsep}{shared}"}


def test_neighbours_of_the_same_names_and_ris_both_work(neighbours):
    project, environment = neighbours
    names = [*NEIGHBOURS, *MODULES]
    code = (
        f"import {', '.join(names)}, ris, ris.data.store, ris.index.build, ris.query.searcher\n"
        f"for m in ({', '.join(names)}): assert m.WHOSE == 'theirs: ' + m.__name__\n"
        "print(ris.__file__)"
    )
    printed = run(sys.executable, "-c", code, cwd=project, env=environment)
    assert Path(printed.strip()).parent.parent == project.parent / "shared"
    told = run(sys.executable, "-m", "ris", "models", "--json", cwd=project, env=environment)
    assert "mobilestylegan-ffhq" in told


def test_type_checkers_see_types_in_the_installed_package(site, tmp_path):
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env"))
    python = tmp_path / "env" / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(str(python), "-c", code).strip())
    shutil.copytree(site, packages, dirs_exist_ok=True)
    script = tmp_path / "script.py"
    script.write_text(
        "import ris\n"
        "def nearest(folder: str, photo: str) -> list[float]:\n"
        "    found = ris.open(folder).search(photo, 'eyes', k=5)\n"
        "    return [match.similarity for match in found.nearest]\n"
    )
    words = ["mypy", "--strict", "--no-incremental", "--python-executable", str(python)]
    run(*words, str(script), cwd=tmp_path)
    script.write_text("import ris\nname: str = len(ris.open('.ris'))\n")
    wrong = subprocess.run(
        [str(Path(sys.executable).with_name("mypy")), *words[1:], str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert wrong.returncode == 1
    assert 'expression has type "int"' in wrong.stdout
