"""Faces, features and sheets as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ris import FaceId, Seed
from ris.commands.face_words import face_named, parse_features, photo_or_id, sweep_named
from ris.commands.search_commands import sheet_paths
from ris.door.words import weights_of
from ris.errors import InputError


def test_what_is_typed_for_features():
    assert parse_features(["eyes:2", "mouth"]) == {"eyes": 2.0, "mouth": 1.0}
    assert parse_features(["eyes:2 mouth,nose"]) == {"eyes": 2.0, "mouth": 1.0, "nose": 1.0}
    for wrong in (["eyes:x"], ["eyes:0"], ["eyes:nan"], ["eyes", "eyes:2"], []):
        with pytest.raises(InputError):
            weights_of(parse_features(wrong))


def test_a_word_is_a_photo_where_it_is_or_looks_like_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "3f2c").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for word in ("3f2c", "folder", "gone.jpg", "gone/face", "./abc"):
        assert photo_or_id(word) == Path(word)
    assert photo_or_id("~/face").is_absolute()
    for word in ("3f2d", "3f2d-1", "", " "):
        assert photo_or_id(word) == FaceId(word)


def test_sheets_are_named_after_the_queries():
    out = Path("new/sheet.png")
    assert sheet_paths(out, ["a.jpg"]) == [out]
    names = [p.name for p in sheet_paths(out, ["x/a.jpg", "a-2.jpg", "0f3a", "y/a.jpg", "a"])]
    assert names == [
        "sheet-a.png",
        "sheet-a-2.png",
        "sheet-0f3a.png",
        "sheet-a-3.png",
        "sheet-a-4.png",
    ]
    assert sheet_paths(out, ["a.jpg", "b.jpg"])[0].parent == Path("new")


def test_a_transfer_takes_seeds_too():
    assert face_named("seed:7") == Seed(7)
    assert face_named("seed:7@0.5") == Seed(7, 0.5)
    assert face_named("0123abcd") == FaceId("0123abcd")
    assert face_named("nowhere.jpg") == Path("nowhere.jpg")


@pytest.mark.parametrize(
    ("word", "message"),
    [("seed:", "a seed is written seed:7"), ("seed:7@1.5", "between 0 and 1")],
)
def test_what_is_no_seed_is_refused(word, message):
    with pytest.raises(InputError, match=message):
        face_named(word)


def test_a_range_has_two_ends():
    assert sweep_named("-1..2") == (-1, 2)
    for text in ("up", "0..inf", "1..", "2"):
        with pytest.raises(InputError, match=r"a sweep is written -1\.\.2"):
            sweep_named(text)
