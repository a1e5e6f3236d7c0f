"""What is printed: text without control characters, JSON that every reader takes."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from toy_stores import SETTINGS, row

from ris.commands.terminal import as_json, plain
from ris.data.store import Store
from ris.errors import QueryError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Ann Bö 顔 🙂", "Ann Bö 顔 🙂"),
        ("a\tb\nc\r\x1b[31m\0\x7f", "a\\tb\\nc\\r\\x1b[31m\\x00\\x7f"),
        ("a\u2028b\x9bc\u202ed", "a\\u2028b\\x9bc\\u202ed"),
        ("\udcff.jpg", r"\xff.jpg"),
        (Path("a\nb"), "a\\nb"),
        (1.5, "1.5"),
    ],
)
def test_text_stays_on_its_line(text, wanted):
    assert plain(text) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (math.nan, None),
        ([math.inf, -math.inf, 1.5, {"a": math.nan}], [None, None, 1.5, {"a": None}]),
        (np.float32("nan"), None),
        (np.array([1, 2], np.int8), [1, 2]),
        (np.bool_(True), True),
        (Decimal("1.50"), 1.5),
        (Decimal("NaN"), None),
        (Decimal("0.1234567890123456789"), "0.1234567890123456789"),
        (2**70, 2**70),
        (b"\x00\xff", "00ff"),
        (
            {1: "a", (1, 2): "b", b"\x01": "c", None: "d"},
            {"1": "a", "[1, 2]": "b", "01": "c", "null": "d"},
        ),
        ((1, {"x": {2}}), [1, {"x": [2]}]),
        (datetime.date(2026, 1, 31), "2026-01-31"),
        (Path("a/b"), "a/b"),
    ],
)
def test_whatever_a_command_has_is_json(value, wanted):
    text = json.dumps(as_json(value), allow_nan=False)
    assert json.loads(text) == wanted


@pytest.fixture
def eleven(tmp_path):
    """A store with eleven faces of one photo and one of another, whose path has control codes."""
    store = Store.create(tmp_path / ".ris", SETTINGS)
    names = ["ab12", *(f"ab12-{i}" for i in range(1, 11))]
    store.append(
        [dataclasses.replace(row(i, "many.jpg"), id=n, face=i) for i, n in enumerate(names)]
    )
    store.append([dataclasses.replace(row(20, "x\t\x1b]0;evil\x07\ny.jpg"), id="cd34")])
    return store


def test_every_face_of_a_photo_can_be_named(eleven, ris):
    for name in ("ab12", "ab12-1", "ab12-10", "ab12-2"):
        assert eleven.face(name).id == name
    assert eleven.face("ab").id == "ab12"
    assert eleven.face("c").id == "cd34"
    for name in ("ab12-", "ab12-11", "ab-1", "zz"):
        with pytest.raises(QueryError, match="no photo and no face id"):
            eleven.face(name)
    assert ris("remove", "ab12-1").status == 0
    with pytest.raises(QueryError, match="no face id 'ab12-1'"):  # and not the tenth
        eleven.face("ab12-1")
    assert eleven.face("ab12-10").id == "ab12-10"
    eleven.remove(["ab12"])
    with pytest.raises(QueryError, match="9 faces have an id that starts with 'ab12'"):
        eleven.face("ab12")


@pytest.mark.parametrize("word", ["", " ", "\t"])
def test_an_empty_word_removes_nothing(tmp_path, ris, word):
    store = Store.create(tmp_path / ".ris", SETTINGS)
    store.append([row(1)])
    status, _, err = ris("remove", word)
    assert (status, err.count("\n")) == (1, 1)
    assert ris("remove", "--where", word).status == 1
    assert store.manifest().rows == 1


def test_sql_as_json_loses_nothing(eleven, ris):
    statement = (
        "select id, id, 'nan'::double as n, 'inf'::float as i, '\\xAB'::blob as b, 1.5 as d, "
        "map {'a': 1} as m, map {1: 'x'} as k, map {[1]: 2} as l, {'s': [1, null]} as s, "
        "date '2026-01-31' as t from faces where id = 'cd34'"
    )
    status, out, err = ris("sql", statement, "--json")
    assert status == 0, err
    (found,) = json.loads(out, parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))
    assert found == {
        "id": "cd34",
        "id_1": "cd34",
        "n": None,
        "i": None,
        "b": "ab",
        "d": 1.5,
        "m": {"a": 1},
        "k": {"1": "x"},
        "l": {"key": [[1]], "value": [2]},  # DuckDB's own form of keys that are lists
        "s": {"s": [1, None]},
        "t": "2026-01-31",
    }


def test_sql_as_text_has_a_line_a_row(eleven, ris):
    out = ris("sql", "select id, path, 'a\tb' as \"x\ny\" from faces where id = 'cd34'").out
    assert out == "id\tpath\tx\\ny\ncd34\tx\\t\\x1b]0;evil\\x07\\ny.jpg\ta\\tb\n"
    assert "\x1b" not in ris("verify").out


def test_errors_have_no_control_characters(tmp_path, ris):
    status, _, err = ris("ingest", "a\x1b[2Jb")
    assert (status, err.count("\n")) == (1, 1)
    assert "a\\x1b[2Jb" in err
