"""The user's own tables, joined to faces."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from toy_stores import SETTINGS, row

from ris.data import tables
from ris.data.metadata import Joined, join_metadata
from ris.data.store import Store
from ris.data.views import METADATA, columns_of, run_sql, select_ids
from ris.errors import InputError, StoreError
from ris.evaluate.trsi import identities
from ris.ingest.run import ingest_collection

CASES = ROOT / "tests" / "cases"
SEEDS = [f"faces/seed{i:06d}.jpg" for i in range(60)]


@pytest.fixture
def store_of(tmp_path):
    """Makes a store of faces in photos of some paths."""

    def make(paths: list[str]) -> Store:
        store = Store.create(tmp_path / ".ris", SETTINGS)
        store.append([dataclasses.replace(row(i), path=path) for i, path in enumerate(paths)])
        return store

    return make


@pytest.fixture
def store(store_of):
    return store_of([f"photos/{i:04d}.jpg" for i in range(4)])


@pytest.fixture
def join(store, tmp_path):
    """Writes a table and joins it to the faces face0000 to face0003."""

    def joined(text: str, key: str | None = None) -> Joined:
        table = tmp_path / "labels.csv"
        table.write_text(text)
        return join_metadata(store, table, key)

    return joined


def own_columns(store: Store) -> list[str]:
    columns, _ = run_sql(store, "select * from faces")
    return columns[len(columns_of(store.settings)) :]


def values(store: Store, *columns: str) -> list[tuple[object, ...]]:
    quoted = ", ".join(f'"{c}"' for c in columns)
    return run_sql(store, f"select {quoted} from faces order by id")[1]


# -- the cases that once went wrong ------------------------------------------------------------


@pytest.mark.parametrize("name", ["metadata_abs.csv", "metadata_dotslash.csv"])
def test_paths_are_paths(store_of, name):
    store = store_of(["photos/a.jpg", "photos/b.jpg"])
    assert join_metadata(store, CASES / name) == Joined(2, 0, "file")
    assert values(store, "smiling") == [(1,), (0,)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unquoted_comma.csv", "has 2 columns, but line 22 has 3"),
        ("metadata_ragged.csv", "has 3 columns, but line 2 has 2, line 3 has 4"),
        ("noheader.csv", r"has no header \(it begins with 'seed000000.jpg, Smiling'\)"),
    ],
)
def test_cases_that_are_refused(store_of, name, message):
    store = store_of(SEEDS)
    with pytest.raises(InputError, match=message):
        join_metadata(store, CASES / name)
    assert not (store.folder / METADATA).exists()


def test_nan_is_unknown(store_of):
    store = store_of(SEEDS)
    assert join_metadata(store, CASES / "nan.csv").matched == 60
    assert select_ids(store, "age > 1000") == set()
    assert select_ids(store, "age is null")
    unknown = [face for face, who in values(store, "id", "identity") if who is None]
    assert unknown
    ids = [face for (face,) in values(store, "id")]
    with pytest.raises(InputError, match=f"{len(unknown)} faces have no identity"):
        identities(store, ids, "identity")


def test_a_column_is_read_to_its_end(store_of):
    store = store_of(SEEDS)
    assert join_metadata(store, CASES / "sniff.csv.gz").unused == 21_000
    assert values(store, "score") == [(i / 100,) for i in range(60)]


def test_celebas_own_list(store_of):
    store = store_of(SEEDS)
    assert join_metadata(store, CASES / "list_attr_celeba.txt").matched == 60
    assert own_columns(store) == ["5_o_Clock_Shadow", "Arched_Eyebrows", "Smiling", "Male"]
    first = (CASES / "list_attr_celeba.txt").read_text().splitlines()[2].split()
    assert values(store, *own_columns(store))[0] == tuple(map(int, first[1:]))


# -- the join ----------------------------------------------------------------------------------


def test_it_goes_by_file_name(store, join):
    found = join("image_id,Smiling,height\n0001.jpg,1,7\n0002.jpg,-1,8\nother.jpg,1,9\n")
    assert (found.matched, found.without, found.column) == (2, 2, "image_id")
    assert found.photos_without == ("photos/0000.jpg", "photos/0003.jpg")
    assert (found.unused, found.names_unused) == (1, ("other.jpg",))
    assert select_ids(store, "Smiling = 1") == {"face0001"}
    assert values(store, "user_height")[2] == (8,)
    assert join("file,who\nphotos/0003.jpg,Ann\n0001.jpg,Bo\n").matched == 2
    assert values(store, "Smiling", "who") == [(None, None), (1, "Bo"), (-1, None), (None, "Ann")]


def test_the_same_table_twice_changes_nothing(store, join):
    text = "file,zeta,alpha,Mid\n0001.jpg,1,2,3\n"
    join(text)
    before = (store.folder / METADATA).read_bytes()
    assert own_columns(store) == ["zeta", "alpha", "Mid"]
    join(text)
    assert (store.folder / METADATA).read_bytes() == before
    join("file,new,ALPHA\n0001.jpg,4,5\n0002.jpg,,6\n")
    assert own_columns(store) == ["zeta", "alpha", "Mid", "new"]
    assert values(store, "alpha", "zeta", "new")[1:3] == [(5, 1, 4), (6, None, None)]


def test_a_table_about_other_photos_is_an_error(store, join):
    with pytest.raises(InputError) as e:
        join("who,file,smiling\nAnn,x1.jpg,1\nBo,x2.jpg,0\n")
    for part in ("column 'file'", "'x1.jpg' (line 2)", "'photos/0000.jpg'", "`metadata_key`"):
        assert part in str(e.value)
    assert not (store.folder / METADATA).exists()


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("name,picture\nAnn,0001.jpg\nBo,0002.jpg\n", "picture"),  # `name` is of persons
        ("image,b\nAnn,photos/0001\nBo,photos/0002\n", "b"),
        ("name,path,n\n0001.jpg,0001.jpg,1\n", "path"),
        ("who,n,0\nphotos/0001,1,0\nx,2,0\n", "who"),
    ],
)
def test_the_column_of_files_is_the_one_that_holds_them(store, join, text, column):
    found = join(text)
    assert (found.column, found.matched > 0) == (column, True)


def test_numbers_are_file_names_only_where_nothing_else_is(store_of, tmp_path):
    store = store_of(["0.jpg", "1.jpg", "2.jpg"])
    table = tmp_path / "t.csv"
    table.write_text("smiling,photo\n0,1.jpg\n1,0.jpg\n")
    assert join_metadata(store, table).column == "photo"
    assert values(store, "smiling") == [(1,), (0,), (None,)]
    table.write_text("idx,age\n0,20\n1,30\n")
    assert join_metadata(store, table).column == "idx"
    assert values(store, "age") == [(20,), (30,), (None,)]


def test_two_columns_of_files_are_no_choice(store, join):
    text = "left,right\n0001.jpg,0002.jpg\n0002.jpg,0003.jpg\n"
    with pytest.raises(InputError, match="'left' and 'right' both hold photos"):
        join(text)
    assert join(text, "right").column == "right"
    assert values(store, "left") == [(None,), (None,), ("0001.jpg",), ("0002.jpg",)]
    assert join(text, "LEFT").column == "left"
    with pytest.raises(InputError, match="no column 'up'; there are: left, right"):
        join(text, "up")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "file,a\n0001.jpg,1\n0001.jpg,1\n",
            r"line 2\) and '0001.jpg' \(line 3\) are several rows",
        ),
        ("0001,x\n0002,y\n0003,z\n", "has no header"),
        ("0001,Ann\n0002,Bo\n", "has no header: its first line names the photo '0001'"),
    ],
)
def test_what_is_wrong_with_a_table(join, text, message):
    with pytest.raises(InputError, match=message):
        join(text)


def test_columns_of_one_name_and_two_types(store, join):
    """Whole numbers and fractions are numbers; a number and a text are text."""
    join("file,a,b,c,d\n0001.jpg,1,7,,true\n0002.jpg,2,8,,false\n")
    join("file,a,b,c,d\n0001.jpg,.5,007,1.5,x\n")
    assert values(store, "a", "b", "c", "d")[1:3] == [
        (0.5, "007", 1.5, "x"),
        (2.0, "8", None, "false"),
    ]
    join("file,a,c\n0001.jpg,,\n")
    assert values(store, "a", "c")[1] == (0.5, 1.5)


def test_lists_cannot_become_numbers(store, join, tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"file": ["0001.jpg"], "a": [[1, 2]], "m": [None]}), path)
    join_metadata(store, path)
    join_metadata(store, path)
    assert values(store, "a", "m")[1] == ([1, 2], None)
    with pytest.raises(InputError, match="column 'a' is int64 and was list"):
        join("file,a\n0002.jpg,3\n")
    assert values(store, "a")[1] == ([1, 2],)


def test_a_type_that_sql_cannot_read_is_refused(store, tmp_path):
    path = tmp_path / "t.parquet"
    nested = pa.ListArray.from_arrays([0, 1], pa.array(np.array([1.5], np.float16)))
    pq.write_table(pa.table({"file": ["0001.jpg"], "good": [1], "bad": nested}), path)
    with pytest.raises(InputError, match="column 'bad' is list<.*which SQL cannot read"):
        join_metadata(store, path)
    assert run_sql(store, "select count(*) from faces")[1] == [(4,)]


def test_damaged_metadata_is_told(store, join):
    join("file,a\n0001.jpg,1\n")
    (store.folder / METADATA).write_bytes(b"PAR1")
    with pytest.raises(
        StoreError, match=r"`Collection.verify\(drop_damaged=True\)` puts it aside, then give the"
    ):
        join("file,a\n0001.jpg,1\n")


def test_column_names_have_no_case_and_may_be_odd(store, join):
    assert join('name,file,Grin,"a""b",ID,Width\nAnn,0001.jpg,1,2,3,4\n').matched == 1
    assert join('file,grin,"a""b"\n0001.jpg,7,8\n').matched == 1
    assert own_columns(store) == ["name", "Grin", 'a"b', "user_ID", "user_Width"]
    assert values(store, "name", "Grin", "user_ID", "user_Width")[1] == ("Ann", 7, 3, 4)


def test_a_store_without_faces(store_of):
    assert join_metadata(store_of([]), CASES / "nan.csv").matched == 0


# -- the command -------------------------------------------------------------------------------


def test_a_wrong_table_is_told_before_the_ingest(faces, models, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("file,a\nx1.jpg,1\n")
    for table, message in ((tmp_path / "nope.csv", "no metadata file"), (other, "'x1.jpg'")):
        with pytest.raises(InputError, match=message):
            ingest_collection(str(faces), tmp_path / ".ris", models, metadata=table)
    assert not (tmp_path / ".ris").exists()


def test_the_command_says_what_it_joined(filled, ris, tmp_path, monkeypatch):
    """And reads its table once."""
    shutil.copytree(filled.folder, tmp_path / ".ris")
    shutil.copytree(filled.root / "faces", tmp_path / "faces") if (
        filled.root / "faces"
    ).exists() else None
    folder = next(
        p for p in (tmp_path / "faces", filled.resolve(_a_path(filled)).parent) if p.exists()
    )
    reads = []
    read = tables.read_delimited
    monkeypatch.setattr(tables, "read_delimited", lambda p: reads.append(p) or read(p))
    table = tmp_path / "t.csv"
    table.write_text("who,pic\nAnn,seed000101\nBo,SEED000102.JPG\nEve,else.jpg\n")
    line = ("ingest", folder, "--metadata", table, "--metadata-key", "pic", "--store", ".ris")
    status, out, err = ris(*line)
    assert status == 0, err
    assert "metadata for 2 faces by column pic, none for 58: " in out
    assert "seed000100.jpg" in out and ", …\n" in out
    assert "1 rows of it are about other photos: else.jpg\n" in out
    assert len(reads) == 1
    found = json.loads(ris(*line, "--json").out)["metadata"]
    assert (found["matched"], found["without"], found["column"]) == (2, 58, "pic")
    table.write_text("who,pic\nAnn,nobody.jpg\n")
    status, _, err = ris(*line)
    assert (status, err.count("\n")) == (1, 1)
    assert "column 'pic' has 'nobody.jpg' (line 2)" in err


def _a_path(store: Store) -> str:
    return str(run_sql(store, "select path from faces limit 1")[1][0][0])


def test_infinity_stays_a_number(store, join):
    join("file,a\n0001.jpg,inf\n0002.jpg,1.5\n")
    assert values(store, "a")[1:3] == [(math.inf,), (1.5,)]
