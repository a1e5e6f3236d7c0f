"""Photos with several faces, from ingest to contact sheet; inversion is the first guess only."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ris.data.failures import read_failures
from ris.data.manifest import Manifest
from ris.data.metadata import join_metadata
from ris.data.shards import FaceRow
from ris.data.store import Store
from ris.data.verify import verify
from ris.data.views import run_sql, select_ids
from ris.errors import InputError, MismatchError, QueryError
from ris.index.build import build_indices
from ris.ingest.alignment.cut import cut_again
from ris.ingest.loaded_models import Models
from ris.ingest.run import ingest_collection
from ris.query.query_face import face_of_photo
from ris.query.searcher import search
from ris.query.sheet import LABEL, TILE, TITLE, contact_sheet

PLACES = [(20, 30, 400), (450, 60, 330), (800, 200, 260)]


@pytest.fixture(scope="module")
def quick(models):
    """Models whose inverter takes no steps."""
    return models.with_settings(inverter_kind="optimisation", refine=0)


@pytest.fixture(scope="module")
def three(faces, tmp_path_factory) -> Path:
    """A photo of three faces of falling size."""
    background = np.random.default_rng(0).integers(0, 255, (9, 18, 3)).astype(np.uint8)
    photo = Image.fromarray(background).resize((1100, 520), Image.Resampling.BICUBIC)
    for face, (x, y, size) in zip(sorted(faces.glob("*.jpg")), PLACES, strict=False):
        photo.paste(Image.open(face).resize((size, size), Image.Resampling.LANCZOS), (x, y))
    path = tmp_path_factory.mktemp("three") / "three.png"
    photo.save(path)
    return path


@pytest.fixture
def work(tmp_path, three, faces):
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(three, photos)
    shutil.copy(sorted(faces.glob("*.jpg"))[7], photos / "one.jpg")
    return tmp_path


def run(work: Path, models: Models, inverter: object = None, **settings):
    chosen = models.with_settings(**settings)
    if inverter is not None:
        vars(chosen)["inverter"] = inverter
    return ingest_collection(str(work / "photos"), work / ".ris", chosen)


def rows(store: Store) -> dict[str, FaceRow]:
    ids = [face for batch in store.batches(["id"]) for face in batch["id"].to_pylist()]
    assert len(ids) == len(set(ids))
    return {face: store.face(face) for face in ids}


def at(row: FaceRow, place: tuple[int, int, int]) -> bool:
    x, y, size = place
    return bool(np.abs(row.quad.mean(0) - (x + size / 2, y + size / 2)).max() < 0.1 * size)


def of_photo(found: dict[str, FaceRow], name: str) -> list[FaceRow]:
    return sorted((r for r in found.values() if r.path.endswith(name)), key=lambda r: r.face)


def same(first: FaceRow, second: FaceRow) -> bool:
    return all(
        np.array_equal(getattr(first, n), getattr(second, n)) for n in ("w", "sigma", "scores")
    )


def test_all_faces_of_a_photo_become_rows(work, quick):
    done = run(work, quick, faces="all")
    assert (done.report.ingested, done.report.failed, done.faces) == (4, 0, 4)
    found = rows(done.store)
    group, (one,) = of_photo(found, "three.png"), of_photo(found, "one.jpg")
    photo = group[0].id
    assert [row.id for row in group] == [photo, f"{photo}-1", f"{photo}-2"]
    assert [row.face for row in group] == [0, 1, 2]
    assert all(at(row, place) for row, place in zip(group, PLACES, strict=True))
    for row, (x, y, size) in zip(group, PLACES, strict=True):
        assert x < row.box[0] < row.box[2] < x + size
        assert y < row.box[1] < row.box[3] < y + size
        assert not row.aligned
        assert (row.width, row.height) == (1100, 520)
        assert row.blendshapes.shape == (52,)
        assert abs(row.yaw) < 60
    assert one.aligned and np.array_equal(one.quad, [[0, 0], [0, 256], [256, 256], [256, 0]])
    assert verify(done.store).faces == 4
    again = run(work, quick, faces="all")
    assert (again.report.ingested, again.report.skipped) == (0, 2)
    fewer = run(work, quick)
    assert (fewer.report.ingested, fewer.report.skipped, fewer.faces) == (0, 2, 4)


def test_the_others_are_added_when_asked_for_later(work, quick):
    first = run(work, quick)
    assert (first.report.ingested, first.faces) == (2, 2)
    before = rows(first.store)
    assert at(of_photo(before, "three.png")[0], PLACES[0])
    shutil.copy(work / "photos" / "three.png", work / "photos" / "zcopy.png")
    second = run(work, quick, faces="all")
    assert (second.report.ingested, second.report.skipped, second.faces) == (2, 2, 4)
    after = rows(second.store)
    assert all(same(before[face], after[face]) for face in before)
    group = of_photo(after, "three.png")
    assert [at(r, p) for r, p in zip(group, PLACES, strict=True)] == [True] * 3
    assert run(work, quick, faces="all").report.skipped == 3


def test_rows_follow_a_moved_photo_and_go_with_an_overwritten_one(work, quick, faces):
    run(work, quick, faces="all")
    photos = work / "photos"
    (photos / "three.png").rename(photos / "renamed.png")
    moved = run(work, quick)
    assert (moved.report.ingested, moved.report.skipped) == (0, 2)
    assert len(of_photo(rows(moved.store), "renamed.png")) == 3
    shutil.copy(sorted(faces.glob("*.jpg"))[9], photos / "renamed.png")
    replaced = run(work, quick)
    assert (replaced.report.ingested, replaced.faces) == (1, 2)
    shutil.copy(photos / "one.jpg", photos / "renamed.png")
    assert run(work, quick).faces == 1


def test_a_photo_is_committed_whole(work, quick, monkeypatch):
    """Killed before the commit nothing is there; one commit brings all faces of the photo."""
    (work / "photos" / "one.jpg").unlink()
    append, write = Store.append, Manifest.write

    def killed(self, folder):
        if self.shards:
            raise KeyboardInterrupt
        write(self, folder)

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            run(work, quick, faces="all")
    assert len(list((work / ".ris" / "faces").glob("*.parquet"))) == 1  # written, not committed
    assert Store.open(work / ".ris").manifest().rows == 0
    sizes = []

    def counted(self, fresh):
        sizes.append(len(fresh))
        return append(self, fresh)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "append", counted)
        run(work, quick, faces="all")
    assert sizes == [3]


def test_photos_without_a_face_fail_unless_taken_as_they_are(work, quick):
    Image.effect_noise((300, 200), 60).save(work / "photos" / "noise.png")
    done = run(work, quick)
    assert (done.report.ingested, done.report.failed) == (2, 1)
    (failure,) = read_failures(done.store)
    assert (failure.path, failure.stage) == ("photos/noise.png", "align")
    assert failure.reason == "no face found"
    taken = run(work, quick, aligned="yes")
    assert (taken.report.ingested, taken.report.failed) == (1, 0)
    assert read_failures(taken.store) == []
    (row,) = of_photo(rows(taken.store), "noise.png")
    assert row.aligned and row.yaw is None and row.box is None and row.blendshapes is None
    assert np.array_equal(row.quad[[0, 2]], [[50, 0], [250, 200]])
    columns, found = run_sql(taken.store, "select smile, box_left from faces where yaw is null")
    assert (columns, found) == (["smile", "box_left"], [(None, None)])


def test_columns_about_the_face(work, quick, tmp_path):
    store = run(work, quick, faces="all").store
    stored = rows(store)
    columns, found = run_sql(store, "select * from faces")
    for values in found:
        row = dict(zip(columns, values, strict=True))
        face = stored[row["id"]]
        left, right = face.blendshapes[44], face.blendshapes[45]
        assert np.isclose(row["mouth_smile_left"], left)
        assert np.isclose(row["smile"], (left + right) / 2)
        assert np.isclose(row["eyes_closed"], face.blendshapes[9:11].mean())
        assert np.isclose(row["jaw_open"], face.blendshapes[25])
        assert np.allclose([row[f"box_{n}"] for n in ("left", "top", "right", "bottom")], face.box)
        assert np.isclose(row["yaw"], face.yaw)
        assert row["selection"] == "all"
    wide = {f for f, r in stored.items() if r.blendshapes[44:46].mean() > 0.5 and abs(r.yaw) < 15}
    assert select_ids(store, "smile > 0.5 and abs(yaw) < 15") == wide
    table = tmp_path / "labels.csv"
    table.write_text("file,Smile,box_left\none.jpg,broad,3\n")
    assert join_metadata(store, table).matched == 1
    _, mine = run_sql(store, "select user_Smile, user_box_left from faces where face = 0")
    assert ("broad", 3) in mine


def test_searching_with_a_group_photo_and_drawing_its_faces(work, quick, three, faces):
    store = run(work, quick, faces="all").store
    build_indices(store, ["mouth"])
    scene = Image.new("RGB", (700, 500), (80, 110, 90))
    scene.paste(Image.open(sorted(faces.glob("*.jpg"))[20]).resize((300, 300)), (250, 100))
    scene.save(work / "new.png")
    face = face_of_photo(work / "new.png", quick, store)
    assert face.id is None
    assert np.abs(face.quad.mean(0) - (400, 250)).max() < 30
    found = search(store, face, {"mouth": 1.0}, k=4)
    assert len(found.nearest) == 4
    sheet = np.asarray(contact_sheet(found, furthest=False))
    drawn = sheet[TITLE + LABEL : TITLE + LABEL + TILE, 12 : 12 + TILE]
    assert np.array_equal(drawn, cut_again(work / "new.png", face.quad, TILE))
    stored = face_of_photo(three, quick, store)  # its bytes are in the store
    assert stored.id is not None and at(store.face(stored.id), PLACES[0])
    Image.effect_noise((300, 200), 60).save(work / "noise.png")
    with pytest.raises(InputError, match=r"noise\.png: no face found"):
        face_of_photo(work / "noise.png", quick, store)
    crop = quick.with_settings(aligned="yes")
    assert face_of_photo(work / "noise.png", crop, store).quad is None


def test_an_abbreviated_id_of_a_photo_means_its_first_face(work, quick):
    (work / "photos" / "one.jpg").unlink()
    store = run(work, quick, faces="all").store
    photo = next(iter(rows(store))).partition("-")[0]
    assert store.face(photo[:8]).id == photo
    assert store.face(f"{photo}-2").id == f"{photo}-2"
    store.remove([photo])
    with pytest.raises(QueryError, match="2 faces have an id"):
        store.face(photo[:8])


def test_a_removed_face_stays_removed_and_the_others_are_followed(work, quick):
    store = run(work, quick, faces="all").store
    group = of_photo(rows(store), "three.png")
    store.remove([group[0].id])
    assert run(work, quick).report.skipped == 2
    (work / "photos" / "three.png").rename(work / "photos" / "renamed.png")
    again = run(work, quick, faces="all")
    assert (again.report.ingested, again.faces) == (0, 3)
    assert [r.id for r in of_photo(rows(store), "renamed.png")] == [r.id for r in group[1:]]


def test_a_photo_overwritten_by_one_without_a_face_loses_its_row(work, quick):
    store = run(work, quick).store
    Image.effect_noise((300, 200), 60).save(work / "photos" / "one.jpg")
    done = run(work, quick)
    assert (done.report.failed, done.faces) == (1, 1)
    assert of_photo(rows(store), "one.jpg") == []


def test_many_moved_photos_are_one_commit(work, quick, faces, monkeypatch):
    photos = work / "photos"
    for face in sorted(faces.glob("*.jpg"))[10:14]:
        shutil.copy(face, photos)
    before = rows(run(work, quick).store)
    (photos / "moved").mkdir()
    for photo in photos.glob("*.jpg"):
        photo.rename(photos / "moved" / photo.name)
        shutil.copy(photos / "moved" / photo.name, photos / "moved" / f"z{photo.name}")
    relocate, sizes = Store.relocate, []

    def counted(self, moved):
        sizes.append(len(moved))
        relocate(self, moved)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "relocate", counted)
        done = run(work, quick)
    assert (sizes, done.report.ingested, done.faces) == ([5], 0, 6)
    after = rows(done.store)
    assert all(same(before[face], after[face]) for face in before)
    assert {Path(r.path).parent.name for r in after.values()} == {"photos", "moved"}
    assert all(done.store.resolve(r.path).is_file() for r in after.values())


def test_faces_added_through_a_copy_name_the_first_file(work, quick):
    run(work, quick)
    first = work / "photos" / "three.png"
    shutil.copy(first, work / "photos" / "a copy.png")
    group = of_photo(rows(run(work, quick, faces="all").store), "three.png")
    stat = first.stat()
    assert len(group) == 3
    assert {(r.file_size, r.file_mtime_ns) for r in group} == {(stat.st_size, stat.st_mtime_ns)}


def test_photos_are_read_as_the_store_was(work, quick, faces):
    """Codes of another inverter are refused; nobody's choice means the store's."""
    store = run(work, quick).store
    (before,) = store.inverters()
    shutil.copy(sorted(faces.glob("*.jpg"))[20], work / "photos" / "new.jpg")
    with pytest.raises(MismatchError, match="inverted by optimisation0-.*by encoder"):
        run(work, quick, inverter_kind="encoder", refine=None, inverter=Encoder())
    assert store.manifest().rows == 2
    nobody = run(work, quick, inverter_kind=None, refine=None, inverter=Encoder())
    assert nobody.report.ingested == 1
    assert store.inverters() == {before: 3}


class Encoder:
    """Stands for an inverter that must not be asked."""

    fingerprint, batch = "encoder-0", 4
