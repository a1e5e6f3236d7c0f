"""`ris failures`: photos that gave no face, and why."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, get_args

import typer

import ris
from ris.choices import Stage
from ris.commands.ingest_report import print_reasons
from ris.commands.options import JsonOption, StoreOption
from ris.commands.terminal import plain, print_json

STAGES: tuple[Stage, ...] = get_args(Stage)
"""Where a photo fails."""


def stage_named(word: str) -> str:
    """A stage of `STAGES`, of which Typer takes no list by itself."""
    if word not in STAGES:
        raise typer.BadParameter(f"{word!r} is not one of {', '.join(map(repr, STAGES))}.")
    return word


def failures(
    stage: Annotated[
        list[str] | None,
        typer.Option(
            help="Only those that failed there; repeatable.",
            parser=stage_named,
            metavar=f"<{'|'.join(STAGES)}>",
            autocompletion=lambda: list(STAGES),
        ),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the photos that gave no face, with stage and reason.

    A failure stays until its photo gives a face or is gone. The same as a table in SQL:
    `ris sql "select * from failures"`.

    Example: ris failures --stage decode
    """
    found = ris.open(store).failures(stage)
    if as_json:
        print_json([vars(f) for f in found])
        return
    print(f"{len(found)} photos gave no face" + (":" if found else ""))
    print_reasons(Counter(f"{f.stage}: {f.reason}" for f in found))
    for f in found:
        print(f"{f.stage:<6}  {plain(f.path)}: {plain(f.reason)}")
