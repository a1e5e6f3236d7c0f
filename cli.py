"""The `ris` command: its commands in their order, and how it ends."""

from __future__ import annotations

import os
import sys

import typer

from commands import catalog, faces, measures, models, search, store, transfer
from commands.terminal import notify
from ris.errors import RisError
from ris.memory import keep_freed_memory

app = typer.Typer(
    name="ris",
    help="Search a collection of faces by eyes, nose, mouth, hair or pose.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(models.models)
app.command()(faces.sample)
app.command()(faces.ingest)
app.command()(search.index)
app.command()(search.query)
app.command()(transfer.transfer)
app.command()(store.info)
app.command()(store.sql)
app.command()(store.verify)
app.command()(store.remove)
app.command()(store.export)
app.add_typer(catalog.app, name="catalog")
app.add_typer(measures.app, name="eval")


def main() -> None:
    """Entry point: errors become one line on stderr and exit status 1 (usage errors: 2)."""
    keep_freed_memory()
    try:
        app()
    except RisError as e:
        _fail(str(e))
    except SystemExit as e:
        if e.code == 130:  # Typer's word for an interrupt
            notify("interrupted; what was committed is kept")
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as e:
        if os.environ.get("RIS_DEBUG"):
            raise
        _fail(f"unexpected {type(e).__name__}: {e} (RIS_DEBUG=1 shows where; please report it)")


def _fail(message: str) -> None:
    notify(message)
    sys.exit(1)


if __name__ == "__main__":
    main()
