"""The sketch and sparse storage against the exact scan, on rows in the likeness of real ones."""

import numpy as np
import pytest

from ris.errors import StoreError
from ris.index import approximate
from ris.index.directory import check_index, open_index
from ris.index.exact import Exact
from ris.index.files import CODER, CODES, DENSE, SPARSE, SUMS
from ris.index.kind import unit_rows
from ris.index.vectors import SparseVectors, Vectors
from ris.index.writing import IndexWriter
from ris.ops import scan

ROWS, DIMS = 6000, 400


def masked(rows, hard, seed=0):
    """(rows, DIMS) float32: correlated styles under masks that move smoothly with the face."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(99)
    styles = shared.standard_normal((24, DIMS)) / np.arange(1, 25)[:, None]
    odds = shared.standard_normal((24, DIMS)) / np.arange(1, 25)[:, None]
    faces = rng.standard_normal((rows, 24))
    sigma = faces @ styles + 0.3 * rng.standard_normal((rows, DIMS)) + shared.standard_normal(DIMS)
    q = faces @ odds + 2 * shared.standard_normal(DIMS) - 4
    q = (q > 0) | (np.arange(DIMS) < 3) if hard else 1 / (1 + np.exp(-q))
    return (q * sigma).astype(np.float32)


@pytest.fixture(scope="module", params=["soft", "hard"])
def opened(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    rows = masked(ROWS, request.param == "hard")
    for kind in ("exact", "sketch"):
        with IndexWriter(folder / kind, DIMS) as writer:
            for start in range(0, ROWS, 700):
                writer.append(rows[start : start + 700])
            writer.finish(kind, {})
    indices = {kind: open_index(folder / kind) for kind in ("exact", "sketch")}
    return request.param, rows, folder, indices


@pytest.fixture(params=["compiled", "numpy"])
def either(request, monkeypatch):
    if request.param == "numpy":
        for module in (scan, __import__("ris.index.exact", fromlist=["exact"])):
            monkeypatch.setattr(module, "library", lambda: None)
    return request.param


def test_hard_masks_are_stored_by_their_values(opened):
    mask, rows, _, indices = opened
    names = set(indices["exact"].meta.files)
    assert names == {*(SPARSE if mask == "hard" else DENSE), SUMS}
    stored = unit_rows(rows, DIMS, "index").astype(np.float16).astype(np.float32)
    read = np.concatenate([b.copy() for _, b in indices["exact"].index.vectors.blocks()])
    assert np.array_equal(read, stored)
    some = np.array([ROWS - 1, 0, 17, 17])
    read = np.concatenate([b.copy() for _, b in indices["exact"].index.vectors.blocks(some)])
    assert np.array_equal(read, stored[some])
    if mask == "hard":
        share = np.count_nonzero(stored) / stored.size
        assert indices["exact"].meta.bytes < 2 * stored.size * (2 * share + 0.05)


@pytest.mark.usefixtures("either")
def test_exact_ends_equal_the_full_ranking(opened):
    _, rows, _, indices = opened
    unit = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    stored = unit.astype(np.float32).astype(np.float16).astype(np.float64)
    for count in (2, 10):  # scanned one by one, and together
        queries = masked(count, False, seed=5)
        ends = indices["exact"].index.search(queries, 15)
        for i, query in enumerate(queries.astype(np.float64)):
            scores = (stored @ (query / np.linalg.norm(query))).astype(np.float32)
            for hits, sign in zip(ends, (-1, 1), strict=True):
                order = np.lexsort((np.arange(ROWS), sign * scores))[:15]
                np.testing.assert_allclose(hits.scores[i], scores[order], atol=2e-7)
                assert len(set(hits.rows[i]) & set(order)) >= 14  # a tie of roundings may differ


@pytest.mark.usefixtures("either")
def test_sketch_finds_both_ends_with_exact_scores(opened):
    _, _, _, indices = opened
    index, exact = indices["sketch"].index, indices["exact"].index
    queries = masked(40, False, seed=6)
    ends, true = index.search(queries, 10), exact.search(queries, 10)
    for found, wanted in zip(ends, true, strict=True):
        shares = [len(set(a) & set(b)) for a, b in zip(found.rows, wanted.rows, strict=True)]
        assert np.mean(shares) >= 9.9
        for i in range(40):
            known = dict(zip(wanted.rows[i], wanted.scores[i], strict=True))
            for row, score in zip(found.rows[i], found.scores[i], strict=True):
                assert row not in known or abs(known[row] - score) <= 1e-7
    reported = indices["sketch"].meta.recall
    assert min(reported.nearest, reported.furthest) >= 0.99


def test_candidates_decide_the_recall(opened, monkeypatch):
    """With hardly more candidates than results the codes' rounding shows: they are in use."""
    _, _, _, indices = opened
    index = indices["sketch"].index
    truth = approximate.Truth.measure(index.vectors, queries=40, seed=3)
    monkeypatch.setattr(approximate, "candidates", lambda k, factor=1: k)
    narrow = truth.recall(index)
    assert narrow.nearest < 1 and min(narrow.nearest, narrow.furthest) > 0.5


@pytest.mark.parametrize("share", [0.5, 0.06, 0.001])
def test_filters_are_honoured(opened, share):
    _, _, _, indices = opened
    allowed = np.random.default_rng(1).random(ROWS) < share
    queries = masked(10, False, seed=7)
    ends = indices["sketch"].index.search(queries, 10, allowed=allowed)
    true = indices["exact"].index.search(queries, 10, allowed=allowed)
    for found, wanted in zip(ends, true, strict=True):
        there = found.rows >= 0
        assert (there == (wanted.rows >= 0)).all()
        assert allowed[found.rows[there]].all()
        assert np.mean(found.rows == wanted.rows) >= 0.97


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 20, 3000])
def test_copies_come_in_row_order_and_few_rows_are_padded(tmp_path, rows, hard):
    part = masked(rows, hard)
    part[rows // 2 :] = part[0]
    for kind in ("exact", "sketch"):
        with IndexWriter(tmp_path / kind, DIMS) as writer:
            writer.append(part)
            writer.finish(kind, {})
    for query in (part[:1], -part[:1]):
        ends = open_index(tmp_path / "sketch").index.search(query, 30)
        true = open_index(tmp_path / "exact").index.search(query, 30)
        for found, wanted in zip(ends, true, strict=True):
            assert np.array_equal(found.rows, wanted.rows)
            assert np.array_equal(found.scores, wanted.scores, equal_nan=True)
    copies = [0, *range(rows // 2, rows)] if rows > 1 else [0]
    near = open_index(tmp_path / "sketch").index.search(part[:1], 30).nearest.rows[0]
    assert near[: len(copies[:30])].tolist() == copies[:30]


def test_codes_do_not_depend_on_the_blocks(opened):
    _, rows, _, indices = opened
    index = indices["sketch"].index
    again = index.coder.codes(rows[:0])
    assert again.shape == (0, index.codes.shape[1])
    vectors = index.vectors
    parts = [b.copy() for _, b in vectors.blocks(np.arange(50))]
    whole = index.coder.codes(np.concatenate(parts))
    assert (np.abs(whole.astype(int) - index.codes[:50]) <= 1).all()


@pytest.mark.parametrize("name", [CODES, CODER])
def test_foreign_parts_are_refused(tmp_path, name):
    for folder, rows in (("eyes", 200), ("nose", 300)):
        with IndexWriter(tmp_path / folder, DIMS) as writer:
            writer.append(masked(rows, False, seed=rows))
            writer.finish("sketch", {})
    mine, other = (next(tmp_path.glob(f"{f}/*/{name}")) for f in ("eyes", "nose"))
    mine.write_bytes(other.read_bytes())
    with pytest.raises(
        StoreError, match=rf"{name}.*run `Collection.index\('eyes', rebuild=True\)`"
    ):
        check_index(tmp_path / "eyes")


def test_a_cut_off_sparse_file_is_named(tmp_path):
    with IndexWriter(tmp_path / "eyes", DIMS) as writer:
        writer.append(masked(50, True))
        writer.finish("exact", {})
    path = next(tmp_path.glob("eyes/*/values.f16"))
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(StoreError, match="values.f16 has"):
        open_index(tmp_path / "eyes")


def test_block_order_of_the_basis_is_by_strength(opened):
    _, _, _, indices = opened
    index = indices["sketch"].index
    energy = np.square(index.coder.projection(approximate.sample_rows(index.vectors, 0))).mean(
        axis=0
    )
    assert energy[0] > energy[10] > energy[100]


def test_storage_follows_the_first_rows(tmp_path):
    rows = masked(100, True)
    dense = masked(100, False)
    with IndexWriter(tmp_path / "eyes", DIMS) as writer:
        writer.append(rows)
        writer.append(dense)  # sparse storage takes any row
        writer.finish("exact", {})
    vectors = open_index(tmp_path / "eyes").index.vectors
    assert isinstance(vectors, SparseVectors) and not isinstance(vectors, Vectors)
    scores = Exact(vectors).search(dense[5:6], 1).nearest
    assert scores.rows[0, 0] == 105 and scores.scores[0, 0] > 0.9999
