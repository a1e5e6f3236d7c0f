"""Options with a few words to choose from: the words are those of the engines, in one place."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from conftest import ROOT

from ris import choices, cli
from ris.index import KINDS

CHOICES = {value for value in vars(choices).values() if get_origin(value) is Literal}


def literals(hint: Any) -> Iterator[Any]:
    """The literals in a parameter's type, such as ``Device | None``."""
    if get_origin(hint) is Literal:
        yield hint
    else:
        for part in get_args(hint):
            yield from literals(part)


def callbacks() -> list[Any]:
    """The functions of all commands."""
    nested = [group.typer_instance for group in cli.app.registered_groups]
    return [c.callback for app in (cli.app, *nested) for c in app.registered_commands]


def test_commands_take_the_engines_choices():
    found = [
        lit for f in callbacks() for hint in get_type_hints(f).values() for lit in literals(hint)
    ]
    assert len(found) > 20
    assert set(found) <= CHOICES


@pytest.mark.parametrize("path", sorted((ROOT / "commands").glob("*.py")), ids=lambda p: p.name)
def test_no_command_has_choices_of_its_own(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", "")
            names = {a.name for a in node.names}
            assert "enum" not in {module, *names} and "Literal" not in names


def test_each_choice_is_written_down_once():
    """Elsewhere a literal of the same words would be another place to change."""
    words = {get_args(choice) for choice in CHOICES}
    for room in ("ris", "data", "ingest", "index", "query", "edit", "evaluate"):
        for path in (ROOT / room).rglob("*.py"):
            if path == ROOT / "ris" / "choices.py":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
                    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                    assert tuple(map(ast.literal_eval, parts)) not in words, path


def test_index_kinds_are_those_that_there_are():
    assert get_args(choices.IndexKind) == ("auto", *KINDS)


def test_choices_import_nothing_heavy():
    code = (
        "import sys; import ris.choices; "
        "print(sorted(m for m in ('torch', 'numpy', 'pyarrow', 'typer') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "words",
    [
        ("index", "--all", "--kind", "tree"),
        ("index", "--all", "--norm", "some"),
        ("index", "--all", "--mask", "Soft"),
        ("query", "a.jpg", "--feature", "eyes", "--aligned", "maybe"),
        ("transfer", "a.jpg", "b.jpg", "--feature", "eyes", "--paste", "all"),
        ("ingest", "photos", "--device", "tpu"),
        ("sample", "out", "--format", "gif"),
        ("eval", "ams", "--labels", "guessed"),
        ("failures", "--stage", "read", "--stage", "written"),
        ("models", "push"),
    ],
)
def test_another_word_is_a_usage_error_that_names_the_choices(ris, words):
    status, out, err = ris(*words)
    assert (status, out) == (2, "")
    wrong = words[-1]
    assert f"{wrong!r} is not one of '" in " ".join(err.split())


def test_the_help_names_the_choices(ris):
    help_of = {name: " ".join(ris(name, "--help").out.split()) for name in ("index", "failures")}
    for choice in (choices.IndexKind, choices.MaskMode, choices.NormMode):
        assert "|".join(get_args(choice)) in help_of["index"]
    assert "|".join(get_args(choices.Stage)) in help_of["failures"]


def test_several_stages_are_chosen(ris, filled):
    found = ris("failures", "--stage", "read", "--stage", "decode", "--store", filled.folder)
    assert found == (0, "0 photos gave no face\n", "")


def test_defaults_are_among_the_choices():
    for function in callbacks():
        hints = get_type_hints(function)
        for name, parameter in inspect.signature(function).parameters.items():
            for choice in literals(hints[name]):
                assert parameter.default in (None, *get_args(choice)), (function, name)
