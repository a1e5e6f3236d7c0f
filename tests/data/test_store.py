"""The store on disk: commits, replacement, removal, damage, two writers."""

from __future__ import annotations

import dataclasses
import errno
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from toy_stores import SETTINGS, content, row

from ris.data import shards
from ris.data.failures import Failure, read_failures, update_failures
from ris.data.inspect import export, summary
from ris.data.manifest import Manifest
from ris.data.shards import FaceRow
from ris.data.stats_file import FILE as STATS
from ris.data.stats_file import style_statistics
from ris.data.store import Store
from ris.data.verify import verify
from ris.data.views import run_sql, select_ids
from ris.errors import InputError, MismatchError, QueryError, StoreError
from ris.method.statistics import StyleStatistics


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / ".ris", SETTINGS)


def test_rows_come_back_as_they_went_in(store):
    rows = [row(i) for i in range(5)]
    assert store.append(rows) == 5
    for wanted in rows:
        got = Store.open(store.folder).face(wanted.id)
        for f in dataclasses.fields(FaceRow):
            assert np.array_equal(getattr(got, f.name), getattr(wanted, f.name)), f.name


def test_known_ids_are_left_out_and_changed_files_replaced(store):
    store.append([row(i) for i in range(4)])
    assert store.append([row(2), row(2)]) == 0
    assert store.append([row(9, path="photos/0001.jpg"), row(8)]) == 2
    assert sorted(content(store)) == ["face0000", "face0002", "face0003", "face0008", "face0009"]
    assert content(store)["face0000"][1] == row(0).sigma.tobytes()


def test_removal_leaves_the_others_alone(store):
    store.append([row(i) for i in range(70)])
    store.append([row(i) for i in range(70, 75)])
    before = content(store)
    assert store.remove(["face0003", "face0071", "nobody"]) == 2
    after = content(store)
    assert set(before) - set(after) == {"face0003", "face0071"}
    assert all(after[face] == before[face] for face in after)
    assert store.remove([f"face{i:04d}" for i in range(75)]) == 73
    assert store.manifest().rows == 0
    assert content(store) == {}


def test_replaced_photos_do_not_pile_up_in_one_shard(store, monkeypatch):
    monkeypatch.setattr("ris.data.store.FULL_SHARD", 8)
    for i in range(0, 40, 8):
        store.append([row(n) for n in range(i, i + 8)])
    for i in range(0, 40, 5):  # batches that straddle the shards
        store.append([dataclasses.replace(row(n), selection="all") for n in range(i, i + 5)])
        assert max(shard.rows for shard in store.manifest().shards) <= 8
    assert store.manifest().rows == 40
    assert len(content(store)) == 40


def test_compaction_keeps_the_rows_and_frees_the_files(store):
    for i in range(9):
        store.append([row(2 * i), row(2 * i + 1)])
    before = content(store)
    store.compact(least=20)
    assert len(store.manifest().shards) == 9
    store.compact()
    assert len(store.manifest().shards) == 1
    assert content(store) == before
    assert len(list((store.folder / "faces").iterdir())) == 1


def test_an_unfinished_shard_is_never_seen_and_is_cleaned_up(store, monkeypatch):
    store.append([row(0)])

    def die(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # between the shards and the manifest
        patch.setattr(Manifest, "write", die)
        with pytest.raises(KeyboardInterrupt):
            store.append([row(1)])
    (store.folder / "faces" / ".part-00001.parquet.tmp-1-aa").write_bytes(b"x")
    assert (store.folder / "faces" / "part-00001.parquet").exists()
    assert list(content(store)) == ["face0000"]
    store.append([row(1)])
    listed = {s.file for s in store.manifest().shards}
    assert {p.name for p in (store.folder / "faces").iterdir()} == listed
    assert sorted(content(store)) == ["face0000", "face0001"]


def test_a_file_that_the_store_does_not_know_stays(store):
    """It may be a shard of a newer manifest that an older copy took the place of."""
    store.append([row(0)])
    names = ("part-00001.parquet", "part-00007.parquet", "notes.txt")
    for name in names:
        (store.folder / "faces" / name).write_text("mine")
    store.append([row(1)])
    store.append([row(2)])
    store.remove(["face0001"])
    store.compact()
    assert all((store.folder / "faces" / name).read_text() == "mine" for name in names)
    assert sorted(content(store)) == ["face0000", "face0002"]
    assert verify(store).strangers == sorted(names)


def test_what_cannot_be_cleaned_up_is_no_error_of_the_commit(store, monkeypatch, caplog):
    store.append([row(0)])
    store.append([row(1)])

    def fail(*_args: object, **_named: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        store.compact()
        assert store.remove(["face0000"]) == 1
    assert "could not be deleted (Input/output error): nothing is lost" in caplog.text
    assert list(content(store)) == ["face0001"]
    assert len(list((store.folder / "faces").glob("part-*"))) == 4
    store.compact()  # has nothing to merge, and cleans up
    assert len(list((store.folder / "faces").iterdir())) == 1
    assert verify(store).strangers == []


def _append_many(folder: Path, start: int) -> None:
    store = Store.open(folder)
    for i in range(start, start + 20):
        store.append([row(i), row(i + 1)])  # neighbours overlap, also between the processes
    store.compact()


def test_two_writers_lose_nothing_and_double_nothing(store):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_many, args=(store.folder, s)) for s in (0, 10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    found = content(store)
    assert sorted(found) == [f"face{i:04d}" for i in range(31)]
    assert all(found[row(i).id][1] == row(i).sigma.tobytes() for i in range(31))


def test_stores_are_found_upward_and_missing_ones_explained(store, tmp_path, monkeypatch):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert Store.open().folder == store.folder
    with pytest.raises(StoreError, match=r"is not a ris store: run `Collection.ingest` first"):
        Store.open(deep)
    assert store.relative(deep / "x.jpg") == "a/b/x.jpg"
    assert store.relative(Path("/elsewhere/x.jpg")) == "/elsewhere/x.jpg"
    assert store.resolve("a/b/x.jpg") == deep / "x.jpg"


def test_another_generator_is_refused_by_name(store):
    foreign = dataclasses.replace(SETTINGS, generator="toy-2")
    with pytest.raises(MismatchError, match=r"generator toy-1, this run has toy-2.*`ris.create`"):
        Store.create(store.folder, foreign)


def test_a_folder_with_foreign_content_is_not_taken_over(tmp_path):
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(StoreError, match=r"not empty \(it holds thesis.doc\)"):
        Store.create(tmp_path, SETTINGS)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.doc"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "settings": {}}'])
def test_a_damaged_manifest_is_one_line(store, text):
    (store.folder / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match="damaged") as e:
        Store.open(store.folder)
    assert "\n" not in str(e.value)


def test_a_newer_format_is_refused(store):
    path = store.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(StoreError, match="format 99, this version of ris reads 2 and 3"):
        Store.open(store.folder)


def test_ids_may_be_abbreviated_while_that_is_clear(store):
    store.append([row(i) for i in range(3)])
    assert store.face("face0002").id == "face0002"
    with pytest.raises(QueryError, match="3 faces have an id that starts with 'face'"):
        store.face("face")
    with pytest.raises(QueryError, match="no photo and no face id 'zed'"):
        store.face("zed")


def test_verify_finds_damage_and_drops_it(store, tmp_path):
    store.append([row(0), row(1)])
    store.append([row(2)])
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "0002.jpg").write_bytes(b"x")
    shard = store.folder / "faces" / store.manifest().shards[0].file
    blob = bytearray(shard.read_bytes())
    blob[len(blob) // 2] ^= 1
    shard.write_bytes(blob)
    found = verify(store)
    assert (found.damaged, found.lost_faces, found.missing_photos) == ([shard.name], 2, [])
    verify(store, drop_damaged=True)
    assert list(content(store)) == ["face0002"]
    assert verify(store).damaged == []
    assert store.append([row(0), row(1)]) == 2


def test_a_truncated_shard_is_one_line(store):
    store.append([row(i) for i in range(3)])
    shard = store.folder / "faces" / store.manifest().shards[0].file
    os.truncate(shard, shard.stat().st_size // 2)
    with pytest.raises(StoreError, match="`Collection.verify` lists what is lost") as e:
        content(store)
    assert "\n" not in str(e.value)


# -- statistics, failures, metadata, views ----------------------------------------------------


def test_statistics_follow_the_rows(store):
    rows = [row(i) for i in range(6)]

    def expected(numbers):
        stats = StyleStatistics(10)
        stats.add(np.stack([rows[i].sigma for i in numbers]))
        return stats.channel_moments()

    def check(numbers):
        for mine, theirs in zip(
            style_statistics(store).channel_moments(), expected(numbers), strict=True
        ):
            assert np.array_equal(mine, theirs)

    store.append(rows[:2])
    check(range(2))
    store.append(rows[2:])
    check(range(6))
    store.remove(["face0001"])
    check([0, 2, 3, 4, 5])
    store.compact()
    check([0, 2, 3, 4, 5])
    (store.folder / STATS).write_bytes(b"garbage")
    check([0, 2, 3, 4, 5])


def test_failures_are_kept_until_cured(store):
    first, second = Failure("a.jpg", "decode", "damaged"), Failure("b.jpg", "read", "empty")
    update_failures(store, [first, second], [])
    update_failures(store, [Failure("b.jpg", "decode", "now this")], [])
    assert read_failures(store) == [first, Failure("b.jpg", "decode", "now this")]
    update_failures(store, [], ["a.jpg"])
    assert [f.path for f in read_failures(store)] == ["b.jpg"]


def test_sql_sees_all_but_vectors_and_nothing_outside(store, tmp_path):
    assert run_sql(store, "select count(*) from faces")[1] == [(0,)]
    store.append([row(1)])
    columns, _ = run_sql(store, "select * from faces")
    assert {"id", "path", "width", "inversion_error"} <= set(columns)
    assert not {"w", "sigma", "scores"} & set(columns)
    with pytest.raises(QueryError, match=r"nope.*columns: id, path"):
        run_sql(store, "select nope from faces")
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with pytest.raises(QueryError, match=r"[Pp]ermission"):
        run_sql(store, f"select * from read_csv('{secret}')")


def test_export_and_summary(store, tmp_path):
    import pyarrow.parquet as pq

    store.append([row(i) for i in range(3)])
    target = tmp_path / "faces.parquet"
    assert export(store, target, ["id", "sigma"]) == 3
    table = pq.read_table(target)
    assert table.column_names == ["id", "sigma"]
    assert np.allclose(table["sigma"][2].as_py(), row(2).sigma)
    with pytest.raises(InputError, match="no column 'nose'"):
        export(store, target, ["nose"])
    facts = summary(store)
    assert (facts["faces"], facts["style_channels"], facts["covered_channels"]) == (3, 10, 4)
    assert facts["features"] == ["eyes", "hair", "pose"]
    json.dumps(facts)


def test_what_a_killed_run_left_does_not_stand_in_the_way(tmp_path):
    folder = tmp_path / ".ris"
    folder.mkdir()
    left = folder / ".manifest.json.tmp-1-00000000"
    left.write_text("{")
    store = Store.create(folder, SETTINGS)
    store.append([row(0)])
    assert left.exists()  # it might be another run's, that is just being written
    os.utime(left, (1, 1))
    store.compact()
    assert not left.exists()
    assert sorted(content(store)) == ["face0000"]


def test_sql_cannot_write_and_takes_one_statement(store, tmp_path):
    store.append([row(1)])
    manifest = (store.folder / "manifest.json").read_bytes()
    target = store.folder / "manifest.json"
    with pytest.raises(QueryError):
        run_sql(store, f"copy (select 1 as a) to '{target}' (format csv)")
    with pytest.raises(QueryError, match="one SQL statement"):
        select_ids(store, f"true); copy (select 1 a) to '{target}'; select id from faces where (1")
    for empty in ("", ";", "drop view faces; select 1"):
        with pytest.raises(QueryError, match="one SQL statement"):
            run_sql(store, empty)
    with pytest.raises(QueryError, match="the condition is empty"):
        select_ids(store, " ")
    assert target.read_bytes() == manifest


def test_a_store_in_an_oddly_named_folder(tmp_path):
    folder = tmp_path / "it's a*b [c]" / ".ris"
    store = Store.create(folder, SETTINGS)
    store.append([row(1)])
    assert select_ids(store, "width = 100") == {"face0001"}


def test_readers_outlive_a_merge(store, monkeypatch):
    """Whatever a writer does between reading the manifest and the shards, readers answer."""
    for i in range(4):
        store.append([row(i)])
    reader = Store.open(store.folder)
    read = shards.read_light
    merged = []

    def late(path, columns):
        if not merged:
            store.compact()
            merged.append(True)
        return read(path, columns)

    monkeypatch.setattr(shards, "read_light", late)
    assert reader.places(["face0002"])["face0002"][0] == "photos/0002.jpg"
    assert merged
    iterator = Store.open(store.folder).batches(["id"])
    store.append([row(9)])
    store.remove(["face0009"])
    assert sum(len(b) for b in iterator) == 4
    stale = store.manifest()
    store.append([row(10)])
    store.compact()
    with pytest.raises(StoreError, match="changed while it was read: run the command again"):
        list(store.batches(["id"], stale))


def test_reading_once_goes_on_while_shards_are_merged(store, tmp_path, monkeypatch):
    """Another process merges the shards while an export, or a list of rows, has begun."""
    for i in range(4):
        store.append([row(i)])

    def merging(columns, manifest):
        for number, batch in enumerate(Store.batches(store, columns, manifest)):
            yield batch
            if number == 1:
                Store(store.folder).compact()

    for i, read in enumerate(
        (
            lambda: [r for b in store.rows(["id"]) for r in b.to_pylist()],
            lambda: (
                export(store, tmp_path / "out.parquet", ["id"])
                and pq.read_table(tmp_path / "out.parquet").to_pylist()
            ),
        )
    ):
        monkeypatch.setattr(store, "batches", merging)
        assert [r["id"] for r in read()] == [f"face{n:04d}" for n in range(4 + i)]
        monkeypatch.undo()
        assert len(store.manifest().shards) == 1
        store.append([row(4 + i)])


def test_noting_where_weights_are_leaves_no_garbage(store, tmp_path, monkeypatch):
    store.append([row(0)])
    store.append([row(1)])
    with monkeypatch.context() as stuck:  # nothing can be cleaned up, for whatever reason
        stuck.setattr("ris.data.commit.sweep", lambda folder, manifest: None)
        store.compact()
        store.remember(generator=tmp_path / "here.pkl")
        assert len(list((store.folder / "faces").iterdir())) == 3
    assert store.append([row(2)]) == 1
    assert store.generator_file() == tmp_path / "here.pkl"
    listed = {shard.file for shard in store.manifest().shards}
    assert {path.name for path in (store.folder / "faces").iterdir()} == listed
    assert not (store.folder / "commit.json").exists()
