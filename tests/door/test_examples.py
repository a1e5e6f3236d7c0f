"""The examples in the door's docstrings, run on a small collection."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import ris
import ris.door

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = ["ris", *(f"ris.door.{m.name}" for m in pkgutil.iter_modules(ris.door.__path__))]
    found = [t for name in names for t in finder.find(importlib.import_module(name), name)]
    return [test for test in found if test.examples]


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_an_example_gives_what_it_says(test, here):
    names = {"ris": ris, "faces": ris.open()}
    test.globs = names
    printed: list[str] = []
    result = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=printed.append)
    assert result.failed == 0, "".join(printed)


def test_the_main_functions_have_examples():
    named = {test.name.rpartition(".")[2] for test in examples()}
    collection = {
        "ingest", "index", "search", "transfer", "sql", "remove", "export", "faces", "failures",
        "info", "verify",
    }  # fmt: skip
    assert {"ris", "open", "create", "sample", "models", "pull", *collection} <= named
