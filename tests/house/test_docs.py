"""Documentation that is checked: the command reference, snippets, links, commands and modules."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
from conftest import ROOT
from PIL import Image

from ris.cli import ALIASES, app
from ris.data.models.asset_files import asset_path

REFERENCE = ROOT / "docs" / "reference" / "commands.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=page_name)


def test_the_command_reference_is_current():
    """`make docs` writes it."""
    made = subprocess.run(
        [sys.executable, "-m", "typer", "cli.py", "utils", "docs", "--name", "ris"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert REFERENCE.read_text(encoding="utf-8").strip() == made.stdout.strip()


def test_the_reference_of_python_is_current():
    """`make docs` writes it."""
    made = subprocess.run(
        [sys.executable, "docs/make_python.py", "-"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    page = ROOT / "docs" / "reference" / "python.md"
    assert page.read_text(encoding="utf-8") == made.stdout


def test_the_reference_of_python_has_all_names():
    import ris

    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    for name in set(ris.__all__) - {"__version__"}:
        assert f"### ris.{name}\n" in page, name


def snippets(page: Path) -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


README = ROOT / "README.md"
GUIDES = [p for p in PAGES if p.parent.name in ("tutorial", "how-to") and snippets(p)]


@pytest.mark.parametrize("page", [README, *GUIDES], ids=page_name)
def test_the_python_of_guides_runs(page, filled, monkeypatch, tmp_path, capsys):
    """From top to bottom, in a folder with a store and photos of these names."""
    shutil.copytree(filled.folder, tmp_path / ".ris")
    photos = [filled.resolve(path) for path in iter_paths(filled)]
    (tmp_path / "photos").mkdir()
    for photo, name in zip(photos, ["face.jpg", "her.jpg", "photos/one.jpg"], strict=False):
        shutil.copy(photo, tmp_path / name)
    shutil.copy(asset_path("portrait.jpg"), tmp_path / "me.jpg")
    Image.new("RGB", (320, 240), "orange").save(tmp_path / "photos" / "sunset.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ris.memory.keep_freed_memory", lambda: None)  # for the whole process
    scope = {}
    for snippet in snippets(page):
        exec(compile(snippet, page_name(page), "exec"), scope)
    lines = capsys.readouterr().out.splitlines()
    if page == README:
        assert len(lines) == 5
    if page.name == "serve-searches.md":
        assert lines[0].startswith("<SearchResult by hair: 1 nearest, best ")
        assert lines[1] == "photos/sunset.jpg: no face found"


def iter_paths(store):
    for batch in store.batches(["path"]):
        yield from batch.column(0).to_pylist()


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ +(.+?) *$", page.read_text(encoding="utf-8"), re.MULTILINE)
    shown = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in titles)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in shown}


@every_page
def test_links_and_pictures_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text):
        target, _, anchor = link.partition("#")
        if re.match(r"(https?|mailto):", target):
            continue
        where = page.parent / target if target else page
        assert where.exists(), link
        if anchor and where.suffix == ".md":
            assert anchor in anchors(where), link


def code(page: Path) -> list[str]:
    """The code of a page: inline, and line by line of its blocks, continued lines joined."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    indented = re.findall(r"^ {4,}(\S.*)$", text, re.MULTILINE)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return lines + indented + re.findall(r"`([^`\n]+)`", text)


@every_page
def test_modules_and_scripts_that_are_named_exist(page):
    for line in code(page):
        for name in re.findall(r"\bpython3? -m ([\w.]+\w)", line):
            assert find_spec(name), f"{name} in: {line}"
        for script in re.findall(r"\bpython3? ([\w./]+\.py)\b", line):
            assert (ROOT / script).is_file(), f"{script} in: {line}"


@every_page
def test_make_targets_that_are_named_exist(page):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in code(page):
        for target in re.findall(r"^make ([a-z]+)", line):
            assert target in targets, line


def options_of(command) -> set[str]:
    return {name for one in command.params for name in (*one.opts, *one.secondary_opts)}


@every_page
def test_commands_of_ris_that_are_named_have_these_options(page):
    if page == REFERENCE:
        return
    root = typer.main.get_command(app)
    for line in code(page):
        if not re.match(r"ris [a-z]", line):
            continue
        words = re.split(r"\s[|#>;&]|\s2>|\s…", line)[0]
        try:
            _, *arguments = shlex.split(words)
        except ValueError:
            _, *arguments = words.split()
        command = root
        while arguments and (commands := getattr(command, "commands", None)):
            word = ALIASES.get(arguments[0], arguments[0])
            assert word in commands, line
            command = commands[word]
            del arguments[0]
        known = options_of(command) | {"--help", "-h"}
        named = {word.split("=")[0] for word in arguments if word.startswith("--")} - {"--"}
        assert named <= known, f"{sorted(named - known)} in: {line}"
