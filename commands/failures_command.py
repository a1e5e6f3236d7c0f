"""`ris failures`: photos that gave no face, and why."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Annotated

import typer

import ris
from ris.commands.ingest_report import print_reasons
from ris.commands.options import JsonOption, StoreOption
from ris.commands.terminal import plain, print_json


class Stage(str, Enum):
    """Where a photo failed, see `ris.errors.ImageError`."""

    read = "read"
    decode = "decode"
    align = "align"
    invert = "invert"


def failures(
    stage: Annotated[
        list[Stage] | None, typer.Option(help="Only those that failed there; repeatable.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the photos that gave no face, with stage and reason.

    A failure stays until its photo gives a face or is gone. The same as a table in SQL:
    `ris sql "select * from failures"`.

    Example: ris failures --stage decode
    """
    found = ris.open(store).failures([s.value for s in stage] if stage else None)
    if as_json:
        print_json([vars(f) for f in found])
        return
    print(f"{len(found)} photos gave no face" + (":" if found else ""))
    print_reasons(Counter(f"{f.stage}: {f.reason}" for f in found))
    for f in found:
        print(f"{f.stage:<6}  {plain(f.path)}: {plain(f.reason)}")
