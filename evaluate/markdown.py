"""Markdown tables of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_row(cells: Iterable[object]) -> str:
    """One line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def markdown_head(names: Sequence[object]) -> str:
    """The names of a table's columns and the line below them, for a program that prints a row as
    soon as it has it."""
    return f"{markdown_row(names)}\n{markdown_row(['---'] * len(names))}"


def markdown_table(
    names: Sequence[object],
    rows: Iterable[Iterable[object]],
    *,
    title: str = "",
    note: str = "",
) -> str:
    """A table of cells that are text already or print as they are.

    Args:
        names: of the columns.
        rows: of as many cells each.
        title: above the table.
        note: below it.
    """
    table = "\n".join([markdown_head(names), *map(markdown_row, rows)])
    return "\n\n".join(part for part in (title, table, note) if part)
