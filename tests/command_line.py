"""Runs command lines as a user would, in this process."""

from __future__ import annotations

import sys
from typing import NamedTuple

import cli


class Ran(NamedTuple):
    """What a command line left."""

    status: int
    out: str
    err: str


def run_ris(monkeypatch, capsys, *words: object) -> Ran:
    """A command line: exit status, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["ris", *map(str, words)])
    capsys.readouterr()
    status = 0
    try:
        cli.main()
    except SystemExit as e:
        status = int(e.code or 0)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return Ran(status, captured.out, captured.err)
