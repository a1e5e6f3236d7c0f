"""Files that documents and comments name are there."""

from __future__ import annotations

import re
import subprocess

import pytest
from conftest import ROOT

ROOMS = (
    "benchmarks|commands|data|docs|edit|evaluate|examples|index|ingest|query|ris|serve|tests|train"
)
NAMED = re.compile(rf"`((?:{ROOMS})/[\w./-]*\.[a-z]+)`")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_a_page_names_are_there(page):
    for name in NAMED.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


def test_pages_that_code_names_are_there():
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.toml", "Makefile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        for page in re.findall(r"\bdocs/[\w./-]+\.md\b", (ROOT / name).read_text(encoding="utf-8")):
            assert (ROOT / page).exists(), f"{page} in {name}"
