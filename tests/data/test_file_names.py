"""Which photo a file name of a table means."""

from __future__ import annotations

import random
import unicodedata
from itertools import product
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from ris.data.file_names import FileNames
from ris.errors import InputError

ROOT = Path("/home/me/pictures")


def match(names: list[str | None], photos: list[str], root: Path = ROOT) -> dict[str, int]:
    return FileNames(photos, root).match(names, lambda row: f"line {row + 2}").rows


@pytest.mark.parametrize(
    "name",
    [
        "photos/a b.jpg",
        "a b.jpg",
        "./photos/a b.jpg",
        "../pictures/photos/a b.jpg",
        "photos//x/../a b.jpg",
        "/home/me/pictures/photos/a b.jpg",
        "/home/you/old/photos/a b.jpg",
        "old/photos/a b.jpg",
        "photos\\a b.jpg",
        "C:\\Users\\me\\photos\\a b.jpg",
        "file:///home/me/pictures/photos/a%20b.jpg",
        "file:photos/a%20b.jpg",
        "photos/a%20b.jpg",
        "a%20b",
        " photos/a b.jpg\t",
        "Photos/A B.JPG",
        "a b",
        "PHOTOS/A B",
        "/old/Photos/A B",
    ],
)
def test_all_ways_to_write_a_path(name):
    assert match(["other.jpg", None, "", name], ["photos/a b.jpg", "photos/c.jpg"]) == {
        "photos/a b.jpg": 3
    }


def test_composed_and_decomposed_letters():
    for photo in (unicodedata.normalize(form, "photos/é.jpg") for form in ("NFC", "NFD")):
        for name in (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD")):
            assert match([name], [photo]) == {photo: 0}


@pytest.mark.parametrize(
    "name",
    ["b.jpg", "other/a.jpg", "a.png", "xa.jpg", "hotos/a.jpg", "photos", "a.jpg/photos", "/", "."],
)
def test_other_files(name):
    assert match([name], ["photos/a.jpg"]) == {}


def test_photos_outside_of_the_root_are_absolute():
    photos = ["/data/x/a.jpg", "b.jpg"]
    assert match(["x/a.jpg", "b.jpg"], photos) == {"/data/x/a.jpg": 0, "b.jpg": 1}
    assert match(["pictures/b.jpg"], photos) == {"b.jpg": 0}
    assert match(["pictures/a.jpg"], photos) == {}


@pytest.mark.parametrize(
    ("name", "photos"),
    [
        ("a.jpg", ["x/a.jpg", "y/a.jpg"]),
        ("A.JPG", ["a.jpg", "A.jpg"]),
        ("a", ["a.jpg", "a.png"]),
        ("x/a", ["1/x/a.jpg", "2/x/a.jpg"]),
    ],
)
def test_a_name_of_two_photos_is_no_choice(name, photos):
    with pytest.raises(InputError) as e:
        match([name], photos)
    assert all(photo in str(e.value) for photo in photos)
    assert f"{name!r} (line 2)" in str(e.value)


def test_what_is_written_exactly_wins():
    photos = ["a.jpg", "A.jpg", "x/a.jpg", "a.png", "a%20.jpg", "a .jpg"]
    assert match(photos, photos) == {photo: i for i, photo in enumerate(photos)}
    assert match(["a.jpg ", "a.jpg"], ["a.jpg", "a.jpg "]) == {"a.jpg ": 0, "a.jpg": 1}


@pytest.mark.parametrize(
    "names",
    [["a.jpg", "a.jpg"], ["x/a.jpg", "./x/a.jpg"], ["a.jpg", "x/a.jpg"], ["A.JPG", "A.Jpg"]],
)
def test_two_rows_of_one_photo(names):
    with pytest.raises(InputError, match="several rows for one photo, x/a.jpg") as e:
        match(names, ["x/a.jpg"])
    assert all(name in str(e.value) for name in names)
    assert "line 2" in str(e.value) and "line 3" in str(e.value)


def test_a_looser_name_does_not_stand_against_an_exact_one():
    """A.jpg is another file, which is not in the store."""
    assert match(["A.jpg", "a.jpg"], ["a.jpg"]) == {"a.jpg": 1}


def test_the_same_names_in_two_sets_of_a_collection():
    """Only one set is in the store: the rows of the other belong to no photo."""
    root = Path("/data/train")
    names = ["train/1.jpg", "test/1.jpg", "test/2.jpg"]
    assert match(names, ["1.jpg", "2.jpg"], root) == {"1.jpg": 0}
    assert match(["/data/train/1.jpg", "/data/test/2.jpg"], ["1.jpg", "2.jpg"], root) == {
        "1.jpg": 0
    }
    # the collection was moved: one folder it may have lain in, but not two
    assert match(["/old/1.jpg", "/old/2.jpg"], ["1.jpg", "2.jpg"], root) == {
        "1.jpg": 0,
        "2.jpg": 1,
    }
    with pytest.raises(InputError, match=r"/old/1.jpg.*/older/2.jpg.*different folders"):
        match(["/old/1.jpg", "/older/2.jpg"], ["1.jpg", "2.jpg"], root)
    with pytest.raises(InputError, match="several rows for one photo"):
        match(["/old/1.jpg", "/old//1.jpg"], ["1.jpg"], root)


def test_a_quick_look_never_misses_a_match():
    names = ["A%20b.JPG", "q\\y.jpg", "e\u0301", "file:///q/a.b"]
    photos = ["a b.jpg", "y.jpg", "é.jpg", "a.b.jpg"]
    assert match(names, photos) == dict(zip(photos, range(4), strict=True))


def parts_of(path: str, fold: bool, stem: bool = False) -> list[str]:
    parts = [p for p in path.strip().replace("\\", "/").split("/") if p not in ("", ".")]
    parts = [unicodedata.normalize("NFC", p.casefold() if fold else p) for p in parts]
    return [*parts[:-1], Path(parts[-1]).stem] if stem else parts


def oracle(name: str, photos: list[str]) -> set[str]:
    """The photos that a name may mean, photo by photo, part by part (docs/reference/tables.md)."""
    plain = name.removeprefix("file://")
    for stem, fold in product((False, True), (False, True)):
        for reading in (unquote(plain),) if plain != name else (name, unquote(name)):
            ours = parts_of(reading, fold)
            theirs = {p: parts_of(p, fold, stem) for p in photos}
            root = parts_of(str(ROOT), fold)
            same = {p for p, rel in theirs.items() if ours in (rel, root + rel)}
            ends = {p for p, rel in theirs.items() if (root + rel)[-len(ours) :] == ours}
            if same or ends:
                return same or ends
    for stem, fold in product((False, True), (False, True)):
        for reading in (name, unquote(name)):
            ours = parts_of(reading, fold)
            theirs = {p: parts_of(p, fold, stem) for p in photos}
            fits = [p for p, rel in theirs.items() if ours[-len(rel) :] == rel]
            if fits:
                return {max(fits, key=lambda p: len(theirs[p]))}
    return set()


def test_no_spelling_leads_to_another_photo():
    """Random collections with like names, one photo's name in a random spelling."""
    counts = dict.fromkeys((0, 1, 2), 0)
    for seed in range(4000):
        rng = random.Random(seed)
        words = ["a", "A", "b b", "é", "a%20"]
        names = [
            "/".join([*rng.choices(words, k=rng.randrange(3)), rng.choice(words)]) for _ in range(6)
        ]
        photos = sorted({name + rng.choice([".jpg", ".png", ".JPG"]) for name in names})
        meant = rng.choice(photos)
        spellings = [
            meant,
            f"./{meant}",
            f"{ROOT}/{meant}",
            f"/old/{meant}",
            f"/Old/{meant.swapcase()}",
            meant.replace("/", "\\"),
            f"file://{quote(f'{ROOT}/{meant}')}",
            quote(meant),
            unicodedata.normalize("NFD", meant),
            f" {meant} ",
            meant.swapcase(),
            meant.rpartition(".")[0],
            meant.rpartition("/")[2],
            meant.rpartition("/")[2].upper(),
            f"{meant}.txt",
        ]
        name = rng.choice(spellings)
        wanted = oracle(name, photos)
        counts[min(len(wanted), 2)] += 1
        if len(wanted) < 2:
            assert set(match([name], photos)) == wanted, (seed, name, photos)
        else:
            with pytest.raises(InputError, match="may be"):
                match([name], photos)
    assert min(counts.values()) > 100, counts
