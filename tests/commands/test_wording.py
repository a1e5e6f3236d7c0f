"""Only the commands spell flags and command lines; texts of the rooms become theirs."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer
from conftest import ROOT

from ris import cli, notices
from ris.commands.wording import COMMANDS, OPTIONS, worded

ROOMS = ("ris", "data", "ingest", "index", "query", "edit", "evaluate")
ELSEWHERE = {"fetching.py": ("pip", "npm")}
"""Modules that call other programs, with options of these."""


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("`k` is at least 1, not 0", "--k is at least 1, not 0"),
        ("`max_resolution` 3: too small", "--max-resolution 3: too small"),
        ("name one with `catalogue`, or `features`", "name one with --catalogue, or --feature"),
        ("use `kind='exact'`", "use --kind exact"),
        ("as in `where='width > 500'`", "as in --where 'width > 500'"),
        ("take `index=False`", "take --no-index"),
        ("run `Collection.ingest` first", "run `ris ingest FOLDER` first"),
        ("run `Collection.index`", "run `ris index`"),
        ("run `Collection.index('eyes')`", "run `ris index --feature eyes`"),
        ("`Collection.index(['eyes', 'hair'])`", "`ris index --feature eyes --feature hair`"),
        (
            "run `Collection.index('eyes', rebuild=True)`",
            "run `ris index --feature eyes --rebuild`",
        ),
        ("`Collection.verify(drop_damaged=True)`", "`ris verify --drop-damaged`"),
        ("`Collection.sql('select id from faces')`", "`ris sql 'select id from faces'`"),
        ("`ris.recover(like=that_store)`", "`ris verify --recover --like THAT_STORE`"),
        ("`ris.pull('faceres', force=True)`", "`ris models pull faceres --force`"),
        ("name one with `ris.open`", "name one with --store"),
        ("run `pip install faiss-cpu`", "run `pip install faiss-cpu`"),
        ("`ris index --feature eyes`", "`ris index --feature eyes`"),
        ("`W`, `a.b`, `f(x)`, `(`, ` k`", "`W`, `a.b`, `f(x)`, `(`, ` k`"),
        ("a lone ` stays", "a lone ` stays"),
    ],
)
def test_python_names_become_options_and_command_lines(text, typed):
    assert worded(text) == typed
    assert worded(worded(text)) == typed


@cache
def typed_commands() -> dict[str, typer.core.TyperCommand]:
    """Commands by their line, without the program: "catalogue fit"."""
    found = {}
    for name, command in typer.main.get_command(cli.app).commands.items():
        found[name] = command
        nested = getattr(command, "commands", {})
        found |= {f"{name} {inner}": c for inner, c in nested.items()}
    return found


@cache
def options() -> set[str]:
    """Every option that some command has."""
    parameters = [p for c in typed_commands().values() for p in c.params]
    return {o for p in parameters for o in (*p.opts, *p.secondary_opts) if o.startswith("--")}


def texts(path: Path) -> Iterator[str]:
    """The texts that a module spells, without what documents it; what an f-string fills in is
    written X."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    inside = {id(part) for n in nodes if isinstance(n, ast.JoinedStr) for part in n.values}
    documents = {id(n.value) for n in nodes if isinstance(n, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                part.value
                if isinstance(part, ast.Constant)
                else "'X'"
                if part.conversion == ord("r")
                else "X"
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and id(node) not in inside | documents:
            yield from [node.value] if isinstance(node.value, str) else []


def engines() -> list[Path]:
    """The modules of the rooms, but for programs of their own, which have options."""
    found = [p for room in ROOMS for p in sorted((ROOT / room).rglob("*.py"))]
    found = [p for p in found if not p.is_symlink()]  # ris/cli.py is the commands'
    return [p for p in found if "import argparse" not in p.read_text(encoding="utf-8")]


def test_only_the_commands_spell_options_and_command_lines():
    assert len(engines()) > 150
    for path in engines():
        for text in texts(path):
            for option in re.findall(r"--[a-z][a-z-]+", text):
                foreign = path.name in ELSEWHERE and option not in options()
                assert foreign, f"{path.relative_to(ROOT)} spells {option} in {text!r}"
            assert not re.search("`ris ", text), f"{path.relative_to(ROOT)}: {text!r}"


def test_every_name_in_backticks_is_one_that_can_be_typed():
    """An option that there is, a command that there is, or the name of another program."""
    said = 0
    for path in engines():
        for text in texts(path):
            if "`" not in text:
                continue
            said += 1
            where = f"{path.relative_to(ROOT)}: {text!r}"
            spelled = worded(text)
            for quoted in re.findall("`([^`]*)`", spelled):
                first = quoted.split(" ")[0]
                assert first in ("ris", "pip", "python", "ulimit", "iconv"), where
                if first == "ris":
                    check_line(shlex.split(quoted)[1:], where)
            loose = re.sub("`[^`]*`", "", spelled)
            assert set(re.findall(r"--[a-z][a-z-]*", loose)) <= options(), where
    assert said > 50


def check_line(words: list[str], where: str) -> None:
    """A command line names a command, and options that it has."""
    several = " ".join(words[:2])
    name = several if several in typed_commands() else words[0]
    assert name in typed_commands(), where
    own = {o for p in typed_commands()[name].params for o in (*p.opts, *p.secondary_opts)}
    assert {w for w in words if w.startswith("--")} <= own, where


def test_the_tables_lead_to_options_and_commands_that_there_are():
    for command in COMMANDS.values():
        check_line(shlex.split(command.typed([]))[1:], command.line)
    assert {o for o in OPTIONS.values() if o.startswith("--")} <= options()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("query {face} --feature eyes --k 0", "--k is at least 1, not 0"),
        ("query {face} --feature eyes --where false", "no face satisfies --where 'false'"),
        ("query {face} --feature eyes --where ''", "as in --where 'width > 500'"),
        ("query zz --feature eyes", "`ris sql 'select id, path from faces'` lists the ids"),
        ("query {face} --feature eyes --generator no.pt", "no generator file"),
        ("index --feature eyes --tau 0", "--tau must be above 0, not 0.0"),
        (
            "transfer {face} --feature eyes",
            "name a reference, or take one with --from-query (one of the two)",
        ),
        ("transfer {face} --from-query 0 --feature eyes", "--from-query counts from 1"),
        ("transfer {face} {face} --alpha nan --feature eyes", "--alpha is a number, not nan"),
        (
            "transfer {face} {face} --feature eyes --sweep 0..1 --compare",
            "--sweep and --compare make different pictures: ask for one",
        ),
        ("transfer {face} {face} --feature eyes --sweep 0..1 --steps 1", "--steps, not 1"),
        ("transfer {face} {face} --feature eyes --size 1", "--size is at least 16 pixels, not 1"),
        ("transfer {face} {face}", "name at least one feature, as in --feature eyes"),
        ("catalogue fit", "name the file to write with --out"),
        ("catalogue fit --out c.safetensors --clusters 2", "at least 16 --clusters and 8 --faces"),
        ("sample out --truncation 2", "--truncation lies between 0 and 1, not 2.0"),
        ("sample out --size 1", "--size lies between 32 and 1024, not 1"),
        ("ingest {photo} --refine -1", "--refine takes 0 or more steps, not -1"),
        ("ingest {photo} --max-resolution 3", "--max-resolution 3: no style layer is at most 3 px"),
        ("ingest {photo} --prune", "--prune goes with folders"),
        ("ingest {photo} --generator no.pt", "no generator file no.pt: name it with --generator"),
        ("ingest {photo} --inverter no.pt", "no encoder file no.pt: name it with --inverter"),
        (
            "ingest {photo} --max-resolution 128",
            "the store's setting, or another store with --store",
        ),
        ("eval ams", "ingest them with --metadata LABELS.csv"),
        ("eval attributes", "ingest photos with --metadata LABELS.csv"),
        ("eval submembership --sheet s.png", "name one, and one number of --clusters"),
        ("info --store nowhere", "nowhere is not a ris store: run `ris ingest FOLDER` first"),
        ("verify --recover", "is whole, there is nothing to recover"),
    ],
)
def test_mistakes_are_told_in_the_words_of_the_command_line(ris, filled, faces, words, told):
    face = filled.rows(["id"])[0]["id"][0].as_py()
    photo = faces / "seed000100.jpg"
    store = [] if "--store" in words else ["--store", filled.folder]
    typed = shlex.split(words.format(face=face, photo=photo))
    if words.startswith("sample") or "--prune" in words:
        store = []
    status, _, err = ris(*typed, *store)
    assert status == 1
    assert told in err
    assert err.startswith("ris: ")
    assert err.count("\n") == 1
    for quoted in re.findall("`([^`]*)`", err):
        assert quoted.startswith("ris "), err


def test_notes_and_warnings_are_put_into_the_readers_words(monkeypatch, caplog):
    heard: list[str] = []
    monkeypatch.setattr(notices, "_listeners", [heard.append])
    monkeypatch.setattr(notices, "_spellings", [])
    notices.tell("take `k`")
    notices.spell(worded)
    notices.tell("take `k`")
    notices.warn("run `Collection.verify`")
    assert heard == ["take `k`", "take --k"]
    assert "ris: run `ris verify`" in caplog.text
