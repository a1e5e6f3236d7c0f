"""A store without its manifest: nothing is taken for empty, and the shards give it back."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from toy_stores import SETTINGS, content, row

from ris.data import shards
from ris.data.durable import replacing
from ris.data.failures import Failure, update_failures
from ris.data.manifest import FILE, Manifest, Shard
from ris.data.recovery import recover
from ris.data.shards import to_table
from ris.data.stats_file import style_statistics
from ris.data.store import Store
from ris.data.verify import verify
from ris.errors import InputError, StoreError

FORMAT2 = ROOT / "tests" / "cases" / "format2" / "store"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.create(tmp_path / ".ris", SETTINGS)
    for i in range(4):
        store.append([row(2 * i), row(2 * i + 1)])
    store.compact()
    store.append([row(9, path="photos/0001.jpg"), row(8)])
    store.remove(["face0003", "face0008"])
    style_statistics(store)
    update_failures(store, [Failure("a.jpg", "read", "empty")], [])
    return store


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store of an earlier version: faces 0 and 2 in one shard, 3 and 4 in another."""
    if int(pa.__version__.partition(".")[0]) < 26:
        pytest.skip("Arrow before 26 cannot read the missing lists of that version's shards")
    return Path(shutil.copytree(FORMAT2, tmp_path / "old" / ".ris"))


@pytest.mark.parametrize("how", ["gone", "flipped", "empty"])
def test_a_lost_manifest_comes_back_to_the_byte(store, how):
    path = store.folder / FILE
    before, rows, files = store.manifest(), content(store), set((store.folder / "faces").iterdir())
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if how == "empty" else path.read_bytes().replace(b"toy", b"tox", 1))
    lost = path.read_bytes() if path.exists() else None
    for ask in (
        lambda: Store.open(store.folder),
        lambda: Store.create(store.folder, SETTINGS),
        lambda: Store.create(store.folder, SETTINGS).append([row(50)]),
    ):
        with pytest.raises(StoreError, match="`ris.recover` makes it anew") as e:
            ask()
        assert "\n" not in str(e.value)
    assert set((store.folder / "faces").iterdir()) == files
    done = recover(store.folder)
    assert (done.shards, done.faces) == (len(before.shards), before.rows)
    assert done.damaged == done.replaced == done.undone == done.doubtful == []
    again = Store.open(store.folder)
    assert content(again) == rows
    assert again.manifest() == before  # settings, shards, state: indices stay valid
    aside = store.folder / "damaged" / FILE
    assert (aside.read_bytes() if aside.exists() else None) == lost
    assert again.append([row(50), row(0)]) == 1
    checked = verify(again)
    assert (checked.damaged, checked.problems, checked.strangers) == ([], [], [])


def test_commands_find_a_store_that_lost_its_manifest(store, ris):
    """`ris info` told to run `ris ingest`, and that deleted every shard."""
    shutil.rmtree(store.folder.parent / "damaged", ignore_errors=True)
    (store.folder / FILE).unlink()
    told = ris("info")
    assert (told.status, told.out) == (1, "")
    assert told.err.count("\n") == 1
    assert "ris verify --recover" in told.err
    done = ris("verify", "--recover")
    assert done.status == 0
    assert "manifest.json is there again: 2 shards, 7 faces" in done.out
    assert ris("info").status == 0
    again = ris("verify", "--recover")
    assert (again.status, again.err.count("\n")) == (1, 1)
    assert "is whole, there is nothing to recover" in again.err
    assert ris("verify", "--recover", "--drop-damaged").status == 1
    assert ris("verify", "--like", store.folder).status == 1
    assert "no shards" in ris("verify", "--recover", "--store", store.folder.parent).err


def test_a_damaged_shard_is_left_out_and_left_there(store):
    shard = store.folder / "faces" / store.manifest().shards[-1].file
    blob = bytearray(shard.read_bytes())
    blob[40] ^= 1
    shard.write_bytes(blob)
    (store.folder / FILE).unlink()
    done = recover(store.folder)
    assert [name.partition(" ")[0] for name in done.damaged] == [shard.name]
    assert shard.read_bytes() == blob
    again = Store.open(store.folder)
    assert verify(again).strangers == [shard.name]
    again.append([row(60)])
    assert shard.read_bytes() == blob
    assert len(content(again)) == done.faces + 1


@pytest.mark.parametrize("complete", [True, False])
def test_a_commit_that_died_is_completed_or_undone(store, monkeypatch, complete):
    before = content(store)

    def die(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "write", die)
        with pytest.raises(KeyboardInterrupt):
            store.remove(["face0000"])
    (store.folder / FILE).unlink()
    new = max((store.folder / "faces").glob("part-*"))
    if not complete:
        new.unlink()
    done = recover(store.folder)
    expected = {k: v for k, v in before.items() if k != "face0000" or not complete}
    assert content(Store.open(store.folder)) == expected
    assert bool(done.replaced) == complete
    assert done.doubtful == []
    files = {p.name for p in (store.folder / "faces").iterdir()}
    assert files == {s.file for s in Store.open(store.folder).manifest().shards}


def test_merged_shards_that_are_still_there_are_not_counted_twice(store):
    faces = store.folder / "faces"
    parts = {
        s.file: (store.folder / "faces" / s.file).read_bytes() for s in store.manifest().shards
    }
    before = content(store)
    store.remove(["face0000"])
    store.compact()
    for name, blob in parts.items():  # as from a backup
        (faces / name).write_bytes(blob)
    (store.folder / FILE).unlink()
    done = recover(store.folder)
    expected = {face: value for face, value in before.items() if face != "face0000"}
    assert content(Store.open(store.folder)) == expected
    assert done.faces == len(expected)
    assert sorted(done.replaced) == sorted(parts)
    assert all((faces / name).read_bytes() == blob for name, blob in parts.items())


def test_numbers_are_not_used_again(store):
    numbers = store.manifest().next_shard
    store.remove([f"face{i:04d}" for i in range(10)])
    store.append([row(30)])
    style_statistics(store)
    store.remove(["face0030"])
    store.append([row(31)])
    last = store.manifest().shards[-1].number
    (store.folder / FILE).unlink()
    recover(store.folder)
    assert Store.open(store.folder).manifest().next_shard > last >= numbers


def test_shards_of_an_earlier_version_need_a_store_made_alike(old, tmp_path):
    before = content(Store.open(old))
    (old / FILE).unlink()
    with pytest.raises(
        StoreError, match=r"earlier version.*generator, catalogue.*`ris.recover\(like="
    ) as e:
        recover(old)
    assert "\n" not in str(e.value)
    wider = dataclasses.replace(SETTINGS, max_resolution=8)
    with pytest.raises(StoreError, match="made with other settings than the store that was named"):
        recover(old, wider)
    done = recover(old, SETTINGS)
    assert (done.shards, done.faces, done.unchecked) == (2, 4, 2)
    assert content(Store.open(old)) == before


def test_a_newer_shard_speaks_for_those_of_an_earlier_version(old):
    Store.open(old).append([row(7)])
    before = content(Store.open(old))
    (old / FILE).unlink()
    done = recover(old)
    assert (done.shards, done.faces, done.unchecked) == (3, 5, 2)
    assert content(Store.open(old)) == before


def test_faces_that_may_have_been_removed_are_kept_and_named(old):
    """An earlier version died between its manifest and the deletion of what it replaced."""
    store = Store.open(old)
    before = content(store)
    later = old / "faces" / "part-00009.parquet"
    pq.write_table(to_table([store.face("face0003")], SETTINGS), later)
    (old / FILE).unlink()
    done = recover(old, SETTINGS)
    assert done.doubtful == ["face0004"]
    assert content(Store.open(old)) == before


def test_shards_of_two_stores_are_not_mixed(store, tmp_path):
    other = Store.create(
        tmp_path / "other" / ".ris", dataclasses.replace(SETTINGS, catalogue="catalogue-2")
    )
    other.append([row(40)])
    source = other.folder / "faces" / other.manifest().shards[0].file
    shutil.copyfile(source, store.folder / "faces" / "part-00090.parquet")
    (store.folder / FILE).unlink()
    with pytest.raises(StoreError, match="made with other settings than the other shards") as e:
        recover(store.folder)
    assert "\n" not in str(e.value)


def test_a_manifest_of_a_newer_version_is_not_replaced(store):
    path = store.folder / FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    text = path.read_text()
    with pytest.raises(StoreError, match="store format 99"):
        recover(store.folder)
    assert path.read_text() == text


def test_a_shard_keeps_what_a_manifest_needs(tmp_path):
    with replacing(tmp_path / "part-00003.parquet") as temporary:
        done = shards.write(
            temporary, iter([to_table([row(1)], SETTINGS)]), SETTINGS, {"beside": "0-2"}
        )
    from ris.data import sealed

    with sealed.opened(tmp_path / "part-00003.parquet") as f:
        note = sealed.note_of(f)
    assert note["beside"] == "0-2"
    assert type(SETTINGS).from_json(note["settings"]) == SETTINGS
    assert Shard("part-00003.parquet", done.rows, 1, done.sha256).number == 3


def test_an_empty_folder_and_one_without_faces_are_explained(tmp_path):
    with pytest.raises(InputError, match="no shards to recover from"):
        recover(tmp_path)
    (tmp_path / "faces").mkdir()
    with pytest.raises(InputError, match="no whole shard"):
        recover(tmp_path)
