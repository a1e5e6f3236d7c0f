"""The `ris` command: its commands in their order."""

from __future__ import annotations

import typer

from ris.commands import (
    catalogue_command,
    eval_command,
    failures_command,
    ingest_command,
    models_command,
    search_commands,
    store_commands,
    transfer_command,
)
from ris.commands.program import run

app = typer.Typer(
    name="ris",
    help="Search a collection of faces by eyes, nose, mouth, hair or pose.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(models_command.models)
app.command()(ingest_command.sample)
app.command()(ingest_command.ingest)
app.command()(search_commands.index)
app.command()(search_commands.query)
app.command()(transfer_command.transfer)
app.command()(store_commands.info)
app.command()(store_commands.sql)
app.command()(failures_command.failures)
app.command()(store_commands.verify)
app.command()(store_commands.remove)
app.command()(store_commands.export)
app.add_typer(catalogue_command.app, name="catalog")
app.add_typer(eval_command.app, name="eval")


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
