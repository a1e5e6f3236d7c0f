"""The `ris` command: its commands in their order."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

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
from ris.commands.program import run, show_version

NAME = "ris"
"""In messages and in the shell's completion, however the program was started."""
ALIASES = {"catalog": "catalogue"}
"""Other spellings of commands, which no list shows."""


class _Commands(TyperGroup):
    """Finds commands under their other spellings too."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, ALIASES.get(cmd_name, cmd_name))


app = typer.Typer(
    name=NAME,
    cls=_Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def ris(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Search a collection of faces by eyes, nose, mouth, hair or pose."""


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
app.add_typer(catalogue_command.app, name="catalogue")
app.add_typer(eval_command.app, name="eval")


def main() -> None:
    """Entry point."""
    run(partial(app, prog_name=NAME))


if __name__ == "__main__":
    main()
