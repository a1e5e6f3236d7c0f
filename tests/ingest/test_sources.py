"""Which files arguments lead to: every one of them is given out once, with what becomes of it."""

from __future__ import annotations

import glob
import io
import os
import shutil
import socket
import sys
import tracemalloc
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT
from PIL import Image

from ris.edit.provenance import Edited
from ris.errors import ImageError, InputError
from ris.evaluate.plots import write_plot
from ris.ingest.pictures.formats import reason_against
from ris.ingest.sources.folders import (
    COMMENT,
    DRAWN,
    EDITED,
    FOLDER,
    HIDDEN,
    LINK,
    NOT_A_PICTURE,
    SPECIAL,
    THUMBNAILS,
    Found,
)
from ris.ingest.sources.sources import Sources, find_photos
from ris.query.sheet import save_picture

CASES = ROOT / "tests" / "cases"


def make(folder: Path, *names: str) -> Path:
    """Empty files, with their folders."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def picture(path: Path, form: str = "PNG", size: int = 64) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((size, size), 60).convert("RGB").save(path, form)
    return path


def names(*arguments: object) -> list[str]:
    return [p.name for p in find_photos([str(a) for a in arguments])]


def outcomes(*arguments: object, store: Path | None = None) -> Counter[str]:
    """How many files come to what end."""
    counts: Counter[str] = Counter()
    for found in Sources([str(a) for a in arguments], store):
        try:
            counts[found.error or reason_against(found) or "photo"] += found.files
        except ImageError as e:
            counts[e.reason] += found.files
    return counts


# -- folders ----------------------------------------------------------------------------------


def test_every_file_of_a_folder_is_given_out_once(tmp_path):
    work = tmp_path / "work"
    make(work, "b.jpg", "a.PNG", "sub/c.webp", "notes.md", "sub/c.json", "sub/c.xmp", "clip.mp4")
    make(work, ".hidden/d.jpg", ".hidden/deep/e.jpg", ".e.jpg", "sub/.DS_Store")
    make(work, "@eaDir/a.jpg", "#recycle/x/y.jpg", "$RECYCLE.BIN/z.jpg", "sub/Thumbs/1.jpg")
    make(work, "sub/.thumbnails/2.jpg", "@Recycle/3.jpg", "empty/.keep")
    (work / "nowhere.jpg").symlink_to("gone.jpg")
    (work / "linked").symlink_to(work / "sub", target_is_directory=True)
    (work / "also.jpg").symlink_to(work / "b.jpg")
    (work / "circle").symlink_to("circle")
    os.mkfifo(work / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(work / "socket"))
        counts = outcomes(work)
    everything = sum(
        len(files) + sum(Path(where, f).is_symlink() for f in folders)
        for where, folders, files in os.walk(work)
    )
    assert counts.total() == everything
    assert counts == {
        "photo": 4,  # by their names; that they are empty shows when they are read
        NOT_A_PICTURE: 4,
        HIDDEN: 5,
        THUMBNAILS: 6,
        LINK: 1,
        SPECIAL: 2,
        "No such file or directory": 1,
        "Too many levels of symbolic links": 1,
    }
    assert Sources(work).count() == everything


def test_a_folder_comes_in_the_order_of_names_and_files_before_sub_folders(tmp_path):
    make(tmp_path, "b.jpg", "a.jpg", "sub/c.jpg", "sub/deep/e.jpg", "sub/d.jpg", "a/f.jpg")
    assert names(tmp_path) == ["a.jpg", "b.jpg", "f.jpg", "c.jpg", "d.jpg", "e.jpg"]


def test_stores_are_never_searched(tmp_path):
    make(tmp_path, "a.jpg", ".ris/faces/x.jpg", "sub/.ris/y.jpg", "mine/faces/z.jpg", "other/w.jpg")
    assert outcomes(tmp_path, store=tmp_path / "mine") == {"photo": 2}


def test_a_folder_that_cannot_be_read_is_an_error_of_its_own(tmp_path):
    """One whose path is longer than the system takes, as even root may read all others."""
    work = make(tmp_path, "a.jpg", "z/b.jpg")
    here, depth = os.open(work, os.O_RDONLY), 0
    while depth * 201 < 4200:
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, depth = below, depth + 1
    os.close(here)
    counts = outcomes(work)
    assert counts == {"photo": 2, "the folder cannot be read: File name too long": 1}


def test_folders_deeper_than_pythons_stack(tmp_path):
    deep = tmp_path
    for _ in range(1100):
        deep = deep / "d"
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1100):
            os.mkdir("d")
            os.chdir("d")
        Path("a.jpg").touch()
    finally:
        os.chdir(here)
    assert list(find_photos(tmp_path)) == [deep / "a.jpg"]
    here = os.getcwd()
    try:  # pytest cannot take it away again
        os.chdir(deep)
        os.remove("a.jpg")
        for _ in range(1100):
            os.chdir("..")
            os.rmdir("d")
    finally:
        os.chdir(here)


def test_memory_does_not_grow_with_the_folder(tmp_path):
    def peak(folders: int) -> int:
        work = tmp_path / str(folders)
        for i in range(folders):
            make(work / f"{i:03d}", *(f"{k:04d}.jpg" for k in range(100)))
        return peak_of(work, 100 * folders)

    peak(1)
    assert peak(50) < peak(5) + 50_000


def peak_of(argument: Path, files: int) -> int:
    """Bytes that going through an argument's files takes."""
    tracemalloc.start()
    try:
        assert sum(1 for _ in Sources(argument)) == files
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# -- what is a photo --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("JPEG", "noname"),
        ("JPEG", "PHOTO.JPG_large"),
        ("JPEG", "list.txt"),
        ("PNG", "a.dat"),
        ("WEBP", "a.JPEG"),
        ("GIF", "a"),
        ("BMP", "A.BMP"),
        ("TIFF", "scan"),
        ("PPM", "a.pnm"),
        ("JPEG2000", "a.jpx"),
        ("AVIF", "a.avif"),
        ("AVIF", "IMG_1"),
    ],
)
def test_photos_are_told_by_their_first_bytes(tmp_path, form, name):
    picture(tmp_path / "photos" / name, form)
    make(tmp_path / "photos", "a.json", "a.xmp", "a.mp4", "a.txt")
    assert names(tmp_path / "photos") == [name]
    assert names(tmp_path / "photos" / name) == [name]


def test_an_mpo_and_the_cases_are_photos(tmp_path):
    two = [Image.effect_noise((64, 64), 60).convert("RGB") for _ in range(2)]
    two[0].save(tmp_path / "a.MPO", "MPO", save_all=True, append_images=two[1:])
    shutil.copy(CASES / "photo.avif", tmp_path / "b")
    assert names(tmp_path) == ["a.MPO", "b"]


def test_a_picture_by_its_name_alone_fails_and_is_not_passed_over(tmp_path):
    (tmp_path / "a.HEIC").write_bytes(b"nothing of the kind")
    (tmp_path / "movie.mp4").write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom")
    assert outcomes(tmp_path) == {"photo": 1, NOT_A_PICTURE: 1}
    assert outcomes(tmp_path / "movie.mp4") == {"photo": 1}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("size", [32, 600])
def test_our_own_edits_are_left_out(tmp_path, suffix, size):
    noise = Image.effect_noise((size, size), 90).convert("RGB")
    facts = {"features": {"eyes": 1.0}, "text": "x" * 20_000}
    Edited(noise, facts).save(tmp_path / f"out{suffix}")
    Edited(noise, {}).save(tmp_path / f"unmarked{suffix}", mark=False)
    assert outcomes(tmp_path) == {EDITED: 1, "photo": 1}
    assert names(tmp_path) == [f"unmarked{suffix}"]


@pytest.mark.parametrize("suffix", [".png", ".gif", ".webp"])
def test_our_own_animations_are_left_out(tmp_path, suffix):
    frames = [Image.effect_noise((300, 300), 90).convert("RGB") for _ in range(3)]
    Edited(frames[0], {"features": {}}, frames).save(tmp_path / f"out{suffix}")
    assert outcomes(tmp_path) == {EDITED: 1}
    with pytest.raises(InputError, match=r"no photos in .* \(1 x edited by RIS\)"):
        find_photos(tmp_path / f"out{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_our_own_sheets_and_figures_are_left_out(tmp_path, suffix):
    save_picture(Image.effect_noise((900, 900), 90).convert("RGB"), tmp_path / f"sheet{suffix}")
    assert outcomes(tmp_path) == {DRAWN: 1}
    write_plot(tmp_path / "plot.png", lambda figure: None)
    assert outcomes(tmp_path) == {DRAWN: 2}


# -- arguments --------------------------------------------------------------------------------


def test_sources_without_photos_are_explained(tmp_path):
    make(tmp_path, "none/.gitkeep", "none/a.json", "none/b.json", "empty/x")
    (tmp_path / "empty" / "x").unlink()
    with pytest.raises(InputError, match=r"no photos in \S+none \(2 x not a picture, 1 x hidden\)"):
        find_photos(tmp_path / "none")
    with pytest.raises(InputError, match=r"no photos in \S+empty \(nothing is there\)"):
        find_photos(tmp_path / "empty")
    with pytest.raises(InputError, match=r"no photos in \S+\*.xyz"):
        find_photos(tmp_path / "*.xyz")
    with pytest.raises(InputError, match="no file or folder"):
        find_photos(tmp_path / "absent")
    with pytest.raises(InputError, match="no photos named"):
        find_photos([])
    (tmp_path / "nowhere").symlink_to("gone")
    with pytest.raises(InputError, match="nowhere cannot be read: No such file"):
        find_photos(tmp_path / "nowhere")


def test_pipes_and_devices_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe is a pipe, socket or device"):
        find_photos(tmp_path / "pipe")
    with pytest.raises(InputError, match="/dev/zero is a pipe, socket or device"):
        find_photos("/dev/zero")
    (tmp_path / "list.txt").write_text("pipe\n/dev/zero\n")
    assert outcomes(tmp_path / "list.txt") == {"a pipe, socket or device, no file": 2}


def test_several_arguments_and_each_folder_once(tmp_path):
    make(tmp_path, "a/1.jpg", "a/in/2.jpg", "b/3.jpg", "4.jpg", "a/n.json")
    (tmp_path / "link").symlink_to("a", target_is_directory=True)
    a, b = tmp_path / "a", tmp_path / "b"
    assert names(b, tmp_path / "4.jpg", a) == ["3.jpg", "4.jpg", "1.jpg", "2.jpg"]
    for arguments in [(a, a / "in"), (a / "in", a), (a, a), (a, tmp_path / "link")]:
        assert outcomes(*arguments) == {"photo": 2, NOT_A_PICTURE: 1}, arguments
    with pytest.raises(InputError, match="no file or folder"):
        Sources([a, tmp_path / "c"])


def test_a_message_names_three_of_many(tmp_path):
    make(tmp_path, *(f"{i}/a.json" for i in range(9)))
    with pytest.raises(InputError, match=r"no photos in \S+0 \S+1 \S+2 and 6 more \(9 x not a"):
        find_photos(sorted(tmp_path.iterdir()))


def test_a_folder_named_itself_is_searched_whatever_its_name(tmp_path):
    make(tmp_path, "@eaDir/a.jpg", ".hidden/b.jpg")
    assert names(tmp_path / "@eaDir", tmp_path / ".hidden") == ["a.jpg", "b.jpg"]


TREE = ("a.jpg", "b.png", "sub/c.jpg", "sub/deep/d.jpg", "sub/e.txt", ".h/f.jpg", "sub/.g.jpg",
        "x[1].jpg", "x1.jpg", "other/deep/h.jpg", "other/i.jpg")  # fmt: skip


@pytest.mark.parametrize(
    "pattern",
    ["*.jpg", "*", "**/*.jpg", "**", "**/deep/*", "sub/*", "s?b/*.jpg", "*/deep/*.jpg",
     "x[[]1].jpg", "**/**/*.jpg", "[a-b].*", ".h/*", "sub/.*", "*/c.jpg", "./*.jpg",
     "sub/../*.jpg", "**/nothing"],
)  # fmt: skip
@pytest.mark.parametrize("absolute", [False, True])
def test_patterns_match_what_the_standard_librarys_glob_matches(
    tmp_path, monkeypatch, pattern, absolute
):
    make(tmp_path, *TREE)
    monkeypatch.chdir(tmp_path)
    pattern = str(tmp_path / pattern) if absolute else pattern
    found = list(Sources(pattern))
    expected = {p for p in glob.glob(pattern, recursive=True) if os.path.isfile(p)}
    files = [f.path for f in found if not f.left_out]
    assert {*files} == {*map(Path, expected)}
    assert len({*files}) == len(files) or pattern.count("**") > 1
    assert files == [f.path for f in Sources(pattern) if not f.left_out]


def test_what_a_pattern_comes_upon_is_counted_too(tmp_path):
    make(tmp_path, "a.jpg", "sub/b.jpg", "@eaDir/c.jpg", "notes", "sub/@eaDir/d.jpg", "sub/e.jpg")
    (tmp_path / "link").symlink_to("sub", target_is_directory=True)
    os.mkfifo(tmp_path / "pipe")
    assert outcomes(tmp_path / "*") == {"photo": 1, NOT_A_PICTURE: 1, FOLDER: 3, SPECIAL: 1}
    found = outcomes(tmp_path / "**" / "*.jpg")
    assert found == {"photo": 3, THUMBNAILS: 2, LINK: 1}


def test_a_name_with_brackets_is_that_file(tmp_path):
    make(tmp_path, "x[1].jpg", "x1.jpg")
    assert names(tmp_path / "x[1].jpg") == ["x[1].jpg"]


# -- lists ------------------------------------------------------------------------------------


def listed(folder: Path, content: bytes) -> list[str]:
    """Names that a list leads to, relative to its folder."""
    (folder / "list.txt").write_bytes(content)
    return [str(f.path.relative_to(folder)) for f in Sources(folder / "list.txt")]


def test_a_list_with_a_byte_order_mark(tmp_path):
    shutil.copy(CASES / "list_bom.txt", tmp_path)
    wanted = ["seed000100.jpg", "é name.jpg"]
    make(tmp_path, *wanted)
    assert names(tmp_path / "list_bom.txt") == wanted
    assert all(path.exists() for path in find_photos(tmp_path / "list_bom.txt"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_line_ends(tmp_path, encoding, end):
    wanted = ["a b.jpg", "sub/ж.jpg", "é.png"]
    make(tmp_path, *wanted)
    text = end.join([*wanted, "", "  ", wanted[0]])
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    assert listed(tmp_path, (mark + text).encode(encoding)) == [*wanted, wanted[0]]


def test_names_between_nul_bytes(tmp_path):
    wanted = ["a.jpg", "two\nlines.jpg", "ends in blank ", "#1.jpg"]
    make(tmp_path, *wanted)
    assert listed(tmp_path, "\0".join(wanted).encode() + b"\0") == wanted


def test_blanks_at_the_ends_are_the_names_where_it_has_them(tmp_path):
    make(tmp_path, "a.jpg", "b.jpg ", " c.jpg", "d.jpg", "d.jpg ", "e.jpg\r")
    lines = b"a.jpg  \n\tb.jpg\nb.jpg \n c.jpg\nd.jpg\nd.jpg \ne.jpg\r\n"
    assert listed(tmp_path, lines) == [
        "a.jpg", "b.jpg", "b.jpg ", " c.jpg", "d.jpg", "d.jpg ", "e.jpg\r",
    ]  # fmt: skip


def test_comments_names_of_other_systems_and_bytes(tmp_path):
    composed = unicodedata.normalize("NFC", "zoë.jpg")
    make(tmp_path, "#1.jpg", composed, "sub/w.jpg")
    raw = os.fsencode(tmp_path) + b"/\xff.jpg"
    with open(raw, "wb"):
        pass
    lines = ["# all of them", "#1.jpg", unicodedata.normalize("NFD", composed), "sub\\w.jpg"]
    found = listed(tmp_path, "\n".join(lines).encode() + b"\n\xff.jpg")
    assert found == ["# all of them", "#1.jpg", composed, "sub/w.jpg", "\udcff.jpg"]
    assert outcomes(tmp_path / "list.txt") == {COMMENT: 1, "photo": 4}


def test_entries_that_are_no_files_are_failures(tmp_path):
    make(tmp_path, "sub/a.jpg", "notes.md")
    listed(tmp_path, b"gone.jpg\nsub\nnotes.md\n" + b"x" * 5000 + b".jpg\n")
    assert outcomes(tmp_path / "list.txt") == {
        "No such file or directory": 1,
        "a folder: name it itself to search it": 1,
        "photo": 1,  # which fails when it is decoded
        "File name too long": 1,
    }
    listed(tmp_path, "a\0b.jpg\n".encode("utf-16"))
    assert outcomes(tmp_path / "list.txt") == {"the name has a NUL in it": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfea\0b", "is not a list of paths: its utf-16-le is damaged"),
        (b"x" * 100_000, "a line is over 64 KB long"),
        ("one.jpg\ntwo.jpg\n".encode("utf-16-le"), "looks like UTF-16 without the mark"),
        (b"\n \n", r"\(nothing is there\)"),
    ],
)
def test_what_is_no_list_is_explained(tmp_path, content, message):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        find_photos(tmp_path / "list.txt")


def test_a_list_on_standard_input(tmp_path, monkeypatch):
    make(tmp_path, "a.jpg", "sub/b.jpg")
    monkeypatch.chdir(tmp_path)
    stream = io.TextIOWrapper(io.BytesIO(b"./a.jpg\0./sub/b.jpg\0"))
    monkeypatch.setattr(sys, "stdin", stream)
    sources = Sources("-")
    assert sources.first() == Path("a.jpg")
    assert list(sources) == [Found(Path("a.jpg"), True), Found(Path("sub/b.jpg"), True)]


def test_standard_input_that_is_closed_is_explained(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input is closed"):
        find_photos("-")


def test_an_empty_text_is_not_the_working_folder(tmp_path, monkeypatch):
    make(tmp_path, "a.jpg")
    monkeypatch.chdir(tmp_path)
    for arguments in ("", ["a.jpg", ""]):
        with pytest.raises(InputError, match="an empty text names no photos"):
            find_photos(arguments)


@pytest.mark.parametrize("name", ["a[1.jpg", "a]1[.jpg", "[]"])
def test_a_bracket_that_is_not_closed_makes_no_pattern(tmp_path, name):
    with pytest.raises(InputError, match="no file or folder"):
        find_photos(tmp_path / name)


def test_a_long_list_takes_no_memory(tmp_path):
    lines = b"".join(b"folder/%07d.jpg\n" % i for i in range(30_000))
    (tmp_path / "list.txt").write_bytes(lines)
    # Python's own table of the names of files grows now and then, whatever reads them
    assert min(peak_of(tmp_path / "list.txt", 30_000) for _ in range(3)) < 1_500_000


# -- tables as lists --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "file,smiling\na.jpg,1\nsub/b.jpg,0\n"),
        ("t.csv", "\ufeffperson;photo\r\nAnn;a.jpg\r\nBob;sub/b.jpg\r\n"),
        ("t.tsv", "name\timage\nAnn\ta.jpg\nBob\t./sub/b.jpg\n"),
        ("t.csv", "file\na.jpg\nsub/b.jpg\n"),
        ("t.csv", "a.jpg\nsub/b.jpg\n"),
        ("t.csv", '"file","say"\n"a.jpg","x, y"\n"sub/b.jpg",""\n'),
    ],
)
def test_a_table_is_a_list_by_its_column_of_files(tmp_path, name, content):
    make(tmp_path, "a.jpg", "sub/b.jpg")
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert names(tmp_path / name) == ["a.jpg", "b.jpg"]


def test_a_table_whose_files_are_gone_gives_failures_and_one_of_no_files_an_error(tmp_path):
    (tmp_path / "t.csv").write_text("person,file\nAnn,a.jpg\n")
    assert outcomes(tmp_path / "t.csv") == {"No such file or directory": 1}
    (tmp_path / "u.csv").write_text("person,age\nAnn,31\n")
    with pytest.raises(InputError, match=r"u.csv is no list of photos: .* \(person, age\)"):
        find_photos(tmp_path / "u.csv")


def test_a_table_with_names_longer_than_any_file_has_is_still_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff" + bytes(20))
    table = tmp_path / "list.csv"
    table.write_text(f"file,word\na.jpg,x\n{'b' * 300}.jpg,y\n")
    assert next(find_photos(table)) == tmp_path / "a.jpg"
