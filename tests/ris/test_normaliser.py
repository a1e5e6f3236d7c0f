from __future__ import annotations

import numpy as np
import pytest
import torch

from ris.method.layout import StyleLayer, StyleLayout
from ris.method.normaliser import Normaliser
from ris.method.representation import cosine
from ris.method.statistics import StyleStatistics

LAYOUT = StyleLayout((StyleLayer("a", 2, 4, row=0), StyleLayer("b", 1, 8, row=0)), rows=1)
ROWS = np.array([[1.0, 3.0, 10.0], [3.0, 5.0, 10.0]], dtype=np.float32)


def statistics(rows: np.ndarray) -> StyleStatistics:
    stats = StyleStatistics(rows.shape[1])
    stats.add(rows)
    return stats


def test_moments_by_hand():
    stats = statistics(ROWS)
    mean, deviation = stats.channel_moments()
    assert mean.tolist() == [2, 4, 10]
    assert deviation.tolist() == [1, 1, 0]
    mean, deviation = stats.layer_moments(LAYOUT)
    assert mean.tolist() == [3, 10]
    assert deviation == pytest.approx([np.sqrt(2), 0])  # of 1, 3, 3, 5


def test_modes_by_hand():
    stats, sigma = statistics(ROWS), torch.from_numpy(ROWS)
    layer = Normaliser.fit("layer", stats, LAYOUT)(sigma)
    root = 2**-0.5
    expected = torch.tensor([[-2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]) * root
    torch.testing.assert_close(layer, expected)
    channel = Normaliser.fit("channel", stats, LAYOUT)(sigma)
    torch.testing.assert_close(channel, torch.tensor([[-1.0, -1, 0], [1, 1, 0]]))
    blend = Normaliser.fit("blend", stats, LAYOUT)(sigma)
    torch.testing.assert_close(blend, torch.tensor([[-1.5, -0.5, 0], [0.5, 1.5, 0]]))
    assert torch.equal(Normaliser.fit("none", stats, LAYOUT)(sigma), sigma)
    first = Normaliser.fit("channel", stats, LAYOUT.up_to(4))(sigma)
    assert first.shape == (2, 2)


def test_statistics_do_not_depend_on_order_or_division():
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((600, 40)) * 10.0 ** rng.integers(-6, 6, (600, 40))).astype("f4")
    reference = statistics(rows).channel_moments()
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(rows))
        merged = StyleStatistics(40)
        for part in np.array_split(rows[order], 7):
            merged.merge(statistics(part))
        restored = StyleStatistics.from_arrays(merged.count, merged.to_arrays())
        for mine, theirs in zip(restored.channel_moments(), reference, strict=True):
            assert np.array_equal(mine, theirs)  # bit for bit


def test_statistics_are_exact_where_plain_sums_are_not():
    rows = np.array([[1e8], [1.0], [-1e8]], dtype=np.float32)
    mean, _ = statistics(np.repeat(rows, 1000, axis=0)).channel_moments()
    assert mean[0] == pytest.approx(1 / 3, rel=1e-15)


def test_wrong_inputs():
    with pytest.raises(ValueError, match="expected"):
        StyleStatistics(3).add(np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="no rows"):
        StyleStatistics(3).channel_moments()
    with pytest.raises(ValueError, match="not 'row'"):
        Normaliser.fit("row", statistics(ROWS), LAYOUT)  # type: ignore[arg-type]


def test_cosine_of_known_vectors():
    q = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    r = torch.tensor([[2.0, 0.0], [-1.0, 0.0], [3.0, 3.0], [0.0, 0.0]])
    expected = torch.tensor([[1, -1, 2**-0.5, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(cosine(q, r), expected)
