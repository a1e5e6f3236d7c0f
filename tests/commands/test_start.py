"""What a command loads: nothing that it does not need."""

from __future__ import annotations

import ast
import json
import os
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
HEAVY = {"torch", "faiss", "duckdb", "PIL", "safetensors", "rich", "scipy"}


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


MISTAKE = """
import os, sys, cli
try:
    cli.main()
except SystemExit as e:
    print([e.code, sorted(sys.modules)])
"""


@pytest.mark.parametrize(
    "words",
    [
        ("index", "--feature", "eyes"),
        ("index",),
        ("query", "no-such-photo.jpg", "--feature", "eyes"),
        ("query", "no-such-photo.jpg", "--feature", "eyes", "--store", "{store}"),
        ("index", "--feature", "ears", "--store", "{store}"),
        ("transfer", "no-such-photo.jpg", "seed:1", "--feature", "hair"),
        ("transfer", "seed:1", "seed:2"),
        ("transfer", "seed:1", "seed:2", "--feature", "hair", "--out", "picture.xyz"),
        ("transfer", "seed:1", "seed:x", "--feature", "hair"),
        ("eval", "trsi"),
        ("eval", "ams"),
        ("eval", "submembership"),
        ("eval", "frechet", "no-such-folder", "no-such-folder"),
        ("catalog", "fit"),
        ("export", "somewhere"),
        ("remove", "abc"),
        ("sql", "select 1"),
    ],
)
def test_a_mistake_is_told_before_torch_is_loaded(filled, tmp_path, words):
    done = subprocess.run(
        [sys.executable, "-c", MISTAKE, *(w.format(store=filled.folder) for w in words)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    status, loaded = ast.literal_eval(done.stdout.splitlines()[-1])
    assert (status, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "torch" not in loaded
