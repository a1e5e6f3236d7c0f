"""Collections: opened, made, filled and searched, by one thread and by many."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ris


def test_a_collection_says_what_it_is(here):
    faces = ris.open()
    assert faces.folder == here / ".ris"
    assert (len(faces), bool(faces), repr(faces)) == (12, True, f"<Collection {here / '.ris'}>")
    (here / "below" / "deeper").mkdir(parents=True)
    assert ris.open(".ris").folder == faces.folder


def test_it_is_found_from_the_current_folder_upward(here, monkeypatch):
    (here / "below").mkdir()
    monkeypatch.chdir(here / "below")
    assert ris.open().folder == here / ".ris"
    monkeypatch.chdir(here.parent)
    with pytest.raises(ris.StoreError):
        ris.open()


def test_making_one_twice_is_opening_it_and_other_settings_are_refused(here):
    made = ris.create("new/.ris")
    assert (len(made), len(ris.create("new/.ris")), len(ris.open("new/.ris"))) == (0, 0, 0)
    with pytest.raises(ris.MismatchError):
        ris.create("new/.ris", max_resolution=32)


def test_photos_are_read_with_the_settings_of_the_faces_that_are_there(here):
    made = ris.create("new/.ris", max_resolution=32)
    made.ingest("celebahq/seed000100.jpg")
    again = ris.open("new/.ris")
    assert again.ingest("celebahq/seed000101.jpg").ingested == 1
    assert again.info().max_resolution == 32


def test_an_ingest_brings_indices_up_to_date(here):
    faces = ris.open()
    report = faces.ingest(["face.jpg", Path("celebahq")], latents="celebahq/latents.parquet")
    assert (len(report), report.skipped, report.faces) == (1, 12, 13)
    assert bool(report) and report.held
    assert set(report.indices) == {"eyes", "nose", "mouth", "hair", "pose"}
    eyes = report.to_dict()["indices"]["eyes"]
    assert set(eyes) == {"faces", "built", "appended", "removed"}
    assert eyes["faces"] == report.indices["eyes"].faces == 13
    assert "1 faces ingested, 12 photos skipped" in repr(report)
    assert "metadata" not in report.to_dict()
    assert faces.search(id=report_id(faces), features="eyes").nearest


def report_id(faces: ris.Collection) -> str:
    (row,) = faces.sql("select id from faces where path like '%face.jpg'")
    return str(row["id"])


def test_a_result_has_no_arrays_and_is_what_the_command_prints(here, capsys, monkeypatch):
    from command_line import run_ris

    found = ris.open().search("celebahq/seed000103.jpg", {"eyes": 2, "mouth": 1}, k=3)
    assert (len(found), found.label, found.unsearched) == (3, "eyes:2 mouth:1", 0)
    best = found.nearest[0]
    assert best.path.is_absolute() and best.path.is_file()
    assert (best.face, best.rank) == (0, 1)
    assert best.labels == {"odd": int(best.path.stem[-3:]) % 2}
    words = ("query", "celebahq/seed000103.jpg", "--feature", "eyes:2,mouth", "--k", 3, "--json")
    printed = run_ris(monkeypatch, capsys, *words)
    assert json.loads(printed.out) == json.loads(json.dumps(found.to_dict()))
    assert "3 nearest" in repr(found)
    assert repr(best).startswith("Match(rank=1, id='")


def test_an_id_is_never_read_as_a_file_and_a_text_is_never_an_id(here):
    faces = ris.open()
    face = next(faces.faces()).id
    assert faces.search(id=face, features="eyes").id == face
    for wrong in ("celebahq/seed000100.jpg", str(here / "face.jpg"), "nothing", ""):
        with pytest.raises(ris.RisError):
            faces.search(id=wrong, features="eyes")
    with pytest.raises(ris.RisError, match="no photo"):
        faces.search(face, "eyes")
    with pytest.raises(ris.InputError):
        faces.search("face.jpg", "eyes", id=face)
    with pytest.raises(ris.InputError):
        faces.search(features="eyes")


def test_several_queries_fail_each_for_itself(here):
    faces = ris.open()
    face = next(faces.faces()).id
    first, second, third = faces.search_all(
        [ris.FaceId(face), Path("gone.jpg"), ris.FaceId("zz")], "eyes", k=2
    )
    assert isinstance(first, ris.SearchResult) and first.id == face
    assert isinstance(second, ris.RisError) and isinstance(third, ris.QueryError)


def test_pixels_bytes_and_paths_are_one_photo(here):
    faces, path = ris.open(), here / "face.jpg"
    by_path = faces.search(path, "eyes", k=3)
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    for photo in (str(path), picture, np.asarray(picture), path.read_bytes()):
        found = faces.search(photo, "eyes", k=3)
        assert found.to_dict()["nearest"] == by_path.to_dict()["nearest"]
    assert faces.search(picture, "eyes").path is None
    assert by_path.path == path
    stored = (here / "celebahq" / "seed000103.jpg").read_bytes()
    assert faces.search(stored, "eyes").id is not None
    for wrong in (b"no picture", np.zeros((4, 4), np.uint8), np.zeros((64, 64, 3)), 7):
        with pytest.raises(ris.InputError):
            faces.search(wrong, "eyes")  # type: ignore[arg-type]


def test_a_face_of_a_group_is_named_by_its_number(here):
    photos = sorted((here / "celebahq").glob("*.jpg"))
    group = Image.new("RGB", (760, 440), "grey")
    for photo, (x, size) in zip(photos, ((20, 400), (440, 300)), strict=False):
        with Image.open(photo) as opened:
            group.paste(opened.resize((size, size)), (x, 20))
    group.save("group.png")
    faces = ris.open()
    first, second = (faces.search("group.png", "hair", face=n, k=12) for n in range(2))
    assert first.nearest[0].path.name == photos[0].name
    assert second.nearest[0].path.name == photos[1].name
    with pytest.raises(ris.InputError, match="the last one is 1"):
        faces.search(group, "hair", face=2)
    with pytest.raises(ris.InputError):
        faces.search(id=first.nearest[0].id, features="hair", face=1)
    every = ris.open(faces="all")
    assert every.ingest("group.png").ingested == 2
    stored = every.search("group.png", "hair", face=1)
    assert stored.id is not None and stored.id.endswith("-1")
    match = next(m for m in every.search(id=second.nearest[0].id, features="hair").nearest)
    assert match.face in (0, 1)


def test_a_transfer_reads_photos_as_the_collections_were(here):
    made = ris.create("new/.ris", max_resolution=32)
    made.ingest("celebahq/seed000100.jpg")
    again = ris.Collection.at("new/.ris")  # as the command line does
    assert again.transfer("face.jpg", ris.Seed(7), "hair", size=64).picture.size == (64, 64)
    with pytest.raises(ris.MismatchError):
        again.ingest("celebahq/seed000101.jpg")
    assert made.ingest("celebahq/seed000101.jpg").ingested == 1


def test_a_missing_index_is_built_once_by_whoever_needs_it(here, tmp_path):
    import shutil

    shutil.rmtree(here / ".ris" / "index")
    faces = ris.open()
    face = next(faces.faces()).id
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: faces.search(id=face, features="nose"), range(4)))
    assert len({json.dumps(f.to_dict()) for f in found}) == 1


def test_many_threads_search_while_one_ingests_and_removes(here):
    faces = ris.open()
    ids = [face.id for face in faces.faces()]
    new = here / "new"
    new.mkdir()
    photos = sorted(here.parent.glob("*/celebahq/*.jpg"))
    assert photos
    stop = False
    seen = 0

    def search(number: int) -> int:
        done = 0
        while not stop or not done:
            found = faces.search(id=ids[number % 6], features=["eyes", "mouth"], k=20)
            assert found.id == ids[number % 6]
            assert 9 <= len(found) <= 12
            assert len({m.id for m in found.nearest}) == len(found)
            done += 1
        return done

    with ThreadPoolExecutor(5) as pool:
        searches = [pool.submit(search, n) for n in range(4)]
        try:
            faces.remove(ids[10:])
            assert faces.ingest("celebahq").ingested == 2
            report = faces.ingest("face.jpg", latents=None)
            assert report.ingested == 1
        finally:
            stop = True
        seen = sum(s.result() for s in searches)
    assert seen >= 4
    assert len(faces) == 13


def test_faces_come_one_by_one(here):
    faces = ris.open()
    every = list(faces.faces())
    assert len(every) == 12
    assert [f.path.name for f in every] == [f"seed{100 + i:06d}.jpg" for i in range(12)]
    assert every[0].w is None
    assert json.dumps(every[0].to_dict())
    (one,) = faces.faces(f"id = '{every[3].id}'", vectors=True)
    assert one == every[3]
    assert one.w is not None and one.sigma is not None and one.scores is not None
    assert one.w.dtype == one.sigma.dtype == np.float32
    assert len(one.scores) == 8
    with pytest.raises(ris.QueryError):
        next(faces.faces("colour = 'red'"))


def test_what_is_in_it_is_plain_values(here):
    faces = ris.open()
    info = faces.info()
    assert (len(info), info.indices["eyes"].current) == (12, True)
    assert json.loads(json.dumps(info.to_dict())) == info.to_dict()
    rows = faces.sql("select id, id, path from faces limit 1")
    assert rows.columns == ["id", "id", "path"]
    assert list(rows[0]) == ["id", "id_1", "path"]
    found = faces.verify()
    assert found and not found.missing_photos
    assert json.dumps(found.to_dict())


def test_removing_takes_ids_or_a_condition(here):
    faces = ris.open()
    ids = [face.id for face in faces.faces()]
    for wrong in ({}, {"ids": []}, {"ids": ids[:1], "where": "true"}):
        with pytest.raises(ris.InputError):
            faces.remove(**wrong)
    with pytest.raises(ris.QueryError):
        faces.remove([ids[0], "zz"])
    assert len(faces) == 12
    assert faces.remove(ids[0][:12]) == 1
    assert faces.remove(where="odd = 1") == 6
    assert len(faces) == 5


def test_an_edit_needs_no_collection(here):
    edited = ris.transfer(ris.Seed(3), ris.Seed(7), "hair", size=64, out="out/edited.png")
    assert edited.picture.size == (64, 64)
    assert edited.facts["sources"] == ["seed:3"]
    assert Image.open("out/edited.png").size == (64, 64)
    with pytest.raises(ris.InputError, match="no photo"):
        ris.transfer("gone.jpg", ris.Seed(7), "hair")
    with pytest.raises(ris.InputError, match="no store"):
        ris.transfer(ris.FaceId("3f2c"), ris.Seed(7), "hair")
    with pytest.raises(ris.InputError, match="written as"):
        ris.transfer(ris.Seed(3), ris.Seed(7), "hair", out="out.bmp")


def test_a_collections_faces_are_edited_by_their_ids(here):
    faces = ris.open()
    ids = [face.id for face in faces.faces()]
    edited = faces.transfer(ris.FaceId(ids[0]), None, "nose", from_query=1, size=64)
    nearest = faces.search(id=ids[0], features="nose", k=1).nearest[0]
    assert edited.facts["references"] == [nearest.path.name]


LIGHT = """
import sys
import ris
loaded = {"numpy", "torch", "pyarrow", "PIL", "duckdb", "faiss", "typer"} & set(sys.modules)
assert not loaded, loaded
assert ris.__version__ and set(ris.__all__) <= set(dir(ris))
for name in ris.__all__:
    getattr(ris, name)
assert "torch" not in sys.modules
try:
    ris.nothing
except AttributeError as e:
    print(e)
"""


def test_importing_it_loads_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "module 'ris' has no attribute 'nothing'\n"


def test_every_name_is_where_checkers_look_for_it():
    import ast

    tree = ast.parse(Path(ris.__file__).read_text())
    (block,) = [
        n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"
    ]
    seen = {a.name: n.module for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    told = {name: f"ris.{module}" for module, names in ris._MODULES.items() for name in names}
    assert seen == told
    assert sorted(ris.__all__) == sorted([*told, "__version__"])


SCRIPT = """
import ris
from typing_extensions import assert_type

faces = ris.open(".ris")
found = faces.search("face.jpg", {"eyes": 2, "mouth": 1}, where="yaw < 10")
best = found.nearest[0]
rank: int = best.rank
reveal_type(best.similarity)
reveal_type(faces.sql("select 1")[0])
reveal_type(faces.transfer("me.jpg", "her.jpg", "hair", alpha=1.3).picture)
faces.serach("face.jpg")
ris.opne()
"""


def test_a_checker_sees_a_users_mistakes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("from typing_extensions import assert_type\n", ""))
    from conftest import ROOT

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(script)],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    lines = done.stdout.splitlines()  # those about ris itself are of packages without types
    notes = [line.partition(": ")[2] for line in lines if line.startswith(str(script))]
    assert 'note: Revealed type is "float"' in notes
    assert any('"Collection" has no attribute "serach"' in note for note in notes), done.stdout
    assert any('"opne"' in note for note in notes), done.stdout
    assert any("PIL.Image.Image" in note for note in notes)
    assert sum(note.startswith("error") for note in notes) == 2, done.stdout


def test_measures_are_plain_values_and_a_table(here):
    result = ris.open().evaluation.trsi(k=2, queries=4)
    assert json.loads(json.dumps(result.to_dict()))["k"] == 2
    assert "RIS soft" in result.table()
