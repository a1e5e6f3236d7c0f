"""Damaged files of an index: an error of one line or the same results, and never a crash; writes
that fail publish nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from ris.errors import StoreError
from ris.index import KINDS
from ris.index.directory import LockedFolder, check_index, open_index
from ris.index.files import SPARSE, SUMS
from ris.index.kind import unit_rows
from ris.index.meta import META
from ris.index.writing import IndexAppender, IndexWriter
from ris.ops import scan, sums

DIMS = 48
ROWS = 700


def random_rows(n: int, hard: bool, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, DIMS)).astype(np.float32)
    if hard:
        rows *= rng.random((n, DIMS)) < 0.2
        rows[:, 0] = 1
    return rows


def write(folder: Path, kind: str, hard: bool, rows: int = ROWS) -> None:
    with IndexWriter(folder, DIMS) as writer:
        writer.append(random_rows(rows, hard), [f"{i:06d}" for i in range(rows)])
        writer.finish(kind, {"feature": folder.name}, attached={"mean": np.arange(5.0)})
    with IndexAppender(folder) as appender:  # files of a second revision, rows added and deleted
        appender.drop(np.array([3]))
        appender.append(random_rows(5, hard, 1), [f"x{i}" for i in range(5)])
        appender.finish({"feature": folder.name}, {"mean": np.arange(5.0)})


def answers(folder: Path, hard: bool) -> list[np.ndarray]:
    """Everything that a reader may ask of an index."""
    opened = open_index(folder)
    queries = random_rows(12, hard, 2)
    found = [opened.index.all_scores(queries[0]), np.array(opened.ids), opened.attached["mean"]]
    for some in (queries[:1], queries):  # one scanned by itself, and many together
        for hits in opened.index.search(some, 4):
            found += [hits.rows, hits.scores]
    return found


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(
        np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in zip(a, b, strict=True)
    )


def files_of(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_told_or_changes_nothing(tmp_path, kind, hard):
    folder = tmp_path / "eyes"
    write(folder, kind, hard)
    true = answers(folder, hard)
    check_index(folder)
    rng = np.random.default_rng(7)
    for path in files_of(folder):
        content = path.read_bytes()
        edges = [0, len(content) // 2, len(content) - 1]
        for at in [*edges, *rng.integers(0, len(content), 12).tolist()]:
            flipped = bytearray(content)
            flipped[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(flipped)
            told = None
            try:
                found = answers(folder, hard)
            except StoreError as error:
                told = str(error)
                assert "\n" not in told
                assert (
                    told.endswith("run `Collection.index('eyes', rebuild=True)`")
                    or META in path.name
                )
            else:
                assert same(found, true), f"{path.name} byte {at}"
            if path.name != META:
                assert told, f"{path.name} byte {at} was not noticed"
                with pytest.raises(StoreError, match=path.name.split(".")[0]):
                    check_index(folder)
        path.write_bytes(content)
    assert same(answers(folder, hard), true)


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
@pytest.mark.parametrize("native", [True, False], ids=["compiled", "numpy"])
def test_damage_of_the_vectors_is_told_by_every_way_to_them(tmp_path, hard, native, monkeypatch):
    if not native:
        for module in (scan, sums):
            monkeypatch.setattr(module, "library", lambda: None)
    folder = tmp_path / "eyes"
    write(folder, "exact", hard)
    queries = random_rows(12, hard, 2)
    unit = unit_rows(queries, DIMS, "query")
    row = np.array([300])
    path = next(folder.glob("*/values.f16" if hard else "*/vectors.f16"))
    ends = np.fromfile(path.with_name(SPARSE[0]), "<i8") if hard else np.arange(1, ROWS) * DIMS
    content = bytearray(path.read_bytes())
    content[2 * int(ends[300]) - 2] ^= 4  # in row 300
    path.write_bytes(content)
    ways = {
        "scan": lambda opened: opened.index.search(queries[:1], 3),
        "shared scan": lambda opened: opened.index.search(queries, 3),
        "scores": lambda opened: opened.index.all_scores(queries[0]),
        "some scores": lambda opened: opened.index.vectors.cosines(unit[0], row),
        "blocks": lambda opened: list(opened.index.vectors.blocks()),
        "some blocks": lambda opened: list(opened.index.vectors.blocks(row)),
    }
    if not hard:
        ways["products"] = lambda opened: opened.index.vectors.products(unit, 299, 301)
        ways["some products"] = lambda opened: opened.index.vectors.products_of(unit, row)
    for way, use in ways.items():
        opened = open_index(folder)
        opened.index.vectors.cosines(
            unit[0], np.array([299, 301])
        )  # rows that are whole stay usable
        with pytest.raises(StoreError, match=r"row 300 is not what was written.*rebuild=True\)`$"):
            use(opened)
            pytest.fail(way)


def test_sums_tell_every_change_of_one_value_and_rows_that_changed_places():
    rng = np.random.default_rng(0)
    half = rng.standard_normal((40, 30)).astype(np.float16)
    whole = sums.dense_sums(half)
    for bit in range(16):
        changed = half.copy()
        changed.view(np.uint16)[:, bit] ^= np.uint16(1 << bit)
        assert (sums.dense_sums(changed) != whole).all()
    assert (sums.dense_sums(half[:, ::-1].copy()) != whole).all()


@pytest.mark.parametrize("native", [True, False], ids=["compiled", "numpy"])
def test_no_row_of_hostile_ends_is_read(native, monkeypatch):
    """Ends before the start, beyond the end, in the wrong order, and a row longer than any."""
    if not native:
        monkeypatch.setattr(sums, "library", lambda: None)
    values = np.ones(40, np.float16)
    channels = np.arange(40, dtype=np.uint16)
    ends = np.array([4, 2, 1 << 60, -(1 << 62), 8, 8, 38, 40], np.int64)
    found = sums.sparse_sums(ends, channels, values, 20)
    bad = [1, 2, 3, 4, 5, 6]  # the fifth begins before the start
    assert (found == sums.DAMAGED).nonzero()[0].tolist() == bad
    if native and scan.library() is not None:
        query = np.ones(20, np.float32)
        for row in (1, 2, 3, 4, 5, -1, 8, 1 << 40):
            with pytest.raises(ValueError, match="there is no such row"):
                scan.sparse_cosines(ends, channels, values, query, np.array([row]))
        far = np.full(40, 65535, np.uint16)  # channels beyond the query count as 0
        assert scan.sparse_cosines(ends, far, values, query, np.array([0, 7])).tolist() == [0, 0]
        with pytest.raises(ValueError, match="there is no such row"):
            scan.half_cosines(np.ones((3, 4), np.float16), np.ones(4, np.float32), np.array([3]))


def test_only_what_is_ours_is_cleaned_up(tmp_path):
    folder = tmp_path / "eyes"
    write(folder, "sketch", False)
    build = next(folder.glob("build-*"))
    kept = [
        *(folder / n for n in ("build-notes", ".tmp-mine", "notes.txt", ".meta.json.tmp-copy")),
        *(build / n for n in ("vectors.f16.bak", "notes.txt")),
        folder / "build-0123abcd" / "mine.txt",
    ]
    (folder / "build-0123abcd").mkdir()
    (folder / ".tmp-89abcdef").mkdir()
    for path in kept:
        path.write_text("mine")
    gone = [
        build / "ids.7.npy",
        folder / "build-0123abcd" / "vectors.f16",
        folder / ".tmp-89abcdef" / "codes.i8",
        folder / ".meta.json.tmp-12-0a1b2c3d",
    ]
    for path in gone:
        path.write_text("left by a dead run")
    LockedFolder(folder).release()
    assert [p for p in kept if not p.exists()] == [] and [p for p in gone if p.exists()] == []
    assert not (folder / ".tmp-89abcdef").exists()
    check_index(folder)
    write(folder, "exact", False)  # another build replaces the first; files of others stay
    assert [p for p in kept if not p.exists()] == []
    check_index(folder)


LIMITED = """
import json, resource, sys
from pathlib import Path
import numpy as np
from ris.index.writing import IndexAppender
from ris.index.writing import IndexWriter
from ris.errors import StoreError
from test_index_damage import DIMS, META, answers, random_rows, same
folder, kind, what = Path(sys.argv[1]), *sys.argv[2:4]
before, meta = answers(folder, False), (folder / META).read_text()
sizes = {record["bytes"] for record in json.loads(meta)["files"].values()}
for limit in sorted({100, 1000, *(size + 1 for size in sizes)}):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        if what == "build":
            with IndexWriter(folder, DIMS) as writer:
                writer.append(random_rows(90, False, 5), [f"new{i}" for i in range(90)])
                writer.finish(kind, {})
        else:
            with IndexAppender(folder) as appender:
                appender.append(random_rows(90, False, 5), [f"new{i}" for i in range(90)])
                appender.finish({}, {"mean": np.arange(5.0)})
    except StoreError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert (folder / META).read_text() == meta and same(answers(folder, False), before), limit
"""


@pytest.mark.parametrize("what", ["build", "append"])
@pytest.mark.parametrize("kind", ["sketch", "hnsw"])
def test_a_write_that_fails_anywhere_publishes_nothing(tmp_path, kind, what):
    """The system refuses, for real, to let files grow beyond a limit."""
    folder = tmp_path / "eyes"
    with IndexWriter(folder, DIMS) as writer:
        writer.append(random_rows(30, False), [str(i) for i in range(30)])
        writer.finish(kind, {}, attached={"mean": np.arange(5.0)})
    places = [ROOT, ROOT / "tests", ROOT / "tests" / "index"]
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, folder, kind, what],
        cwd=ROOT / "tests" / "index",
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, places)),
        },
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    told = run.stdout.splitlines()
    assert len(told) > 4 and all(f"cannot write {folder}" in line for line in told), told
    with IndexAppender(folder) as appender:
        appender.append(random_rows(90, False, 5), [f"new{i}" for i in range(90)])
        appender.finish({}, {"mean": np.arange(5.0)})
    check_index(folder)
    assert open_index(folder).meta.rows == 120


def test_a_file_that_is_not_as_long_as_what_was_written_is_an_error(tmp_path, monkeypatch):
    """A disk that loses the end of a file without saying so."""
    original = os.fsync

    def fsync(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(SUMS):
            os.ftruncate(fd, 4)
        original(fd)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", fsync)
    lost = pytest.raises(StoreError, match=r"4 of 120 bytes arrived in sums.u32")
    with lost, IndexWriter(tmp_path / "eyes", DIMS) as writer:
        writer.append(random_rows(30, False))
        writer.finish("exact", {})
    assert not (tmp_path / "eyes").exists()
