from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from ris.evaluate.ams import RULES, attribute_match
from ris.evaluate.representations import RunningTop
from ris.evaluate.trsi import intersection_over_union, trsi_iou


def test_iou_by_hand():
    assert intersection_over_union([1, 2, 3], [2, 3, 4]) == pytest.approx(2 / 4)
    assert intersection_over_union([1, 1, 2], [1]) == pytest.approx(1 / 2)
    assert intersection_over_union([], []) == 0
    assert intersection_over_union([1], []) == 0


def test_trsi_by_hand():
    found = trsi_iou({"eyes": [[1, 2], [5, 6]], "nose": [[2, 3], [5, 6]], "hair": [[8, 9], [6, 7]]})
    assert list(found) == [("eyes", "nose"), ("eyes", "hair"), ("nose", "hair")]
    assert found["eyes", "nose"].tolist() == pytest.approx([1 / 3, 1])
    assert found["eyes", "hair"].tolist() == pytest.approx([0, 1 / 3])
    with pytest.raises(ValueError, match="same queries"):
        trsi_iou({"eyes": [[1]], "nose": []})


def test_running_top_equals_a_full_sort():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 6, generator=generator)
    own = torch.tensor([3, 40])
    top = RunningTop(rows[own], k=4)
    for start in range(0, 50, 7):
        top.add(start, rows[start : start + 7], own)
    unit = torch.nn.functional.normalize(rows, dim=1)
    scores = unit[own] @ unit.T
    scores[[0, 1], own] = -2
    expected = scores.argsort(dim=1, descending=True)[:, :4].numpy()
    assert np.array_equal(np.stack(top.rows()), expected)


def test_running_top_with_fewer_rows_than_k():
    rows = torch.eye(3)
    top = RunningTop(rows[:1], k=5)
    top.add(0, rows, torch.tensor([0]))
    assert sorted(top.rows()[0].tolist()) == [1, 2]


# five faces, two attributes; the second is unknown for face 3
LABELS = np.array([[1, 1], [1, -1], [-1, -1], [-1, 0], [1, 1]])


def test_ams_by_hand():
    found = attribute_match(LABELS, [0, 2], [[1, 2, 4], [3, 0]])
    # first attribute: 2 of 3 and 1 of 2; second: 1 of 3, and of face 2's results only 0 counts
    assert found.matches.tolist() == pytest.approx([(2 / 3 + 1 / 2) / 2, (1 / 3 + 0) / 2])
    assert found.score == pytest.approx(100 * (7 / 12 + 1 / 6) / 2)
    # of the four others 2 are like face 0 and 1 is like face 2; of the three others with the
    # second label 1 is like face 0 and 1 like face 2
    assert found.random.tolist() == pytest.approx([(2 / 4 + 1 / 4) / 2, (1 / 3 + 1 / 3) / 2])
    assert found.chance == pytest.approx(100 * (3 / 8 + 1 / 3) / 2)
    assert found.corrected == pytest.approx((37.5 - 35.416667) / (100 - 35.416667))
    assert found.queries.tolist() == [2, 2]


def test_ams_by_majority_with_ties():
    found = attribute_match(LABELS, [0, 2], [[1, 2, 4], [3, 0]], rule="majority")
    assert found.matches.tolist() == pytest.approx([(1 + 0.5) / 2, (0 + 0) / 2])
    # face 0, first: 2 of 4 alike, 3 drawn: P(2 or more) = C(2,2) C(2,1) / C(4,3) = 1/2
    # face 2, first: 1 of 4 alike, 2 drawn: half of P(1) = C(1,1) C(3,1) / C(4,2) / 2 = 1/4
    # second: of 3 others 1 is alike; 3 drawn give no majority; 1 drawn hits with 1/3
    assert found.random.tolist() == pytest.approx([(1 / 2 + 1 / 4) / 2, (0 + 1 / 3) / 2])


def test_ams_with_missing_labels_and_results():
    found = attribute_match(LABELS, [3, 0], [[2, 1], []])
    assert found.unanswered == 1
    assert found.queries.tolist() == [1, 0]
    assert found.matches[0] == pytest.approx(1 / 2)
    assert np.isnan(found.matches[1])
    assert found.score == pytest.approx(50)
    assert np.isnan(attribute_match(LABELS, [0], [[]]).score)


@pytest.mark.parametrize("rule", RULES)
def test_chance_is_the_mean_over_random_results(rule):
    rng = np.random.default_rng(0)
    labels = rng.choice([-1, -1, -1, 1, 1, 0], size=(12, 3))
    labels[0] = (1, -1, 1)
    others = [*combinations(range(1, 12), 3)]
    exact = attribute_match(labels, [0] * len(others), others, rule)
    # every set of three is drawn, so with complete labels the mean is the expectation
    complete = (labels != 0).all(0)
    known = attribute_match(labels[:, complete], [0] * len(others), others, rule)
    assert known.matches == pytest.approx(known.random)
    for a in np.flatnonzero(~complete):
        assert exact.matches[a] == pytest.approx(exact.random[a], abs=1e-12)


def test_ams_of_perfect_results_is_one():
    labels = np.repeat(np.array([[1, -1], [-1, 1]]), 3, axis=0)
    found = attribute_match(labels, [0, 3], [[1, 2], [4, 5]])
    assert (found.score, found.corrected) == (100, 1)
    assert attribute_match(labels[:3], [0], [[1]]).corrected == 0  # nothing to tell apart


def test_ams_refuses_nonsense():
    with pytest.raises(ValueError, match="own results"):
        attribute_match(LABELS, [0], [[1, 0]])
    with pytest.raises(ValueError, match="1, -1 and 0"):
        attribute_match(LABELS * 2, [0], [[1]])
    with pytest.raises(ValueError, match="1 queries have 2"):
        attribute_match(LABELS, [0], [[1], [2]])
