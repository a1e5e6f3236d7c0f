"""What an ingest says of every file, its exit status, and where failures are found later."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from ris.data.failures import FILE, Failure, read_failures, update_failures
from ris.data.store import Store
from ris.data.views import run_sql
from ris.edit.provenance import Edited
from ris.errors import InputError, QueryError
from ris.ingest.run import CollectionReport, ingest_collection
from ris.ingest.sampling import sample_w


@pytest.fixture
def work(tmp_path: Path, faces: Path) -> Path:
    """A folder with ``photos/``: four faces and their latents."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for photo in sorted(faces.glob("*.jpg"))[:4]:
        shutil.copy(photo, photos)
    shutil.copy(faces / "latents.parquet", photos)
    return tmp_path


@pytest.fixture
def mixed(work: Path) -> Path:
    """Besides them one file of every kind that a folder may hold."""
    photos = work / "photos"
    shutil.copy(photos / "seed000100.jpg", photos / "copy.jpg")
    (photos / "seed000101.jpg").rename(photos / "no suffix")
    (photos / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (photos / "seed000102.json").write_text("{}")
    (photos / "@eaDir").mkdir()
    (photos / "@eaDir" / "thumb.jpg").touch()
    (photos / ".DS_Store").touch()
    edited = Image.open(photos / "seed000100.jpg")
    Edited(edited, {"features": {"eyes": 1}}).save(photos / "edited.jpg")
    os.mkfifo(photos / "pipe")
    return work


def run(work: Path, models, *sources: str, **options) -> CollectionReport:
    names = [str(work / source) for source in sources or ("photos",)]
    return ingest_collection(names, work / ".ris", models, **options)


LEFT_OUT = {
    "edited by RIS": 1,
    "hidden": 1,
    "in a thumbnail or recycle folder": 1,
    "pipe, socket or device": 1,
}


def test_every_file_is_counted_once(mixed, models):
    report = run(mixed, models).report
    assert (report.ingested, report.photos, report.skipped, report.failed) == (4, 4, 1, 1)
    assert report.not_pictures == 2
    assert report.left_out == LEFT_OUT
    assert report.files == sum(len(files) for _, _, files in os.walk(mixed / "photos"))
    again = run(mixed, models).report
    assert (again.ingested, again.photos, again.skipped, again.failed) == (0, 0, 5, 1)
    assert again.files == report.files


def test_the_counts_in_text_and_json(mixed, ris):
    status, out, err = ris("ingest", "photos")
    assert (status, err) == (0, "")
    assert out.startswith("4 faces ingested, 1 skipped (already there), 1 failed")
    assert (
        "6 other files: 2 x not a picture, 1 x edited by RIS, 1 x hidden, "
        "1 x in a thumbnail or recycle folder, 1 x pipe, socket or device"
    ) in out.splitlines()
    report = json.loads(ris("ingest", "photos", "--json")[1])
    names = ("ingested", "photos", "skipped", "failed", "not_pictures", "left_out", "files")
    assert [report[name] for name in names] == [0, 0, 5, 1, 2, LEFT_OUT, 12]


def test_rows_do_not_depend_on_what_lies_beside_the_photos(work, models):
    first = run(work, models).store
    (work / "photos" / "a.json").touch()
    (work / "photos" / "@eaDir").mkdir()
    second = ingest_collection(work / "photos", work / "two" / ".ris", models).store
    for file in sorted((first.folder / "faces").iterdir()):
        other = second.folder / "faces" / file.name
        rows = [b.drop_columns(["path"]) for b in first.batches()]
        assert rows == [b.drop_columns(["path"]) for b in second.batches()]
        assert other.exists()


def test_files_that_are_no_photos_take_no_latent(work, models, generator):
    photos = work / "photos"
    (photos / "latents.parquet").unlink()
    (photos / "a first.json").touch()
    (photos / "seed000100.xmp").touch()
    Edited(Image.new("RGB", (64, 64)), {}).save(photos / "edit.png")
    codes = np.stack([sample_w(generator, 100 + i).numpy() for i in range(4)])
    np.save(work / "codes.npy", codes)
    store = run(work, models, latents=work / "codes.npy").store
    for batch in store.batches(["id", "path"]):
        for face, path in zip(*batch.to_pydict().values(), strict=True):
            number = int(Path(path).stem[4:]) - 100
            assert np.allclose(store.face(face).w[0], codes[number])
    listed = work / "list.txt"
    listed.write_text("photos/gone.jpg\nphotos/seed000103.jpg\n")
    np.save(work / "two.npy", codes[:2])
    again = ingest_collection(listed, work / "b" / ".ris", models, latents=work / "two.npy")
    face = next(again.store.batches(["id"])).column(0)[0].as_py()
    assert np.allclose(again.store.face(face).w[0], codes[1])


# -- several arguments, each photo once -------------------------------------------------------


def test_what_is_named_twice_is_handled_once(work, models):
    photos = work / "photos"
    (photos / "bad.jpg").write_bytes(b"bad")
    (work / "list.txt").write_text("photos/bad.jpg\nphotos/seed000100.jpg\nphotos/gone.jpg\n" * 2)
    one = "photos/seed000103.jpg"
    report = run(work, models, one, "photos", "photos", one, "list.txt").report
    assert (report.ingested, report.photos, report.skipped, report.failed) == (4, 4, 7, 2)
    assert sorted(Path(f.path).name for f in report.failures) == ["bad.jpg", "gone.jpg"]


def test_photos_of_a_shell_pattern(ris, work):
    words = [p.relative_to(work) for p in sorted((work / "photos").glob("*.jpg"))]
    status, out, _ = ris("ingest", *words)
    assert status == 0
    assert out.startswith("4 faces ingested, 0 skipped (already there), 0 failed")
    assert next(Store.open(work / ".ris").batches(["inverter"])).column(0)[0].as_py() == "given"


# -- exit status ------------------------------------------------------------------------------


def test_the_exit_status_says_whether_a_photo_that_was_named_is_in_the_store(ris, work):
    photos = work / "photos"
    (photos / "one.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (photos / "text.jpg").write_text("hello")
    good = "photos/seed000100.jpg"
    status, out, err = ris("ingest", "photos/one.heic")
    assert status == 1
    assert err.startswith("ris: no face from photos/one.heic: ")
    assert err.count("\n") == 1 and "1 failed" in out
    assert ris("ingest", good).status == 0
    assert ris("ingest", good).status == 0, "it is there already"
    assert ris("ingest", good, "photos/one.heic").status == 0
    status, _, err = ris("ingest", "photos/one.heic", "photos/text.jpg", "photos/text.jpg")
    assert status == 1
    assert err == (
        "ris: no face from photos/one.heic photos/text.jpg photos/text.jpg: 2 photos failed, "
        "`ris failures` lists them\n"
    )
    status, out, err = ris("ingest", "photos/one.heic", "--json")
    assert (status, json.loads(out)["failed"]) == (1, 1)


def test_a_folder_without_photos_names_what_is_there(ris, tmp_path):
    (tmp_path / "f" / "@eaDir").mkdir(parents=True)
    (tmp_path / "f" / "a.mp4").touch()
    (tmp_path / "f" / "@eaDir" / "a.jpg").touch()
    status, _, err = ris("ingest", "f")
    assert status == 1
    assert err == (
        "ris: no photos in f (1 x not a picture, 1 x in a thumbnail or recycle folder)\n"
    )
    assert not (tmp_path / ".ris").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("nowhere/",),
        ("photos/seed000100.jpg", "nowhere.jpg"),
        (),
        ("photos", "--metadata", "no.csv"),
        ("photos", "--latents", "no.npy"),
        ("photos", "--generator", "no.pt"),
        ("photos", "--catalog", "no.safetensors"),
        ("photos", "--inverter", "no.pt"),
        ("photos", "--inverter", "other"),
        ("photos", "--nonsense"),
        ("photos/seed000100.jpg", "--prune"),
    ],
)
def test_simple_mistakes_are_told_before_anything_heavy_is_loaded(work, words):
    code = (
        "import sys\nfrom ris import cli\n"
        "try: cli.main()\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "ingest", *words],
        cwd=work,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert done.stderr.splitlines()[-1] == "False"
    assert not (work / ".ris").exists()


# -- failures, later --------------------------------------------------------------------------


def test_failures_as_a_list_in_json_and_in_sql(ris, mixed):
    (mixed / "photos" / "bad\tname\n.jpg").write_bytes(b"")
    assert ris("ingest", "photos").status == 0
    status, out, _ = ris("failures")
    assert status == 0
    assert out.splitlines()[0] == "2 photos gave no face:"
    assert "  1 x read: the file is empty" in out.splitlines()
    assert r"read    photos/bad\tname\n.jpg: the file is empty" in out.splitlines()
    listed = json.loads(ris("failures", "--json")[1])
    assert [f["path"] for f in listed] == ["photos/bad\tname\n.jpg", "photos/damaged.png"]
    assert set(listed[0]) == {"path", "stage", "reason"}
    assert json.loads(ris("failures", "--json", "--stage", "decode")[1]) == listed[1:]
    rows = json.loads(ris("sql", "select * from failures order by path", "--json")[1])
    assert rows == listed
    counts = "select stage, count(*) as n from failures group by stage order by stage"
    assert json.loads(ris("sql", counts, "--json")[1]) == [
        {"stage": "decode", "n": 1},
        {"stage": "read", "n": 1},
    ]


def test_a_store_without_failures_has_an_empty_view(ris, filled):
    assert read_failures(filled) == []
    assert run_sql(filled, "select * from failures") == (["path", "stage", "reason"], [])
    assert ris("failures", "--store", filled.folder) == (0, "0 photos gave no face\n", "")
    with pytest.raises(QueryError, match="no_such"):
        run_sql(filled, "select * from no_such")


def test_whatever_ends_a_failure_takes_it_off_the_list(work, models):
    photos = work / "photos"
    good = (photos / "seed000100.jpg").read_bytes()
    for name in ("copy", "read", "gone", "edited", "other"):
        (photos / f"{name}.jpg").write_bytes(b"")
    store = run(work, models).store
    assert len(read_failures(store)) == 5
    (photos / "copy.jpg").write_bytes(good)  # skipped
    shutil.copy(work / "photos" / "seed000101.jpg", photos / "read.jpg")
    Image.open(photos / "seed000102.jpg").resize((250, 250)).save(photos / "read.jpg")  # a face
    (photos / "gone.jpg").unlink()
    Edited(Image.new("RGB", (64, 64)), {}).save(photos / "edited.jpg")  # left out
    run(work, models)
    assert [f.path for f in read_failures(store)] == ["photos/other.jpg"]


def test_a_failure_stays_while_its_file_does_whatever_else_is_ingested(ris, work):
    names = [b"latin\xe9.jpg", b"\xff\n.jpg"]
    folder = os.fsencode(work / "odd")
    os.mkdir(folder)
    good = (work / "photos" / "seed000100.jpg").read_bytes()
    for name in names:
        try:
            Path(os.fsdecode(folder + b"/" + name)).write_bytes(good)
        except OSError:
            pytest.skip("this file system takes no such names")
    (work / "odd" / "link.jpg").symlink_to("nowhere.jpg")
    assert ris("ingest", "odd").status == 1
    kept = json.loads(ris("failures", "--json")[1])
    assert len(kept) == 3
    assert ris("ingest", "photos").status == 0
    assert json.loads(ris("failures", "--json")[1]) == kept
    shutil.rmtree(work / "odd")
    assert ris("ingest", "photos").status == 0
    assert json.loads(ris("failures", "--json")[1]) == []


def test_a_folder_that_could_not_be_read_is_a_failure_until_it_can(work, models, filled):
    shutil.copytree(filled.folder, work / ".ris")
    store = Store.open(work / ".ris")
    update_failures(store, [Failure("photos", "read", "the folder cannot be read")], [])
    run(work, models)
    assert read_failures(store) == []


def test_a_damaged_list_of_failures_is_one_line_and_hides_no_face(ris, mixed):
    assert ris("ingest", "photos").status == 0
    path = mixed / ".ris" / FILE
    good = path.read_bytes()
    for damage in (b"", b"PAR1", good[: len(good) // 2], good[:60] + b"\xff" * 8 + good[68:]):
        path.write_bytes(damage)
        for words in (("failures",), ("sql", "select * from failures")):
            status, _, err = ris(*words)
            assert status == 1, (damage[:8], words)
            assert "failures.parquet is damaged" in err and "ris verify --drop-damaged" in err
            assert err.count("\n") == 1
        assert ris("sql", "select count(*) from faces").out.endswith("4\n")
        assert "no_such" in ris("sql", "select * from no_such").err
    assert ris("ingest", "photos").status == 0
    assert len(json.loads(ris("failures", "--json")[1])) == 1


# -- prune ------------------------------------------------------------------------------------


def test_prune_takes_several_folders_and_never_an_empty_one(work, models):
    (work / "more").mkdir()
    for name in ("seed000102.jpg", "seed000103.jpg"):
        (work / "photos" / name).rename(work / "more" / name)
    shutil.copy(work / "photos" / "latents.parquet", work / "more")
    assert run(work, models, "photos", "more").report.ingested == 4
    (work / "photos" / "seed000100.jpg").unlink()
    (work / "more" / "seed000102.jpg").unlink()
    done = run(work, models, "photos", "more", prune=True)
    assert (done.pruned, done.faces) == (2, 2)
    (work / "photos" / "seed000101.jpg").unlink()
    with pytest.raises(InputError, match="no photos in"):  # a disk may not be mounted
        run(work, models, "photos", prune=True)
    assert Store.open(work / ".ris").manifest().rows == 2
