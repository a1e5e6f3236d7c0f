"""Documentation that is checked: the command reference, the README's snippets, links."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT


def test_the_command_reference_is_current():
    """`make docs` writes it."""
    made = subprocess.run(
        [sys.executable, "-m", "typer", "cli.py", "utils", "docs", "--name", "ris"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").strip() == made.stdout.strip()


def test_the_readmes_python_runs(filled, monkeypatch, tmp_path, capsys):
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    shutil.copytree(filled.folder, tmp_path / ".ris")
    shutil.copy(filled.resolve(next(iter_paths(filled))), tmp_path / "face.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 5


def iter_paths(store):
    for batch in store.batches(["path"]):
        yield from batch.column(0).to_pylist()


@pytest.mark.parametrize("page", ["README.md", *(p.name for p in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page):
    path = ROOT / page if page == "README.md" else ROOT / "docs" / page
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{page}: {target}"
