"""Writes docs/reference/python.md from the docstrings of what ``import ris`` gives.

python docs/make_python.py [FILE]    (- for standard output)
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_origin

import ris
from ris import choices

PAGE = Path(__file__).resolve().parent / "reference" / "python.md"
SECTIONS = {
    "Collections": ("open", "create", "Collection"),
    "What a search gives": ("SearchResult", "Match", "overview"),
    "What else a collection gives": (
        "IngestReport", "Failure", "Joined", "Refreshed", "IndexReport", "FeatureIndex", "Face",
        "Rows", "Info", "IndexInfo", "Verification",
    ),
    "Edits": ("transfer", "Edited"),
    "What functions are given": ("Photo", "FaceId", "Seed", "FaceName", "Features", "Progress"),
    "Made-up faces": ("sample", "SampleReport"),
    "Model files": ("models", "pull", "models_folder", "ModelEntry", "convert", "Converted"),
    "Feature catalogues": (
        "fit_catalogue", "FittedCatalogue", "draw_catalogue", "DrawnCatalogue",
    ),
    "Measures": ("Evaluation", "frechet"),
    "Recovery": ("recover", "Recovery"),
    "Errors": (
        "RisError", "InputError", "ImageError", "ModelFileError", "StoreError", "MismatchError",
        "IndexMissingError", "QueryError",
    ),
}  # fmt: skip
HEADS = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Example):$", re.MULTILINE)
SPECIAL = {"__len__": "len", "__bool__": "bool", "__iter__": "iter", "__getitem__": "[]"}


def page() -> str:
    """The whole page."""
    parts = ["# Python", _prose(str(ris.__doc__), "ris")]
    parts += ["*Written by `make docs` from the docstrings; their examples are run by the tests.*"]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}")
        for name in names:
            parts += _entry(name)
    return "\n\n".join(parts) + "\n"


def _entry(name: str) -> Iterator[str]:
    value = getattr(ris, name)
    if inspect.isclass(value):
        yield f"### ris.{name}"
        yield _prose(_doc(value), name)
        for member, found in _members(value):
            yield _member(name, member, found)
    elif inspect.isfunction(value):
        yield f"### ris.{name}"
        yield _code(f"ris.{name}{_signature(value)}")
        yield _prose(_doc(value), name)
    else:
        yield f"### ris.{name}"
        yield _alias(name)


def _members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties, those of base classes in the package after its own."""
    seen: set[str] = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("ris."):
            continue
        for name, value in vars(base).items():
            plain = inspect.isfunction(value) or isinstance(value, (property, classmethod))
            if name.startswith("_") or name in seen or not plain:
                continue
            seen.add(name)
            yield name, value


def _member(owner: str, name: str, value: Any) -> str:
    head = f"#### {owner}.{name}"
    if isinstance(value, property):
        return "\n\n".join([head, _prose(_doc(value.fget), name)])
    function = value.__func__ if isinstance(value, classmethod) else value
    return "\n\n".join([head, _code(f"{name}{_signature(function)}"), _prose(_doc(function), name)])


def _signature(function: Callable[..., Any]) -> str:
    """As it is written, without `self`; on several lines where one is too long."""
    words: list[str] = []
    kind = None
    for p in inspect.signature(function).parameters.values():
        if p.name in ("self", "cls"):
            continue
        if p.kind is p.KEYWORD_ONLY and kind not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
            words.append("*")
        kind = p.kind
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        default = "" if p.default is p.empty else f" = {p.default!r}"
        words.append(f"{star}{p.name}: {_with_choices(p.annotation)}{default}")
    returns = f" -> {inspect.signature(function).return_annotation}"
    line = f"({', '.join(words)}){returns}"
    if len(line) < 90:
        return line
    return "(\n" + "".join(f"    {word},\n" for word in words) + f"){returns}"


def _with_choices(annotation: str) -> str:
    """A type with the words of its choices instead of their name."""

    def words(found: re.Match[str]) -> str:
        choice = getattr(choices, found[0], None)
        return str(choice).removeprefix("typing.") if get_origin(choice) is Literal else found[0]

    return re.sub(r"\b[A-Z]\w+", words, annotation)


def _alias(name: str) -> str:
    """A type's definition and the text below it, from the module where it stands."""
    module = importlib.import_module(f"ris.{_home(name)}")
    body = ast.parse(inspect.getsource(module)).body
    for node, text in itertools.pairwise(body):
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == name:
            value = node.value
            told = text.value.value if isinstance(text, ast.Expr) else ""  # type: ignore[attr-defined]
            shown = value.value if isinstance(value, ast.Constant) else ast.unparse(value)  # type: ignore[arg-type]
            return f"{_code(f'{name} = {shown}')}\n\n{_text(str(told))}"
    raise ValueError(f"ris.{name} is no class, function or type")


def _home(name: str) -> str:
    return next(module for module, names in ris._MODULES.items() if name in names)


def _doc(value: Any) -> str:
    doc = inspect.getdoc(value)
    if not doc or (dataclasses.is_dataclass(value) and doc.startswith(f"{value.__name__}(")):
        raise ValueError(f"{value} has no docstring")
    return doc


def _prose(doc: str, name: str) -> str:
    """A docstring as Markdown."""
    pieces = HEADS.split(doc)
    parts = [_text(pieces[0])]
    for head, text in zip(pieces[1::2], pieces[2::2], strict=True):
        inner, _, after = text.strip("\n").partition("\n\n")
        if head == "Example":
            inner, after = _example(text)
            parts.append(_code(inner))
        else:
            items = textwrap.dedent(inner)
            parts.append(f"{head}:" if head != "Returns" else "")
            parts[-1] = (
                f"*{head}:* {_text(items)}"
                if head in ("Returns", "Yields")
                else f"*{head}:*\n\n{_items(items)}"
            )
        if after.strip():
            parts.append(_text(textwrap.dedent(after)))
    return "\n\n".join(part for part in parts if part)


def _example(text: str) -> tuple[str, str]:
    """The indented lines after ``Example:``, and what follows them."""
    lines = text.strip("\n").split("\n")
    end = next((i for i, line in enumerate(lines) if line and not line.startswith("    ")), None)
    inside, after = (lines, []) if end is None else (lines[:end], lines[end:])
    return textwrap.dedent("\n".join(inside)).strip(), "\n".join(after)


def _items(text: str) -> str:
    """``name: what`` lines, each with its further lines, as a list."""
    found: list[str] = []
    for line in text.split("\n"):
        name, colon, what = line.partition(": ")
        if colon and not line.startswith(" "):
            names = ", ".join(f"`{n}`" for n in name.split(", "))
            found.append(f"- {names}: {what}")
        else:
            found[-1] += " " + line.strip()
    return "\n".join(_ticks(item) for item in found)


def _text(text: str) -> str:
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(_ticks(" ".join(p.split())) for p in paragraphs)


def _ticks(text: str) -> str:
    return text.replace("``", "`")


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def main(arguments: list[str]) -> None:
    """Writes the page."""
    target = arguments[0] if arguments else str(PAGE)
    if target == "-":
        print(page(), end="")
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
