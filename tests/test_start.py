"""What a command loads: nothing that it does not need."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest
from conftest import ROOT

PROBE = """
import sys, cli
try:
    cli.main()
except SystemExit as e:
    assert not e.code, e.code
print(sorted(sys.modules), file=sys.stderr)
"""
HEAVY = {"torch", "faiss", "duckdb", "PIL", "safetensors", "ai_edge_litert", "rich", "scipy"}


def run(*words: object) -> tuple[str, set[str]]:
    """What a command prints, and the heavy packages that it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, HEAVY & set(ast.literal_eval(done.stderr.splitlines()[-1]))


@pytest.fixture(scope="module")
def face(filled) -> str:
    return str(next(filled.batches(["id"])).column("id")[3])


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (("--feature", "eyes"), set()),
        (("--feature", "eyes:2", "--feature", "mouth", "--furthest"), set()),
        (("--feature", "pose", "--where", "odd = 1"), {"duckdb"}),
        (("--feature", "hair", "--out", "{tmp}/sheet.png"), {"PIL"}),
    ],
)
def test_a_query_by_id_loads_no_torch(filled, face, tmp_path, words, needed):
    words = [word.format(tmp=tmp_path) for word in words]
    printed, loaded = run("query", face, "--store", filled.folder, "--json", *words)
    assert len(json.loads(printed)["nearest"]) == 5
    assert loaded == needed


def test_a_query_by_a_photo_of_the_store_loads_no_torch(filled, face):
    photo = filled.resolve(filled.face(face).path)
    printed, loaded = run(
        "query", photo, face, "--store", filled.folder, "--json", "--feature", "nose"
    )
    first, second = json.loads(printed)
    assert first["nearest"] == second["nearest"]
    assert loaded <= {"PIL"}


@pytest.mark.parametrize(
    ("words", "needed"),
    [(("info",), set()), (("sql", "select count(*) from faces"), {"duckdb"}), (("verify",), set())],
)
def test_looking_into_a_store_loads_no_torch(filled, words, needed):
    assert run(*words, "--store", filled.folder)[1] == needed
