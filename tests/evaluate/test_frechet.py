from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from ris.errors import InputError, MismatchError
from ris.evaluate.embeddings import Embeddings, open_set
from ris.evaluate.frechet import (
    FrechetResult,
    Line,
    compare,
    evaluate_frechet,
    extrapolate,
    fit_line,
    frechet_distance,
    part_moments,
)
from ris.evaluate.moments import Moments, Subsets
from ris.evaluate.plots import frechet_plot
from ris.images import from_pixels
from ris.ingest.alignment.cut import cut_again


def moments(rows) -> Moments:
    found = Moments(np.shape(rows)[1])
    found.add(np.asarray(rows, np.float64))
    return found


class MeanColour:
    """An extractor that is quick: the three means, and the deviation of the first colour."""

    name = "mean colour"
    dim = 4

    def image(self, path, quad):
        return from_pixels(cut_again(path, quad, 64)[None])[0]

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        spread = images[:, :1].std((2, 3))
        return torch.cat([images.mean((2, 3)), spread], 1).numpy()


def paint(folder, count, seed, low=0):
    """Plain pictures of random colours."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixels = np.full((40, 40, 3), rng.integers(low, 256, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return str(folder)


def test_moments_by_hand_and_in_any_division():
    rows = np.array([[1.0, 0], [3, 0], [5, 6]])
    whole = moments(rows)
    assert whole.mean.tolist() == [3, 2]
    # deviations (-2, -2), (0, -2), (2, 4): squares 8, 24, products 4 + 0 + 8; over 3 - 1
    assert whole.covariance.tolist() == [[4, 6], [6, 12]]
    rng = np.random.default_rng(0)
    many = rng.standard_normal((50, 7)) + 100
    parts = Moments(7)
    for part in np.split(many, [1, 4, 4, 30]):
        parts.add(part)
    np.testing.assert_allclose(parts.covariance, np.cov(many.T), rtol=1e-10)
    np.testing.assert_allclose(parts.mean, many.mean(0))


def test_distance_by_hand():
    # two points at -1 and 1 have variance 2, at 1 and 5 variance 8: (3 - 0)^2 + (2 - 2 sqrt 4 * 2
    # + 8) = 9 + (sqrt 8 - sqrt 2)^2 = 9 + 2
    assert frechet_distance(moments([[-1.0], [1]]), moments([[1.0], [5]])) == pytest.approx(11)
    # the same line of points turned by a right angle: the roots do not overlap at all,
    # so the traces 2 and 8 add up
    flat, upright = moments([[-1.0, 0], [1, 0]]), moments([[0.0, -2], [0, 2]])
    assert frechet_distance(flat, upright) == pytest.approx(10)


def test_distance_agrees_with_the_matrix_root():
    linalg = pytest.importorskip("scipy.linalg", reason="scipy is not installed (extra `eval`)")
    rng = np.random.default_rng(1)
    a = moments(rng.standard_normal((60, 8)) @ rng.standard_normal((8, 8)))
    b = moments(rng.standard_normal((70, 8)) @ rng.standard_normal((8, 8)) + 0.5)
    root = linalg.sqrtm(a.covariance @ b.covariance).real
    apart = np.square(a.mean - b.mean).sum()
    expected = apart + np.trace(a.covariance + b.covariance - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(b, a) == pytest.approx(expected)


def test_fewer_vectors_than_dimensions():
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((10, 40))
    few, others = moments(rows), moments(rng.standard_normal((12, 40)))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-5)
    # 10 and 12 points span 9 and 11 dimensions, nearly at right angles to each other
    traces = np.trace(few.covariance) + np.trace(others.covariance)
    assert 0.3 * traces < frechet_distance(few, others) < traces * 1.2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((1, 3)), "two vectors at least, not 1"),
        (np.array([[0, 1, np.nan]]), "not finite"),
        (np.ones((4, 2)), r"expected \(B, 3\)"),
    ],
)
def test_moments_refuse(rows, message):
    found = Moments(3)
    with pytest.raises(ValueError, match=message):
        found.add(rows)
        _ = found.covariance
    with pytest.raises(ValueError, match="length 2 and 3 do not compare"):
        frechet_distance(Moments(2), Moments(3))


def test_line_by_hand():
    exact = fit_line([1, 2, 4], [5, 7, 11])
    assert (exact.intercept, exact.slope, exact.error) == pytest.approx((3, 2, 0), abs=1e-12)
    # y = 1, 1, 4 over x = 0, 1, 2: slope 3/2, intercept 1/2, residuals 1/2, -1, 1/2;
    # variance 1.5 / 1, error sqrt(1.5 (1/3 + 1/2))
    found = fit_line([0, 1, 2], [1, 1, 4])
    assert (found.intercept, found.slope) == pytest.approx((0.5, 1.5))
    assert found.error == pytest.approx(np.sqrt(1.25))
    assert np.isnan(fit_line([0, 1], [0, 1]).error)
    with pytest.raises(ValueError, match="two different points"):
        fit_line([1, 1], [0, 2])


def test_parts_have_their_size_and_the_last_is_all():
    rows = np.arange(40.0)[:, None]
    parts = Subsets(40, [0.25, 0.5, 1], 1, np.random.default_rng(0))
    for start in range(0, 40, 7):
        numbers = np.arange(start, min(start + 7, 40))
        parts.add(numbers, rows[numbers])
    assert [m.count for m in parts.moments] == [10, 20, 40]
    assert parts.moments[-1].mean == pytest.approx(19.5)
    with pytest.raises(ValueError, match="3 are too few for parts of 25%"):
        Subsets(3, [0.25, 1], 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="above 0 and at most at 1"):
        Subsets(30, [0.25, 2], 1, np.random.default_rng(0))


def test_extrapolation_is_nearer_to_the_truth_than_the_plain_estimate():
    dims, n = 64, 400
    scale = 1 / np.sqrt(np.arange(1, dims + 1))
    truth = 1.0 + float(np.square(scale - 1.3 * scale).sum())  # a shift of 1, and a stretch
    plain, extrapolated = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        one = Embeddings("one", "made up", rng.standard_normal((n, dims)) * scale)
        two = Embeddings("two", "made up", rng.standard_normal((n, dims)) * scale * 1.3)
        two.rows[:, 3] += 1.0
        result = compare(one, two, (part_moments(one, seed=seed), part_moments(two, seed=seed)))
        plain.append(result.plain - truth)
        extrapolated.append(result.line.intercept - truth)
    assert np.mean(plain) > 0.2  # the bias, always upwards
    assert abs(np.mean(extrapolated)) < np.mean(plain) / 3
    assert np.abs(extrapolated).mean() < np.abs(plain).mean()


def test_sets_of_other_sizes_lose_their_bias_too():
    """Parts are the same share of both sets, so the bias a / n_1 + b / n_2 is a line over 1/n."""

    class Exact(Moments):
        def __init__(self, count):
            super().__init__(1)
            self.count = count

        @property
        def covariance(self):
            return np.zeros((1, 1))

    pairs = [(Exact(n), Exact(3 * n)) for n in (10, 15, 20)]
    for a, b in pairs:
        a.mean = np.sqrt([2 + 5 / a.count + 7 / b.count])
    distances, line = extrapolate([a for a, _ in pairs], [b for _, b in pairs])
    assert distances[0] == pytest.approx(2 + 0.5 + 7 / 30)
    assert line.intercept == pytest.approx(2)


def test_pictures_in_two_folders(tmp_path):
    first, second = paint(tmp_path / "a", 120, 0), paint(tmp_path / "b", 150, 1, low=128)
    (tmp_path / "b" / "bad.png").write_bytes(b"no picture")
    network = MeanColour()
    result = evaluate_frechet(first, second, network=network, sizes=4)
    assert (result.counts, result.unread, result.extractor) == ((120, 150), 1, "mean colour")
    assert result.sizes[-1] == pytest.approx(2 / (1 / 120 + 1 / 150))
    # uniform over 0..1 and over .5..1 of a span of 2: means 1/2 apart, deviations 2 and 1 / sqrt 12
    expected = 3 * (0.25 + (1 / np.sqrt(12)) ** 2)
    assert result.line.intercept == pytest.approx(expected, rel=0.25)
    again = evaluate_frechet(first, second, network=network, sizes=4)
    assert again == result
    assert evaluate_frechet(first, second, network=network, sizes=4, seed=1) != result
    same = evaluate_frechet(first, first, network=network, sizes=4)
    assert same.plain == pytest.approx(0, abs=1e-9)
    assert same.line.intercept == pytest.approx(0, abs=1e-6)
    assert "| extrapolated |" in result.table()
    assert "1 could not be read; features: mean colour" in result.table()


def test_the_faces_of_a_store(filled):
    network = MeanColour()
    source = open_set(str(filled.folder), network)
    assert source.total == 60
    found = np.concatenate([rows for _, rows in source.batches()])
    photos = sorted(filled.resolve(p) for b in filled.batches(["path"]) for p in _column(b))
    assert found.shape == (60, 4) and source.unread == 0
    listed = open_set(str(photos[0].parent), network)
    rows = np.concatenate([rows for _, rows in listed.batches()])
    np.testing.assert_allclose(np.sort(found, 0), np.sort(rows, 0), atol=1e-6)


def _column(batch):
    return batch.column(0).to_pylist()


def test_features_of_another_network(tmp_path):
    rng = np.random.default_rng(0)
    Embeddings("x", "mine", rng.standard_normal((30, 3)).astype(np.float32)).save(
        tmp_path / "a.npz"
    )
    Embeddings("x", "mine", rng.standard_normal((30, 3)) + 2).save(tmp_path / "b.npz")
    Embeddings("x", "yours", rng.standard_normal((30, 3))).save(tmp_path / "c.npz")
    a, b, c = (str(tmp_path / f"{n}.npz") for n in "abc")
    result = evaluate_frechet(a, b, network=MeanColour())
    assert result.extractor == "mine"
    assert result.line.intercept == pytest.approx(12, rel=0.3)
    with pytest.raises(MismatchError, match="take the same extractor for both"):
        evaluate_frechet(a, c, network=MeanColour())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": np.full((4, 2), np.inf), "extractor": "x"}, "features that are not finite"),
        ({"features": np.ones(4), "extractor": "x"}, r"are \(N, D\) floats, not \(4,\)"),
        ({"features": np.ones((4, 2), int), "extractor": "x"}, "floats"),
        ({"features": np.ones((4, 2))}, "is no file of features"),
        ({"features": np.array([{}]), "extractor": "x"}, "is no file of features"),
    ],
)
def test_files_that_are_no_features(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        Embeddings.load(tmp_path / "a.npz")


def test_the_command(tmp_path, ris):
    line = ("eval", "frechet")
    rng = np.random.default_rng(0)
    for name in "ab":
        Embeddings("x", "mine", rng.standard_normal((30, 3))).save(tmp_path / f"{name}.npz")
    paint(tmp_path / "few", 2, 0)
    (tmp_path / "empty").mkdir()
    found = json.loads(ris(*line, "a.npz", "b.npz", "--json", "--plot", "new/f.svg").out)
    assert (found["extractor"], found["pictures"]) == ("mine", [30, 30])
    assert len(found["parts"]) == 10 and found["plain"] == found["parts"][-1]["frechet"]
    assert found["frechet"] < found["plain"]
    assert (tmp_path / "new" / "f.svg").read_text().startswith("<?xml")
    for words, message in [
        (("empty", "a.npz"), "no photos in empty"),
        (("nowhere", "a.npz"), "no file or folder nowhere"),
        (("few", "few"), "few: 2 are too few for parts of 50%"),
        (("few", "a.npz"), "take the same extractor for both"),
        (("a.npz", "b.npz", "--share", 2), "a --share between 0 and 1"),
        (("a.npz", "b.npz", "--sizes", 1), "2 --sizes at least"),
        (("a.npz", "b.npz", "--plot", "f.gif"), "f.gif: a plot is written as .png or .svg"),
    ]:
        err = ris(*line, *words).err
        assert message in err and err.count("\n") == 1


def test_a_plot_without_matplotlib_names_the_extra(tmp_path, monkeypatch):
    result = FrechetResult("x", "a", "b", (4, 4), 0, [2.0, 4.0], [1.0, 0.5], Line(0.0, 2.0, 0.0))
    frechet_plot({"a": result}, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == 768
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"of the extra eval: pip install 'ris-faces\[eval\]'"):
        frechet_plot({"a": result}, tmp_path / "b.png")
