"""What the texts of errors and notes call by its Python name, in the words of the command line.

Parameters and next steps stand in backticks there, see `ris.errors`. A parameter is an option of
its own name, but for those of `OPTIONS`; what the door can do is a command, see `COMMANDS`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import ast

OPTIONS = {
    "features": "--feature",
    "folder": "FOLDER",
    "id": "id",
    "instance_norm": "--raw",
    "photos": "PHOTOS",
}
"""Parameters whose option is called otherwise, or that are an argument without a name."""


class Command(NamedTuple):
    """What one types for a function of the door."""

    line: str
    """The command."""
    alone: str = ""
    """What follows it where the text gives no arguments, since it does not run without."""
    first: str = ""
    """Option of the first argument that has no name; empty: it is an argument there, too."""

    def typed(self, words: list[str]) -> str:
        """The line with the words of its arguments."""
        return " ".join(w for w in (self.line, *(words or [self.alone])) if w)


COMMANDS = {
    "ris.fit_catalogue": Command("ris catalogue fit"),
    "ris.models": Command("ris models"),
    "ris.pull": Command("ris models pull"),
    "ris.recover": Command("ris verify --recover"),
    "ris.sample": Command("ris sample", "FOLDER"),
    "Collection.export": Command("ris export", "FILE"),
    "Collection.failures": Command("ris failures"),
    "Collection.index": Command("ris index", first="--feature"),
    "Collection.info": Command("ris info"),
    "Collection.ingest": Command("ris ingest", "FOLDER"),
    "Collection.remove": Command("ris remove", "FACE"),
    "Collection.search": Command("ris query", "FACE --feature FEATURE"),
    "Collection.sql": Command("ris sql", "STATEMENT"),
    "Collection.transfer": Command("ris transfer", "SOURCE REFERENCE"),
    "Collection.verify": Command("ris verify"),
}
"""Command lines, by the names of the door."""
STORE = ("ris.create", "ris.open")
"""Functions of the door that name a store, which every command has an option for."""

_QUOTED = r"`([^`]+)`"
_PARAMETER = r"[a-z][a-z0-9_]*"


def worded(text: object) -> str:
    """A text (or an error) with options and command lines where it names parameters and functions
    in backticks; whatever else stands in backticks stays."""
    return re.sub(_QUOTED, lambda found: _typed(found[1]) or found[0], str(text))


def _typed(code: str) -> str:
    """What one types for a Python expression; empty where it means nothing there."""
    import ast

    for form in (code, f"_({code})"):  # `kind="exact"` is the argument of a call
        try:
            found = ast.parse(form, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        if form is not code:
            assigned = isinstance(found, ast.Call) and not found.args and found
            return " ".join(_words(assigned, "")) if assigned else ""
        name = ast.unparse(found.func if isinstance(found, ast.Call) else found)
        if name in STORE:
            return "--store"
        if name in COMMANDS:
            command = COMMANDS[name]
            words = _words(found, command.first) if isinstance(found, ast.Call) else []
            return f"`{command.typed(words)}`"
        plain = isinstance(found, ast.Name) and re.fullmatch(_PARAMETER, name)
        return _option(name) if plain else ""
    return ""


def _option(parameter: str) -> str:
    return OPTIONS.get(parameter, "--" + parameter.replace("_", "-"))


def _words(call: ast.Call, first: str) -> list[str]:
    """The words of a call's arguments."""
    words = [word for value in call.args for word in _given(first, value)]
    named = [(_option(keyword.arg), keyword.value) for keyword in call.keywords if keyword.arg]
    return words + [word for option, value in named for word in _given(option, value)]


def _given(option: str, value: ast.expr) -> list[str]:
    """An option with its value: a name stands for what the reader puts there."""
    import ast
    import shlex

    if isinstance(value, ast.List | ast.Tuple):
        return [word for part in value.elts for word in _given(option, part)]
    if isinstance(value, ast.Constant) and isinstance(value.value, bool):
        return [option if value.value else option.replace("--", "--no-", 1)]
    if isinstance(value, ast.Name):
        given = value.id.upper()
    else:
        given = shlex.quote(str(ast.literal_eval(value)))
    return [word for word in (option, given) if word]
