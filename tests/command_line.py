"""Runs command lines as a user would, in this process."""

from __future__ import annotations

import sys
from typing import NamedTuple

from ris import cli


class Ran(NamedTuple):
    """What a command line left."""

    status: int
    out: str
    err: str


def status_of(monkeypatch, *words: object) -> int:
    """A command line's exit status."""
    monkeypatch.setattr(sys, "argv", ["ris", *map(str, words)])
    try:
        cli.main()
    except SystemExit as e:
        return int(e.code or 0)
    return 0


def run_ris(monkeypatch, capsys, *words: object) -> Ran:
    """A command line: exit status, stdout, stderr."""
    capsys.readouterr()
    status = status_of(monkeypatch, *words)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return Ran(status, captured.out, captured.err)
