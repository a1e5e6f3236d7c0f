"""`ris verify`, and commands beside damaged files: nothing is wrong in silence, nothing blocks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_stores import SETTINGS, content, row

from ris.data import verify as verify_module
from ris.data.failures import Failure, read_failures, update_failures
from ris.data.metadata import join_metadata
from ris.data.stats_file import style_statistics
from ris.data.store import Store
from ris.data.verify import verify
from ris.data.views import run_sql, select_ids
from ris.errors import StoreError

BESIDE = ("stats.parquet", "failures.parquet", "metadata.parquet")


def full_store(tmp_path: Path) -> Store:
    """A store of three faces with every file that a store may have beside its shards."""
    store = Store.create(tmp_path / ".ris", SETTINGS)
    store.append([row(0), row(1)])
    store.append([row(2)])
    style_statistics(store)
    update_failures(store, [Failure("a.jpg", "read", "empty")], [])
    table = tmp_path / "labels.csv"
    table.write_text("file,who\n0001.jpg,Ann\n")
    join_metadata(store, table)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return full_store(tmp_path)


def flip(path: Path, at: int = 30) -> None:
    blob = bytearray(path.read_bytes())
    blob[at] ^= 4
    path.write_bytes(blob)


def test_a_whole_store_has_no_problem(store):
    found = verify(store)
    assert (found.shards, found.faces, found.unchecked) == (2, 3, 0)
    assert found.damaged == found.problems == found.strangers == []
    assert len(found.missing_photos) == 3


@pytest.mark.parametrize("name", BESIDE)
def test_every_byte_beside_the_shards_is_checked(store, name):
    path = store.folder / name
    size = path.stat().st_size
    for at in range(0, size, 13):
        flip(path, at)
        (problem,) = verify(store).problems
        assert problem.startswith(f"{name} is damaged (")
        assert "\n" not in problem
        flip(path, at)
    assert verify(store).problems == []


def test_damaged_files_are_put_aside_and_the_store_goes_on(store, ris):
    for name in BESIDE:
        flip(store.folder / name)
    told = ris("verify")
    assert told.status == 1
    assert all(f"{name} is damaged" in told.out for name in BESIDE)
    assert told.err.startswith("ris: 3 damaged beside the faces: stats.parquet is damaged")
    done = ris("verify", "--drop-damaged")
    assert done.status == 0
    assert {p.name for p in (store.folder / "damaged").iterdir()} == set(BESIDE)
    assert ris("verify").status == 0
    assert json.loads(ris("verify", "--json").out)["problems"] == []
    assert style_statistics(store).count == 3
    assert read_failures(store) == []
    assert "who" not in run_sql(store, "describe faces")[1]


def test_a_damaged_list_of_failures_blocks_nothing(store, ris, caplog):
    flip(store.folder / "failures.parquet")
    told = ris("info")
    assert told.status == 0
    assert "faces" in told.out
    assert "the list of failures cannot be read" in caplog.text
    with pytest.raises(StoreError, match=r"failures.parquet is missing or damaged \("):
        read_failures(store)
    update_failures(store, [Failure("b.jpg", "read", "empty")], [])
    assert [f.path for f in read_failures(store)] == ["b.jpg"]
    assert (store.folder / "damaged" / "failures.parquet").exists()


def test_damaged_metadata_is_named_with_what_to_do(store, tmp_path):
    flip(store.folder / "metadata.parquet")
    for ask in (
        lambda: select_ids(store, "who = 'Ann'"),
        lambda: join_metadata(store, tmp_path / "labels.csv"),
    ):
        with pytest.raises(StoreError, match=r"metadata.parquet is damaged \(.*`metadata`") as e:
            ask()
        assert "\n" not in str(e.value)
    assert store.face("face0001").id == "face0001"


def test_a_damaged_shard_goes_aside_and_is_told(store, caplog):
    shard = store.folder / "faces" / store.manifest().shards[0].file
    flip(shard)
    blob = shard.read_bytes()
    assert verify(store).damaged == [shard.name]
    verify(store, drop_damaged=True)
    assert (store.folder / "damaged" / shard.name).read_bytes() == blob
    assert "now lies in" in caplog.text
    assert sorted(content(store)) == ["face0002"]
    (store.folder / "faces" / store.manifest().shards[0].file).unlink()
    gone = verify(store, drop_damaged=True)
    assert gone.lost_faces == 1
    assert content(store) == {}


@pytest.mark.parametrize("work", ["merge", "remove", "add"])
def test_no_false_alarm_while_others_write(store, monkeypatch, work):
    checked = []
    look = verify_module._check

    def late(opened, shard):
        if not checked:
            if work == "merge":
                store.compact()
            elif work == "remove":
                store.remove(["face0000"])
            else:
                store.append([row(1), row(7, path="photos/0001.jpg")])
        checked.append(shard.file)
        return look(opened, shard)

    monkeypatch.setattr(verify_module, "_check", late)
    found = verify(Store.open(store.folder))
    assert (found.damaged, found.problems, found.strangers) == ([], [], [])
    assert found.faces == store.manifest().rows


def test_a_query_whose_shards_were_merged_is_asked_again(store, monkeypatch):
    """Whatever class of error DuckDB reports a missing file by."""
    from ris.data import views

    connect = views.connect
    merged = []

    def late(*args):
        connection = connect(*args)
        if not merged:
            merged.append(True)
            store.compact()
        return connection

    monkeypatch.setattr(views, "connect", late)
    assert run_sql(store, "select count(path) from faces")[1] == [(3,)]
    assert merged


def test_a_missing_shard_is_not_blamed_on_the_query(store, monkeypatch):
    from ris.data import views

    connect = views.connect
    file = store.folder / "faces" / store.manifest().shards[0].file

    def late(*args):
        connection = connect(*args)
        file.unlink(missing_ok=True)
        return connection

    monkeypatch.setattr(views, "connect", late)
    with pytest.raises(StoreError, match="is missing or damaged .*`Collection.verify` lists"):
        run_sql(store, "select path from faces")


def test_a_number_of_rows_that_does_not_fit_is_damage(store):
    import dataclasses

    manifest = store.manifest()
    first = dataclasses.replace(manifest.shards[0], rows=7)
    dataclasses.replace(manifest, shards=(first, *manifest.shards[1:])).write(store.folder)
    with pytest.raises(StoreError, match="it has 2 rows instead of 7"):
        content(store)
    assert verify(store).damaged == [first.file]
