from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluate.topk import RunningTop
from ris.metrics import intersection_over_union, trsi_iou


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
