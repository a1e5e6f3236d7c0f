"""The `ris` command: its commands in their order."""

from __future__ import annotations

import typer

from commands import catalog, faces, failures, measures, models, search, store, transfer
from commands.program import run

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
app.command()(failures.failures)
app.command()(store.verify)
app.command()(store.remove)
app.command()(store.export)
app.add_typer(catalog.app, name="catalog")
app.add_typer(measures.app, name="eval")


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
