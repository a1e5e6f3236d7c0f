"""Completion by the shell: what it offers, and that it can be installed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import ROOT


def offered(words: str, shell: str = "bash", **variables: str) -> list[str]:
    """What is offered for the last word of a command line."""
    done = subprocess.run(
        [sys.executable, "-m", "ris"],
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "_RIS_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
            "_TYPER_COMPLETE_ARGS": words,
        }
        | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1] if done.stdout.endswith("\n") else done.stdout.split("\n")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("ris in", {"ingest", "index", "info"}),
        ("ris catalogue ", {"fit", "show"}),
        ("ris eval ab", {"ablation"}),
        ("ris query --fur", {"--furthest"}),
        ("ris models ", {"list", "pull", "convert"}),
        ("ris index --norm ", {"blend", "layer", "channel", "none"}),
        ("ris query a.jpg --aligned ", {"auto", "yes", "no"}),
        ("ris failures --stage ", {"read", "decode", "align", "invert"}),
    ],
)
def test_commands_options_and_choices_are_offered(words, wanted):
    assert set(offered(words)) == wanted


def test_the_hidden_name_is_not_offered():
    assert offered("ris catalo") == ["catalogue"]


def start(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ris", *words],
        env=os.environ
        # the shell is named, not looked for: the tests may run under one that has no completion
        | {"PYTHONPATH": str(ROOT), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
        | variables,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_and_installed(tmp_path, shell):
    shown = start("--show-completion", shell, HOME=str(tmp_path))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "_RIS_COMPLETE" in shown.stdout
    installed = start("--install-completion", shell, HOME=str(tmp_path))
    assert (installed.returncode, installed.stderr) == (0, "")
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert any("_RIS_COMPLETE" in p.read_text() for p in files)
