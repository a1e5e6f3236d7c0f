"""Measures of predicted attributes, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ris.evaluate.attributes import accuracy, auc, share, share_thresholds

NAN = float("nan")


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_auc_by_hand():
    # pairs of a face with and one without: .8 > .5, .8 > .2, .5 = .5 (half), .5 > .2
    assert auc(column(1, 1, -1, -1), column(0.8, 0.5, 0.5, 0.2)).tolist() == [3.5 / 4]
    assert auc(column(1, -1, 1, -1), column(4, 3, 2, 1)).tolist() == [3 / 4]
    assert auc(column(1, -1, -1), column(-5.0, -4.0, 9.0)).tolist() == [0]
    assert auc(column(1, 1, -1), column(2, 2, 2)).tolist() == [1 / 2]


def test_auc_leaves_out_what_is_unknown():
    labels = np.array([[1, 1, 0], [-1, 1, 0], [0, 1, 0], [1, 0, 0]])
    scores = np.array([[0.9, 0.1, 0.1], [0.5, 0.2, 0.2], [7.0, 0.3, 0.3], [0.4, 0.4, 0.4]])
    # first: .9 > .5 and .4 < .5; second: one class alone; third: nothing known
    np.testing.assert_array_equal(auc(labels, scores), [0.5, NAN, NAN])


def test_auc_equals_the_count_of_all_pairs():
    rng = np.random.default_rng(0)
    labels = rng.choice([-1, 0, 1], (80, 3))
    scores = rng.integers(0, 12, (80, 3)).astype(float)  # many ties
    for a in range(3):
        have, lack = scores[labels[:, a] == 1, a], scores[labels[:, a] == -1, a]
        pairs = have[:, None] - lack[None]
        expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
        assert auc(labels, scores)[a] == pytest.approx(expected)


def test_accuracy_and_share_by_hand():
    labels = np.array([[1, 0], [-1, 0], [1, 0], [0, 0]])
    predicted = np.array([[1, 1], [1, 1], [0, 1], [-1, 1]])
    # known in both: faces 0 (right) and 1 (wrong)
    np.testing.assert_array_equal(accuracy(labels, predicted), [1 / 2, NAN])
    np.testing.assert_array_equal(share(labels), [2 / 3, NAN])
    np.testing.assert_array_equal(share(predicted), [2 / 3, 1])


def test_thresholds_predict_as_many_as_there_are():
    labels = np.array([[1, -1, 1, 0], [-1, -1, 1, 0], [-1, -1, 1, 0], [0, -1, 1, 0]])
    scores = np.array([[0.1, 1, 1, 1], [0.9, 2, 2, 2], [0.3, 3, 3, 3], [5.0, 4, 4, 4]])
    # one of three known faces has it: between the highest score and the next
    np.testing.assert_array_equal(
        share_thresholds(labels, scores), [(0.9 + 0.3) / 2, np.inf, -np.inf, NAN]
    )


@pytest.mark.parametrize("measure", [auc, accuracy, share_thresholds])
def test_labels_of_another_kind_are_refused(measure):
    with pytest.raises(ValueError, match="1, -1 and 0"):
        measure(column(2, 1), column(1, 1))
    with pytest.raises(ValueError, match=r"\(2, 1\) labels"):
        measure(column(1, 1), column(1, 1, 1))
