"""Searching while photos come and go: every search is answered, for the store as it is now."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ris.data import shards
from ris.data.inspect import summary
from ris.data.metadata import join_metadata
from ris.data.row_keys import FOOTER
from ris.data.store import Store
from ris.errors import IndexMissingError, MismatchError, StoreError
from ris.face_names import FaceId
from ris.index import build as building
from ris.index import live
from ris.index.build import build_indices, refresh_indices
from ris.index.directory import open_index
from ris.index.feature import FeatureIndex
from ris.index.meta import BuildReport, read_meta
from ris.method.masks import MaskOptions
from ris.query.searcher import Searcher, SearchResult, search

EYES = {"eyes": 1.0}
MIX = {"eyes": 2.0, "hair": 1.0}


def ids_of(store: Store) -> list[str]:
    return [face for batch in store.batches(["id"]) for face in batch.column("id").to_pylist()]


@pytest.fixture
def store(filled, tmp_path) -> Store:
    shutil.copytree(filled.folder, tmp_path / ".ris")
    return Store.open(tmp_path / ".ris")


@pytest.fixture
def young(filled, tmp_path) -> tuple[Store, list[shards.FaceRow]]:
    """48 of the faces, indexed, and the rows of the 12 others."""
    shutil.copytree(filled.folder, tmp_path / ".ris", ignore=shutil.ignore_patterns("index"))
    store = Store.open(tmp_path / ".ris")
    rest = [store.face(i) for i in ids_of(store)[48:]]
    store.remove([row.id for row in rest])
    build_indices(store, ["eyes", "hair"])
    return store, rest


@pytest.fixture
def no_vectors(monkeypatch):
    """Fails a test that reads vectors."""

    def refuse(path, numbers, columns):
        assert not len(numbers), f"{path.name} is read"
        return iter(())

    monkeypatch.setattr(shards, "read_rows", refuse)


def ends(found: SearchResult | Exception) -> list[list[tuple[str, float]]]:
    assert isinstance(found, SearchResult), found
    return [[(m.id, m.score) for m in end] for end in (found.nearest, found.furthest)]


# -- what an index is made from ---------------------------------------------------------------


@pytest.mark.usefixtures("no_vectors")
@pytest.mark.parametrize("change", ["touched", "moved", "labelled", "merged"])
def test_what_changes_no_vector_leaves_an_index_as_it_is(store, tmp_path, change):
    before = ends(search(store, FaceId(ids_of(store)[0]), EYES, k=7))
    content, build = store.manifest().content, read_meta(store.folder / "index" / "eyes").build
    rows = [store.face(face) for face in ids_of(store)]
    if change == "touched":
        store.relocate([dataclasses.replace(row, file_mtime_ns=1) for row in rows[:9]])
    if change == "moved":
        store.relocate([dataclasses.replace(row, path=f"b/{Path(row.path).name}") for row in rows])
    if change == "labelled":
        (tmp_path / "more.csv").write_text("file,age\nseed000100.jpg,30\n")
        join_metadata(store, tmp_path / "more.csv")
    if change == "merged":
        store.relocate(rows[:5])
        store.relocate(rows[5:9])
        assert len(store.manifest().shards) == 3
        store.compact()
        assert len(store.manifest().shards) == 1
    assert store.manifest().content == content
    found = search(store, FaceId(rows[0].id), EYES, k=7)
    assert ends(found) == before and found.unsearched == 0
    assert (found.nearest[0].path.parts[-2] == "b") or change != "moved"
    assert summary(store)["indices"]["eyes"]["current"] is True
    reports = refresh_indices(store)
    assert {type(report) for report in reports.values()} == {BuildReport}
    assert read_meta(store.folder / "index" / "eyes").build == build
    assert ends(search(store, FaceId(rows[0].id), EYES, k=7)) == before


def test_new_vectors_or_settings_are_another_content(store):
    content, row = store.manifest().content, store.face(ids_of(store)[3])
    changed = dataclasses.replace(row, sigma=row.sigma + np.float32(0.01), selection="all")
    store.append([changed])
    assert store.manifest().rows == 60 and store.manifest().content != content
    assert summary(store)["indices"]["eyes"]["current"] is False
    manifest = store.manifest()
    other = dataclasses.replace(manifest.settings, catalogue="another")
    assert dataclasses.replace(manifest, settings=other).content != manifest.content


def test_shards_without_keys_are_read_for_them(young):
    """As an earlier version wrote them."""
    store, rest = young
    with_keys = ends(search(store, FaceId(ids_of(store)[0]), MIX, k=9))
    manifest = store.manifest()
    older = []
    for shard in manifest.shards:
        path = store.folder / "faces" / shard.file
        keys = shards.read_keys(path).keys
        table = pq.read_table(path)
        assert FOOTER in pq.read_metadata(path).metadata
        pq.write_table(table.replace_schema_metadata(None), path, row_group_size=64)
        assert np.array_equal(shards.read_keys(path).keys, keys)
        older.append(dataclasses.replace(shard, keys="", sha256="0" * 64))
    dataclasses.replace(manifest, shards=tuple(older)).write(store.folder)
    assert ends(search(store, FaceId(ids_of(store)[0]), MIX, k=9)) == with_keys
    store.append(rest)
    found = search(store, FaceId(ids_of(store)[0]), MIX, k=99)
    assert len(found.nearest) == 59 and found.unsearched == 0
    store.compact()
    assert ends(search(store, FaceId(ids_of(store)[0]), MIX, k=99)) == ends(found)


def test_keys_that_do_not_add_up_are_made_anew(store):
    (shard,) = store.manifest().shards
    path = store.folder / "faces" / shard.file
    keys = shards.read_keys(path, shard.keys).keys
    assert len(set(keys.tolist())) == 60 and 0 not in keys
    table = pq.read_table(path)
    table = table.replace_schema_metadata({FOOTER: pq.read_metadata(path).metadata[FOOTER][::-1]})
    pq.write_table(table, path, row_group_size=64)
    assert np.array_equal(shards.read_keys(path, shard.keys).keys, keys)


# -- removed and new faces --------------------------------------------------------------------


@pytest.mark.parametrize("features", [EYES, {"eyes": -1.0}, MIX])
@pytest.mark.parametrize(
    ("kind", "mask"), [("exact", "soft"), ("sketch", "soft"), ("exact", "hard"), ("hnsw", "soft")]
)
def test_a_changed_store_is_searched_as_if_indexed_anew(young, features, kind, mask, monkeypatch):
    monkeypatch.setattr(building, "DRIFT", 1.0)
    store, rest = young
    options = MaskOptions(kind=mask)
    build_indices(store, ["eyes", "hair"], kind=kind, options=options)
    ids = ids_of(store)
    searcher = Searcher(store)
    first = searcher.search(FaceId(ids[0]), features, k=5)
    gone = {first.nearest[0].id, first.nearest[2].id, first.furthest[0].id, ids[40]}
    gone.discard(ids[0])
    store.remove(gone)
    other = dataclasses.replace(store.face(ids[0]), id="twin", path="twin.jpg")
    store.append([*rest, other])
    found = searcher.search(FaceId(ids[0]), features, k=99)
    assert found.unsearched == 0
    names = {m.id for m in found.nearest}
    assert names == ({*ids, *(row.id for row in rest), "twin"} - gone - {ids[0]})
    assert len(searcher.search(FaceId(ids[0]), features, k=5).nearest) == 5
    best = found.nearest if features["eyes"] > 0 else found.furthest
    assert best[0].id == "twin" and abs(best[0].score) > 0.999
    by_id = searcher.search(FaceId(rest[0].id), features, k=3)
    assert rest[0].id not in {m.id for m in by_id.nearest}
    where = searcher.search(FaceId(ids[0]), features, k=99, where="path = 'twin.jpg' or odd = 1")
    assert "twin" in {m.id for m in where.nearest} and len(where.nearest) < 40
    fresh = Searcher(store).search(FaceId(ids[0]), features, k=99)
    assert ends(fresh) == ends(found)
    # the same scores as from an index that was brought up to date
    report = build_indices(store, ["eyes", "hair"], kind=kind, options=options)["eyes"]
    assert report.appended == 13 and report.removed == len(gone)
    after = searcher.search(FaceId(ids[0]), features, k=99)
    for ours, theirs in zip(ends(found), ends(after), strict=True):
        scores = dict(theirs)
        assert set(scores) == {name for name, _ in ours}
        assert max(abs(scores[name] - score) for name, score in ours) < 2e-6


def test_a_face_that_was_replaced_has_its_new_vectors(young):
    store, _ = young
    ids = ids_of(store)
    searcher = Searcher(store)
    searcher.search(FaceId(ids[0]), EYES)
    model = store.face(ids[20])
    row = dataclasses.replace(
        store.face(ids[10]), sigma=model.sigma, scores=model.scores, selection="all"
    )
    store.append([row])
    found = searcher.search(FaceId(ids[20]), EYES, k=99)
    assert found.nearest[0].id == ids[10] and found.nearest[0].score > 0.999
    assert len({m.id for m in found.nearest}) == len(found.nearest) == 47


def test_more_new_faces_than_can_be_added_are_counted(young, monkeypatch, ris):
    store, rest = young
    ids = ids_of(store)
    monkeypatch.setattr(live, "MOST_VECTORS", 16)
    searcher = Searcher(store)
    store.append(rest[:8])
    assert searcher.search(FaceId(ids[0]), MIX).unsearched == 0  # 16 vectors
    store.append(rest[8:])
    assert searcher.search(FaceId(ids[0]), EYES).unsearched == 0
    found = Searcher(store).search(FaceId(ids[0]), MIX, k=99)
    assert found.unsearched == 12 and len(found.nearest) == 47
    monkeypatch.setattr(live, "MOST_KEPT", 11)
    words = ("query", ids[0], "--store", store.folder, "--feature", "eyes", "--feature", "hair")
    status, out, err = ris(*words, "--json")
    assert status == 0 and json.loads(out)["unsearched"] == 12
    assert err == (
        "ris: 12 new faces are not searched yet: run `ris index --feature eyes --feature hair`\n"
    )
    monkeypatch.setattr(live, "MOST_KEPT", 12)
    status, out, err = ris(*words[:-2], "--json")
    assert (status, err, json.loads(out)["unsearched"]) == (0, "", 0)


def test_faces_that_do_not_show_a_feature_are_searched_too(young):
    store, _ = young
    ids = ids_of(store)
    face = store.face(ids[2])
    scores = face.scores.copy()
    scores[list(store.settings.classes).index("eyes")] = 0
    build_indices(store, ["eyes"], options=MaskOptions(kind="hard"))
    store.append([dataclasses.replace(face, id="bare", path="bare.jpg", scores=scores)])
    found = search(store, FaceId(ids[2]), EYES, k=99)
    assert found.unsearched == 0 and len(found.nearest) == 47
    report = build_indices(store, ["eyes"], options=MaskOptions(kind="hard"))["eyes"]
    assert report.without_feature == 1
    store.relocate([dataclasses.replace(store.face("bare"), path="other.jpg")])
    report = build_indices(store, ["eyes"], options=MaskOptions(kind="hard"))["eyes"]
    assert (report.appended, report.without_feature) == (0, 1)


def test_a_store_of_which_everything_was_replaced(young):
    store, rest = young
    old = ids_of(store)
    searcher = Searcher(store)
    searcher.search(FaceId(old[0]), MIX)
    store.append(rest)
    store.remove(old)
    for features in (EYES, MIX):
        found = searcher.search(FaceId(rest[0].id), features, k=99)
        assert {m.id for m in found.nearest} == {row.id for row in rest[1:]}
    store.remove([row.id for row in rest[1:]])
    assert searcher.search(FaceId(rest[0].id), EYES).nearest == []


# -- files that come and go -------------------------------------------------------------------


def test_an_open_index_outlives_its_files(store):
    ids = ids_of(store)
    searcher = Searcher(store)
    before = ends(searcher.search(FaceId(ids[0]), MIX, k=9))
    opened = FeatureIndex.open(store, "eyes")
    build_indices(store, ["eyes", "hair"], rebuild=True)
    assert not (store.folder / "index" / "eyes" / opened.meta.build).exists()
    assert opened.vectors.rows == len(opened.vectors.all_scores(np.ones(opened.meta.dims))) == 60
    assert ends(searcher.search(FaceId(ids[0]), MIX, k=9)) == before
    shutil.rmtree(store.folder / "index" / "eyes")
    with pytest.raises(IndexMissingError, match=r"run `Collection.index\('eyes'\)`"):
        searcher.search(FaceId(ids[0]), EYES)
    build_indices(store, ["eyes"])
    assert ends(searcher.search(FaceId(ids[0]), MIX, k=9)) == before


def test_an_index_of_another_store_is_refused(store):
    meta = read_meta(store.folder / "index" / "eyes")
    other = dataclasses.replace(meta, extra=meta.extra | {"settings": "0" * 16})
    (store.folder / "index" / "eyes" / "meta.json").write_text(other.to_json())
    with pytest.raises(MismatchError, match=r"another generator.*`Collection.index\('eyes'\)`"):
        search(store, FaceId(ids_of(store)[0]), EYES)
    assert len(search(store, FaceId(ids_of(store)[0]), {"hair": 1.0}).nearest) == 5


def test_a_build_goes_on_while_shards_are_merged_and_faces_removed(young, monkeypatch):
    store, rest = young
    for row in rest:
        store.append([row])
    first, original = ids_of(store)[0], shards.read_rows
    changes = iter([store.compact, lambda: store.remove([first]), lambda: None])
    seen = []

    def meanwhile(path, numbers, columns):
        yield from original(path, numbers, columns)
        seen.append(path.name)
        if len(seen) in (2, 4):
            next(changes)()

    monkeypatch.setattr(shards, "read_rows", meanwhile)
    report = build_indices(store, ["eyes"], rebuild=True)["eyes"]
    assert len(seen) >= 3
    assert 59 <= report.meta.rows <= 60
    monkeypatch.setattr(shards, "read_rows", original)
    opened = open_index(store.folder / "index" / "eyes")
    assert len(set(np.asarray(opened.ids).tolist())) == report.meta.rows  # none twice
    found = search(store, FaceId(ids_of(store)[0]), EYES, k=99)
    assert found.unsearched == 0
    assert {m.id for m in found.nearest} == set(ids_of(store)[1:])
    again = build_indices(store, ["eyes"])["eyes"]
    assert again.faces == len(ids_of(store))


def test_a_damaged_shard_is_still_an_error(young):
    store, rest = young
    store.append(rest)
    path = store.folder / "faces" / store.manifest().shards[-1].file
    path.write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="damaged"):
        search(store, FaceId(ids_of_first(store)), EYES)
    with pytest.raises(StoreError, match="damaged"):
        build_indices(store, ["eyes"])


def ids_of_first(store: Store) -> str:
    path = store.folder / "faces" / store.manifest().shards[0].file
    return str(shards.read_light(path, ["id"])["id"][0])


# -- ingest ------------------------------------------------------------------------------------


@pytest.fixture
def late(generator, tmp_path) -> Path:
    """Six rendered faces that are in no store."""
    from ris.ingest.sampling import sample

    sample(tmp_path / "late", generator, n=6, seed=700, size=256)
    return tmp_path / "late"


def test_ingest_brings_indices_up_to_date(ris, store, late):
    words = ("ingest", late, "--store", store.folder)
    status, out, err = ris(*words, "--no-index", "--json")
    assert (status, err) == (0, "") and json.loads(out)["indices"] == {}
    assert summary(store)["indices"]["eyes"]["current"] is False
    status, out, err = ris(*words, "--json")
    told = json.loads(out)["indices"]
    assert (status, err) == (0, "")
    assert set(told) == {"eyes", "nose", "mouth", "hair", "pose"}
    assert {entry["faces"] for entry in told.values()} == {66}
    assert all(entry["current"] for entry in summary(store)["indices"].values())
    metas = [(store.folder / "index" / f / "meta.json").read_bytes() for f in told]
    status, out, err = ris(*words)
    assert "indices up to date: eyes, hair, mouth, nose, pose" in out
    assert metas == [(store.folder / "index" / f / "meta.json").read_bytes() for f in told]


def test_ingest_keeps_the_options_of_an_index(ris, store, late):
    options = MaskOptions(kind="hard", tau=0.2)
    build_indices(store, ["eyes"], options=options, norm="channel", kind="sketch")
    status, _, err = ris("ingest", late, "--store", store.folder, "--json")
    assert (status, err) == (0, "")
    meta = read_meta(store.folder / "index" / "eyes")
    assert (meta.kind, meta.extra["norm"]) == ("sketch", "channel")
    assert meta.extra["mask"] == dataclasses.asdict(options)
    assert meta.extra["store_faces"] == 66


def test_an_index_that_fails_is_no_lost_ingest(ris, store, late):
    (store.folder / "index" / "hair" / "meta.json").write_text("{")
    status, out, err = ris("ingest", late, "--store", store.folder, "--json")
    told = json.loads(out)
    assert status == 0 and told["ingested"] == 6
    assert "hair is damaged" in told["indices"]["hair"]["error"]
    assert err.count("\n") == 1
    assert err.startswith("ris: the faces are in the store, but an index is not up to date: ")
    assert told["indices"]["eyes"]["faces"] == 66


@pytest.mark.parametrize("name", ["vectors.f16", "sums.u32"])
def test_a_file_that_became_shorter_under_an_open_index_kills_nobody(store, name):
    searcher, face = Searcher(store), ids_of(store)[0]
    before = ends(searcher.search(FaceId(face), EYES, k=3))
    folder = store.folder / "index" / "eyes"
    path = folder / read_meta(folder).build / name
    os.truncate(path, 100)
    with pytest.raises(
        StoreError, match=r"has 100 bytes.*`Collection.index\('eyes', rebuild=True\)`"
    ):
        searcher.search(FaceId(face), EYES, k=3)
    build_indices(store, ["eyes"], rebuild=True)
    assert ends(searcher.search(FaceId(face), EYES, k=3)) == before


def test_a_folder_in_the_place_of_meta_json_is_put_aside(store):
    face = ids_of(store)[0]
    before = ends(search(store, FaceId(face), EYES, k=3))
    meta = store.folder / "index" / "eyes" / "meta.json"
    meta.unlink()
    meta.mkdir()
    (meta / "mine").write_text("x")
    with pytest.raises(StoreError, match=r"`Collection.index\('eyes', rebuild=True\)`"):
        search(store, FaceId(face), EYES, k=3)
    build_indices(store, ["eyes"], rebuild=True)
    assert ends(search(store, FaceId(face), EYES, k=3)) == before
    assert (store.folder / "damaged" / "meta.json" / "mine").read_text() == "x"
