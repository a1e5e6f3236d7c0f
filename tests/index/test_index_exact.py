import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from ris.errors import IndexMissingError, StoreError
from ris.index import directory
from ris.index.directory import open_index
from ris.index.exact import SLACK, STRIDE, Exact
from ris.index.meta import META, SEAL, read_meta, seal
from ris.index.vectors import GATHERED, Vectors, decode
from ris.index.writing import IndexWriter


def write_index(folder, rows, kind="exact", **meta):
    with IndexWriter(folder, rows.shape[1]) as writer:
        writer.append(rows)
        return writer.finish(kind, meta)


def random_rows(n, dims, seed=0):
    return np.random.default_rng(seed).standard_normal((n, dims)).astype(np.float32)


def full_ranking(rows, query):
    """Slow oracle: all rows by descending cosine, ties by row, in float64."""
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    query = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    scores = unit.astype(np.float64) @ query
    return np.lexsort((np.arange(len(rows)), -scores)), scores


def entries(folder):
    return sorted(p.name for p in folder.rglob("*"))


# --- search ---------------------------------------------------------------------------------


def test_decode_equals_astype_on_every_finite_float16():
    half = np.arange(65536, dtype=np.uint16).view(np.float16)
    half = half[np.isfinite(half)].reshape(-1, 16)
    out = decode(half, np.empty(half.shape, np.float32))
    assert np.array_equal(out, half.astype(np.float32))
    assert np.array_equal(np.signbit(out), np.signbit(half))


@pytest.mark.parametrize("n", [37, STRIDE + 300])  # within one stride, and across two
@pytest.mark.parametrize("active", [60, 5])  # dense queries, and few enough columns to gather
def test_both_ends_equal_the_full_ranking(tmp_path, n, active):
    rows = random_rows(n, 60)
    write_index(tmp_path / "eyes", rows)
    queries = random_rows(5, 60, seed=1) * 7.5
    queries[:, active:] = 0
    assert (active < GATHERED * 60) == (active == 5)
    ends = open_index(tmp_path / "eyes").index.search(queries, 20)
    for i, query in enumerate(queries):
        order, scores = full_ranking(rows, query)
        assert np.array_equal(ends.nearest.rows[i], order[:20])
        assert np.array_equal(ends.furthest.rows[i], order[::-1][:20])
        np.testing.assert_allclose(ends.nearest.scores[i], scores[order[:20]], atol=1e-6)
        np.testing.assert_allclose(ends.furthest.scores[i], scores[order[::-1][:20]], atol=1e-6)


def test_scores_are_cosines_of_the_original_rows(tmp_path):
    rows = random_rows(50, 200) * np.geomspace(1e-20, 1e15, 50, dtype=np.float32)[:, None]
    write_index(tmp_path / "eyes", rows)
    index = open_index(tmp_path / "eyes").index
    ends = index.search(rows[:3], 50)
    unit = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    for i in range(3):
        expected = unit[ends.nearest.rows[i]] @ unit[i]
        np.testing.assert_allclose(ends.nearest.scores[i], expected, atol=2e-4)
        assert ends.nearest.rows[i, 0] == i
        np.testing.assert_allclose(
            index.all_scores(rows[i])[ends.nearest.rows[i]], ends.nearest.scores[i], atol=1e-6
        )
    assert ends.nearest.scores.max() <= 1


def test_ties_come_in_row_order_at_both_ends(tmp_path):
    rows = np.repeat(random_rows(4, 40), 10, axis=0)  # ten copies each, rows 10 i .. 10 i + 9
    rows = rows[np.arange(40).reshape(4, 10).T.ravel()]  # copies of row i at i, i + 4, i + 8 ...
    write_index(tmp_path / "eyes", rows)
    ends = open_index(tmp_path / "eyes").index.search(rows[1:2], 7)
    assert ends.nearest.rows[0].tolist() == [1, 5, 9, 13, 17, 21, 25]
    furthest = int(ends.furthest.rows[0, 0])
    assert ends.furthest.rows[0].tolist() == [furthest + 4 * i for i in range(7)]
    assert furthest < 4


def test_filter_equals_the_ranking_of_the_allowed_rows(tmp_path):
    rows = random_rows(STRIDE + 500, 12)
    write_index(tmp_path / "eyes", rows)
    index = open_index(tmp_path / "eyes").index
    allowed = np.random.default_rng(2).random(len(rows)) < 0.3
    query = random_rows(1, 12, seed=3)
    order, _ = full_ranking(rows, query[0])
    order = order[allowed[order]]
    ends = index.search(query, 15, allowed=allowed)
    assert np.array_equal(ends.nearest.rows[0], order[:15])
    assert np.array_equal(ends.furthest.rows[0], order[::-1][:15])


def test_short_rankings_are_padded(tmp_path):
    rows = random_rows(6, 8)
    write_index(tmp_path / "eyes", rows)
    index = open_index(tmp_path / "eyes").index
    allowed = np.array([True, False, False, True, False, False])
    for hits in index.search(rows[:2], 4, allowed=allowed):
        assert hits.rows.shape == hits.scores.shape == (2, 4)
        assert set(hits.rows[0, :2]) == {0, 3}
        assert (hits.rows[:, 2:] == -1).all() and np.isnan(hits.scores[:, 2:]).all()
    none = index.search(rows[:2], 4, allowed=np.zeros(6, bool))
    assert (none.nearest.rows == -1).all() and np.isnan(none.furthest.scores).all()
    assert index.search(np.empty((0, 8), np.float32), 3).nearest.rows.shape == (0, 3)


def test_more_equal_products_than_the_slack_keep_the_lowest_rows(tmp_path):
    rows = np.ones((5 * SLACK, 4), np.float32)
    write_index(tmp_path / "eyes", rows)
    ends = open_index(tmp_path / "eyes").index.search(rows[:1], 3)
    assert ends.nearest.rows[0].tolist() == ends.furthest.rows[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        (np.zeros((1, 8)), 1, "query vector 0 is zero"),
        (np.array([[1.0] * 8, [np.nan] * 8]), 1, "query vector 1 is not finite"),
        (np.ones((1, 9)), 1, r"query vectors are \(n, 8\)"),
        (np.ones(8), 1, r"query vectors are \(n, 8\)"),
        (np.ones((1, 8)), 0, "k is at least 1"),
    ],
)
def test_queries_without_an_answer_are_refused(tmp_path, query, k, message):
    write_index(tmp_path / "eyes", random_rows(6, 8))
    index = open_index(tmp_path / "eyes").index
    with pytest.raises(ValueError, match=message):
        index.search(query, k)


def test_wrong_filter_is_refused(tmp_path):
    write_index(tmp_path / "eyes", random_rows(6, 8))
    index = open_index(tmp_path / "eyes").index
    for allowed in (np.ones(5, bool), np.ones(6, np.int64)):
        with pytest.raises(ValueError, match="the filter is"):
            index.search(np.ones((1, 8)), 1, allowed=allowed)


@pytest.mark.parametrize("native", ["0", "1"])
@pytest.mark.parametrize("kind", ["exact", "sketch"])
def test_own_kinds_need_neither_faiss_nor_torch(tmp_path, kind, native):
    code = (
        "import sys\n"
        "sys.modules['faiss'] = sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from ris.index.directory import open_index\n"
        "from ris.index.writing import IndexWriter\n"
        "rows = np.random.default_rng(0).standard_normal((900, 64), np.float32)\n"
        "with IndexWriter(Path(sys.argv[1]), 64) as writer:\n"
        "    writer.append(rows); writer.finish(sys.argv[2], {})\n"
        "index = open_index(Path(sys.argv[1])).index\n"
        "print(index.search(rows[:5], 1).nearest.rows.ravel())\n"
        "print(index.search(-rows[:5], 1).furthest.rows.ravel())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "eyes", kind],
        cwd=ROOT,
        env=os.environ | {"RIS_NATIVE": native},
        capture_output=True,
        text=True,
    )
    assert run.stdout == "[0 1 2 3 4]\n" * 2, run.stderr


def test_scan_does_not_hold_the_vectors_in_memory(tmp_path):
    import tracemalloc

    rows, dims = 20_000, 1000  # 80 MB as float32
    path = tmp_path / "vectors.f16"
    np.random.default_rng(0).standard_normal((rows, dims)).astype("<f2").tofile(path)
    index = Exact(Vectors(path, rows, dims))
    tracemalloc.start()
    index.search(np.ones((4, dims)), 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


# --- folder ---------------------------------------------------------------------------------


def test_round_trip_of_meta_and_ids(tmp_path):
    folder = tmp_path / "index" / "eyes"
    with IndexWriter(folder, 8) as writer:
        writer.append(random_rows(3, 8), ["a", "bcd", "é"])
        writer.append(random_rows(0, 8), [])
        writer.append(random_rows(1, 8), ["longer-than-the-others"])
        report = writer.finish("auto", {"feature": "eyes", "norm": "layer"})
    opened = open_index(folder)
    assert [name.decode() for name in opened.ids] == ["a", "bcd", "é", "longer-than-the-others"]
    assert json.loads(report.to_json()) == json.loads((folder / META).read_text())
    assert (opened.meta.kind, opened.meta.rows, opened.meta.dims) == ("exact", 4, 8)
    assert opened.meta.extra == {"feature": "eyes", "norm": "layer"}
    assert opened.meta.recall.nearest == opened.meta.recall.furthest == 1
    assert report.bytes == sum(p.stat().st_size for p in (folder / report.build).iterdir())


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_rows_without_direction_are_refused_and_nothing_is_added(tmp_path, bad):
    rows = random_rows(5, 8)
    rows[3] = bad
    with IndexWriter(tmp_path / "eyes", 8) as writer:
        with pytest.raises(ValueError, match=r"index vector 3 is (zero|not finite)"):
            writer.append(rows)
        assert writer.rows == 0
        writer.append(rows[:3])
        writer.finish("exact", {})
    assert open_index(tmp_path / "eyes").index.rows == 3


def test_ids_for_all_rows_or_for_none(tmp_path):
    with IndexWriter(tmp_path / "eyes", 8) as writer:
        with pytest.raises(ValueError, match="1 ids for 2 rows"):
            writer.append(random_rows(2, 8), ["a"])
        writer.append(random_rows(2, 8))
        with pytest.raises(ValueError, match="all rows have ids or none"):
            writer.append(random_rows(1, 8), ["a"])


def test_an_abandoned_write_leaves_nothing(tmp_path):
    with IndexWriter(tmp_path / "eyes", 8) as writer:
        writer.append(random_rows(2, 8))
    assert not (tmp_path / "eyes").exists()
    with IndexWriter(tmp_path / "eyes", 8) as writer, pytest.raises(ValueError, match="one row"):
        writer.finish("exact", {})
    assert not (tmp_path / "eyes").exists()


def test_a_failed_write_keeps_the_former_index(tmp_path):
    folder = tmp_path / "eyes"
    write_index(folder, random_rows(5, 8))
    before = entries(folder)
    with pytest.raises(RuntimeError), IndexWriter(folder, 8) as writer:
        writer.append(random_rows(9, 8))
        raise RuntimeError
    assert entries(folder) == before
    assert open_index(folder).index.rows == 5


def test_replacing_leaves_open_indices_alive(tmp_path):
    folder = tmp_path / "eyes"
    old = random_rows(5, 8)
    write_index(folder, old)
    opened = open_index(folder).index
    write_index(folder, random_rows(9, 8, seed=1))
    assert opened.search(old[:1], 1).nearest.rows[0, 0] == 0
    assert open_index(folder).index.rows == 9
    assert len(list(folder.iterdir())) == 2  # meta.json and one build


def test_one_writer_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "LOCK_TIMEOUT", 0.2)
    with IndexWriter(tmp_path / "eyes", 8) as writer:
        with pytest.raises(StoreError, match="been written by another run"):
            IndexWriter(tmp_path / "eyes", 8)
        writer.append(random_rows(2, 8))
        writer.finish("exact", {})
    write_index(tmp_path / "eyes", random_rows(3, 8))  # the lock is free again
    assert open_index(tmp_path / "eyes").index.rows == 3


@pytest.mark.parametrize("step", ["append", "rename", "replace", "replaced"])
@pytest.mark.parametrize("existing", [False, True])
def test_a_run_killed_at_any_step_leaves_one_whole_index(tmp_path, step, existing):
    """The killed run dies for real, by SIGKILL, right before (or after) the named step."""
    folder = tmp_path / "eyes"
    if existing:
        write_index(folder, random_rows(5, 8))
    code = f"""
import os, signal, sys
import numpy as np
from pathlib import Path
from ris.index.writing import IndexWriter
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
step, folder = {step!r}, Path(sys.argv[1])
writer = IndexWriter(folder, 8)
writer.append(np.eye(8, dtype='f4'))
if step == 'append': die()
if step == 'rename': Path.rename = die
if step == 'replace': os.replace = die
if step == 'replaced': writer._lock.clean = die
writer.finish('exact', {{}})
"""
    run = subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    if step == "replaced":
        assert open_index(folder).index.rows == 8
    elif existing:
        assert open_index(folder).index.rows == 5
    else:
        with pytest.raises(IndexMissingError):
            open_index(folder)
    write_index(folder, random_rows(7, 8))
    assert open_index(folder).index.rows == 7
    assert len(list(folder.iterdir())) == 2  # what the dead run left is gone


def test_missing_index_names_the_command(tmp_path):
    with pytest.raises(IndexMissingError) as caught:
        open_index(tmp_path / "nose")
    assert str(caught.value) == "no index for 'nose': run `Collection.index('nose')`"


def truncate(folder):
    path = next(folder.glob("*/vectors.f16"))
    os.truncate(path, path.stat().st_size - 2)


def edit_meta(**changes):
    """Other values under a checksum that fits them, as a program with a fault may write them."""

    def edit(folder):
        value = json.loads((folder / META).read_text()) | changes
        del value[SEAL]
        (folder / META).write_text(json.dumps(value | {SEAL: seal(value)}))

    return edit


def flip_meta(folder):
    text = (folder / META).read_text()
    (folder / META).write_text(text.replace('"dims": 8', '"dims": 9'))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "vectors.f16 has 94 bytes, expected 96"),
        (lambda f: next(f.glob("*/vectors.f16")).unlink(), "vectors.f16 cannot be read"),
        (flip_meta, "meta.json is not the file that was written"),
        (lambda f: (f / META).write_text("[" * 100_000), "meta.json"),
        (lambda f: (f / META).write_text("{}"), "meta.json lacks 'version'"),
        (lambda f: (f / META).write_bytes(b"\xff\x00"), "meta.json is not JSON"),
        (lambda f: (f / META).write_text("[1]"), "meta.json"),
        (edit_meta(version=2), "has layout 2, this version of ris reads 3"),
        (edit_meta(version="2"), "meta.json"),
        (edit_meta(kind="lsh"), "unknown index kind 'lsh'"),
        (edit_meta(rows=7), "vectors.f16 does not hold 7 x 8 values"),
        (edit_meta(rows="6"), "meta.json"),
        (edit_meta(rows=6.0), "has a number that cannot be"),
        (edit_meta(gone=-1), "has a number that cannot be"),
        (edit_meta(gone=7), "has a size that cannot be"),
        (edit_meta(build="build-../.."), "names a build that cannot be"),
        (edit_meta(build=7), "names a build that cannot be"),
        (edit_meta(recall=None), "meta.json"),
        (edit_meta(extra=[]), "has no table"),
        (edit_meta(more=1), "meta.json"),
        (edit_meta(kind="sketch", efforts=None), "lacks 'nearest'"),
        (edit_meta(files={}), "names other files"),
    ],
)
def test_damage_is_named_with_the_way_out(tmp_path, damage, message):
    folder = tmp_path / "eyes"
    write_index(folder, random_rows(6, 8))
    damage(folder)
    with pytest.raises(StoreError) as caught:
        open_index(folder)
    text = str(caught.value)
    assert message in text and "\n" not in text
    way = "" if "has layout" in message else ", rebuild=True"
    assert text.endswith(f"run `Collection.index('eyes'{way})`")
    write_index(folder, random_rows(4, 8))  # and that way works
    assert read_meta(folder).rows == 4
    assert open_index(folder).index.rows == 4


def test_hundreds_of_equal_rows_come_in_row_order(tmp_path):
    """More ties than the scan keeps candidates, whatever order float32 products give them."""
    rows = random_rows(400, 4608)
    rows[100:] = rows[0]
    write_index(tmp_path / "eyes", rows)
    ends = open_index(tmp_path / "eyes").index.search(rows[:1], 10)
    assert ends.nearest.rows[0].tolist() == [0, *range(100, 109)]
    ends = open_index(tmp_path / "eyes").index.search(-rows[:1], 10)
    assert ends.furthest.rows[0].tolist() == [0, *range(100, 109)]
