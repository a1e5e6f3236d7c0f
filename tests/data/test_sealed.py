"""Damage of the store's Parquet files: no flipped bit gives other rows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_stores import SETTINGS, content, row

from ris.data import sealed, shards
from ris.data.failures import FILE as FAILURES
from ris.data.failures import Failure, read_failures, update_failures
from ris.data.metadata import join_metadata
from ris.data.stats_file import FILE as STATISTICS
from ris.data.stats_file import style_statistics
from ris.data.store import Store
from ris.data.views import run_sql
from ris.errors import StoreError
from tests.torture.children import Children
from tests.torture.limits import limit_descriptors


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.create(tmp_path / ".ris", SETTINGS)
    store.append([row(i) for i in range(3)])
    return store


def flips(path: Path, step: int = 1):
    """The file with one bit flipped at a time, at every byte; whole again at the end."""
    whole = path.read_bytes()
    for i in range(0, len(whole), step):
        with path.open("r+b") as file:  # in place: as a disk would do it
            file.seek(i)
            file.write(bytes([whole[i] ^ (1 << i % 8)]))
        yield i
        with path.open("r+b") as file:
            file.seek(i)
            file.write(whole[i : i + 1])


def survey(path: Path, read: Callable[[], object], step: int = 1) -> tuple[int, int]:
    """How many flips were seen, and how many changed nothing; one line each, and no other ends."""
    right = read()
    seen, same = [], 0
    for _ in flips(path, step):
        try:
            assert read() == right
            same += 1
        except StoreError as e:
            seen.append(str(e))
    assert read() == right
    assert not [message for message in seen if "\n" in message or path.name not in message]
    return len(seen), same


def rows_of(path: Path) -> list[dict[str, object]]:
    return [r for batch in shards.read(path) for r in batch.to_pylist()]


def test_no_flipped_bit_of_a_shard_changes_a_row(store):
    path = store.folder / "faces" / store.manifest().shards[0].file
    seen, same = survey(path, lambda: rows_of(path))
    assert seen > 20 * same  # the rest is fields of page headers that nothing uses
    whole = len(path.read_bytes())
    missed = 0
    for _ in flips(path, 29):
        try:
            sealed.check(path)
            missed += 1
        except StoreError:
            pass
    assert missed == 0, whole


def test_no_flipped_bit_of_a_shard_changes_an_answer(store):
    path = store.folder / "faces" / store.manifest().shards[0].file
    ask = "select id, path, width, file_mtime_ns, quad from faces order by id"
    survey(path, lambda: run_sql(store, ask), 97)
    survey(path, lambda: run_sql(store, "select id from faces"), 61)
    survey(path, lambda: run_sql(store, "select count(*) from faces where id > 'face0001'"), 101)
    survey(path, lambda: store.face("face0001").path, 13)


def test_no_flipped_bit_of_what_lies_beside_changes_a_value(store, tmp_path):
    update_failures(store, [Failure("b.jpg", "decode", "damaged")], [])
    path = store.folder / "failures.parquet"
    assert survey(path, lambda: read_failures(store)) == (len(path.read_bytes()), 0)
    table = tmp_path / "labels.csv"
    table.write_text("file,who,age\n0001.jpg,Ann,7\n0002.jpg,Bo,8\n")
    join_metadata(store, table)
    path = store.folder / "metadata.parquet"
    ask = "select id, who, age from faces order by id"
    seen, same = survey(path, lambda: run_sql(store, ask), 17)
    assert seen > 5 * same


def test_statistics_heal_whatever_is_flipped(store, caplog):
    right = [m.tobytes() for m in style_statistics(store).channel_moments()]
    path = store.folder / STATISTICS
    whole = path.read_bytes()
    for i in range(0, len(whole), 41):
        flipped = bytearray(whole)
        flipped[i] ^= 1 << i % 8
        path.write_bytes(flipped)
        assert [m.tobytes() for m in style_statistics(store).channel_moments()] == right
    assert "computed again" in caplog.text


@pytest.mark.parametrize("cut", [0, 3, 4, 11, 200, -1, -9])
def test_a_torn_file_is_one_line(store, cut):
    path = store.folder / "faces" / store.manifest().shards[0].file
    os.truncate(path, cut if cut >= 0 else path.stat().st_size + cut)
    for read in (lambda: content(store), lambda: store.face("face0001"), store.known):
        with pytest.raises(StoreError, match="`Collection.verify` lists what is lost") as e:
            read()
        assert "\n" not in str(e.value)
    with pytest.raises(StoreError, match="missing or damaged"):
        run_sql(store, "select count(*) from faces")


def test_another_parquet_file_in_the_place_of_a_shard_is_one_line(store):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = store.folder / "faces" / store.manifest().shards[0].file
    for table in (pa.table({"id": ["a"]}), pa.table({"id": [1], "path": ["x"]})):
        pq.write_table(table, path)
        with pytest.raises(StoreError, match="missing or damaged"):
            content(store)


def test_the_note_is_what_was_written(tmp_path):
    import pyarrow as pa

    path = tmp_path / "x.parquet"
    table = pa.table({"a": ["ris-seal:" + "0" * 64, "ris-seal:" + "f" * 64]})
    sealed.write_table(path, table, {"b": ["ris-seal:" + "0" * 64, 1, None]})
    assert sealed.read_table(path).equals(table)
    with sealed.opened(path) as f:
        assert sealed.note_of(f) == {"b": ["ris-seal:" + "0" * 64, 1, None]}
        assert sealed.is_sealed(f)
    sealed.check(path)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of processes are Linux's")
def test_a_whole_file_is_not_taken_for_damaged_where_descriptors_are_short(store, tmp_path):
    update_failures(store, [Failure("a.jpg", "decode", "damaged")], [])
    path = store.folder / FAILURES
    none_left = Children(tmp_path).run(
        lambda: sealed.read_table(path).num_rows, lambda _: limit_descriptors(0)
    )
    assert none_left.status == "refused"
    assert none_left.message.startswith(f"{path} cannot be read now (too many files are open: ")
    assert Children(tmp_path).run(lambda: sealed.read_table(path).num_rows).value == 1
