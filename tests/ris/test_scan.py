"""The compiled scans against their references, and both against slow truths."""

import numpy as np
import pytest

from ris.index.vectors import pack
from ris.ops import native, scan
from ris.ops.scan import code_ends, half_cosines, row_slices, score_ends, sparse_cosines


@pytest.fixture(params=["compiled", "numpy"])
def either(request, monkeypatch):
    """Runs a test with the kernels and with the references."""
    if request.param == "numpy":
        monkeypatch.setattr(scan, "library", lambda: None)
    elif native.library() is None:
        pytest.skip("no compiler here")
    return request.param


def ranked(scores, keep, allowed=None):
    """Slow truth: rows by score, equal ones by number, at both ends."""
    rows = [r for r in range(len(scores)) if allowed is None or allowed[r]]
    high = sorted(rows, key=lambda r: (-scores[r], r))
    return high[:keep], sorted(rows, key=lambda r: (scores[r], r))[:keep]


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("rows", [1, 5, 511, 512, 3000])
@pytest.mark.parametrize("width", [1, 31, 128])
@pytest.mark.parametrize("threads", [1, 3])
def test_code_ends(rows, width, threads, monkeypatch):
    monkeypatch.setattr(scan, "threads_for", lambda _: threads)
    rng = np.random.default_rng(rows + width)
    codes = rng.integers(-127, 128, (rows, width)).astype(np.int8)
    codes[rows // 2 :] = codes[: rows - rows // 2]  # half of them are copies
    query = rng.integers(-32767, 32768, width).astype(np.int16)
    products = codes.astype(np.int64) @ query.astype(np.int64)
    for allowed in (None, rng.random(rows) < 0.3, np.zeros(rows, bool)):
        for keep in (1, 7, 400, 5000):
            near, far = code_ends(codes, query, keep, allowed)
            true = ranked(products, keep, allowed)
            assert (near.tolist(), far.tolist()) == true


@pytest.mark.usefixtures("either")
def test_the_largest_products_do_not_overflow():
    codes = np.full((3, scan.MOST_WIDTH), 127, np.int8)
    codes[1] = -127
    codes[2] = 0
    query = np.full(scan.MOST_WIDTH, scan.QUERY_LEVELS, np.int16)
    near, far = code_ends(codes, query, 3)
    assert (near.tolist(), far.tolist()) == ([0, 2, 1], [1, 2, 0])


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("threads", [1, 2])
def test_score_ends(threads, monkeypatch):
    monkeypatch.setattr(scan, "threads_for", lambda _: threads)
    rng = np.random.default_rng(0)
    for scores in (
        rng.standard_normal(2000).astype(np.float32),
        np.round(rng.standard_normal(2000), 1).astype(np.float32),  # many equal
        np.array([0.0, -0.0, 1e-40, -1e-40, 1, -1, 0.0], np.float32),
        np.zeros(1500, np.float32),
        -np.arange(3000, dtype=np.float32),  # the best rows come last at one end
    ):
        for keep in (1, 10, 4000):
            near, far = score_ends(scores, keep)
            assert (near.tolist(), far.tolist()) == ranked(scores, keep)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("dims", [1, 31, 32, 100, 4608])
def test_half_cosines(dims):
    rng = np.random.default_rng(dims)
    wide = rng.standard_normal((50, dims)) * np.geomspace(1, 1e-6, dims)  # down to subnormals
    half = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float16)
    query = half[3].astype(np.float32)
    query[::3] = 0
    rows = np.array([49, 0, 7, 7])
    true = (half.astype(np.float64) @ query.astype(np.float64)).clip(-1, 1).astype(np.float32)
    np.testing.assert_allclose(half_cosines(half, query), true, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(half_cosines(half, query, rows), true[rows], rtol=1e-6, atol=1e-12)
    assert len(half_cosines(half, query, rows[:0])) == 0
    equal = half_cosines(np.repeat(half[:1], 40, axis=0), query)
    assert (equal == equal[0]).all()


@pytest.mark.usefixtures("either")
def test_sparse_cosines_are_those_of_the_dense_rows():
    rng = np.random.default_rng(1)
    dense = rng.standard_normal((60, 300)) * (rng.random((60, 300)) < 0.1)
    dense[:, 5] = 0.5  # no row is empty
    half = (dense / np.linalg.norm(dense, axis=1, keepdims=True)).astype(np.float16)
    ends, channels, values = pack(half, 0)
    query = rng.standard_normal(300).astype(np.float32)
    query /= np.linalg.norm(query)
    expected = half_cosines(half, query)
    np.testing.assert_allclose(
        sparse_cosines(ends, channels, values, query), expected, rtol=1e-5, atol=1e-9
    )
    rows = np.array([59, 0, 0, 31])
    found = sparse_cosines(ends, channels, values, query, rows)
    np.testing.assert_allclose(found, expected[rows], rtol=1e-5, atol=1e-9)
    assert len(sparse_cosines(ends, channels, values, query, rows[:0])) == 0


def test_packed_parts_continue_each_other():
    half = (np.arange(12).reshape(4, 3) % 5).astype(np.float16)
    whole = pack(half, 0)
    first, second = pack(half[:2], 0), pack(half[2:], int(whole[0][1]))
    for one, a, b in zip(whole, first, second, strict=True):
        assert np.array_equal(one, np.concatenate((a, b)))
    at, firsts = row_slices(whole[0], np.arange(2), np.array([3, 1]))
    assert whole[2][at].tolist() == [4, 1, 3, 4] and firsts.tolist() == [0, 2]


def test_threads_follow_the_environment(monkeypatch):
    for text, most in (("1", 1), ("", scan.MOST_THREADS), ("x", scan.MOST_THREADS), ("0", 16)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        scan.cores.cache_clear()
        assert 1 <= scan.cores() <= most
    scan.cores.cache_clear()
