"""Words on the command line that name faces and ranges."""

from pathlib import Path

import pytest

from ris.commands.face_words import face_named, photo_or_id, sweep_named
from ris.errors import InputError
from ris.face_names import FaceId, Seed


def test_photos_seeds_and_ids(tmp_path):
    photo = tmp_path / "a.jpg"
    photo.touch()
    assert face_named(str(photo), store=False) == photo
    assert face_named("seed:7", store=False) == Seed(7)
    assert face_named("seed:7@0.5", store=False) == Seed(7, 0.5)
    assert face_named("0123abcd", store=True) == FaceId("0123abcd")


def test_a_word_is_a_photo_where_one_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0123abcd").touch()
    assert photo_or_id("0123abcd") == Path("0123abcd")
    assert photo_or_id("0123abce") == FaceId("0123abce")
    assert photo_or_id("a.jpg") == Path("a.jpg") and photo_or_id(str(tmp_path)) == tmp_path
    assert photo_or_id("") == FaceId("")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed:", "a seed is written seed:7"),
        ("seed:7@1.5", "between 0 and 1"),
        ("nowhere.jpg", "no photo nowhere.jpg"),
        ("0123abcd", "no store to look up"),
    ],
)
def test_what_names_no_face_is_refused(word, message):
    with pytest.raises(InputError, match=message):
        face_named(word, store=False)


def test_a_range_has_two_ends():
    assert sweep_named("-1..2") == (-1, 2)
    for text in ("up", "0..inf", "1..", "2"):
        with pytest.raises(InputError, match=r"a sweep is written -1\.\.2"):
            sweep_named(text)
