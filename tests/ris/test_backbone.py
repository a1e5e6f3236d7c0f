from __future__ import annotations

import pytest
import torch

from ris.networks import EfficientNetLite


@pytest.fixture(scope="module")
def backbone(efficientnet_weights):
    return EfficientNetLite(efficientnet_weights)


def pattern(size: int) -> torch.Tensor:
    """(1, 3, size, size) in [-1, 1], the same on every machine and torch version."""
    return (torch.arange(3 * size * size) % 257 / 128 - 1).reshape(1, 3, size, size)


@torch.no_grad()
def test_logits_are_those_of_the_original_implementation(backbone):
    expected = [-2.280815, 0.013989, -2.498144, -4.469282, -2.129470, 0.566283]
    assert backbone(pattern(96))[0, :6].tolist() == pytest.approx(expected, abs=1e-3)


@torch.no_grad()
def test_features_of_blocks(backbone):
    low, middle, head = backbone.features(pattern(96), [2, 8, 16])
    assert low.shape == (1, 24, 24, 24)
    assert middle.shape == (1, 112, 6, 6)
    assert head.shape == (1, 1280, 3, 3)
    assert low.std().item() == pytest.approx(14.42516, abs=1e-2)
    assert middle.std().item() == pytest.approx(6.21770, abs=1e-2)
    alone = backbone.features(pattern(96), [8])[0]
    assert torch.equal(alone, middle)


@torch.no_grad()
def test_odd_sizes_round_up(backbone):
    """TensorFlow's "same" padding: ceil(size / 32) at the head."""
    assert backbone.features(torch.zeros(1, 3, 101, 70), [16])[0].shape[-2:] == (4, 3)


@pytest.mark.parametrize("blocks", [[], [4, 2], [2, 2], [17], [-1]])
def test_blocks_must_ascend_within_the_network(backbone, blocks):
    with pytest.raises(ValueError, match="must ascend"):
        backbone.features(torch.zeros(1, 3, 32, 32), blocks)


def test_the_first_wrong_tensor_is_named(efficientnet_weights):
    name = "_blocks.3._bn0.bias"
    wrong = dict(efficientnet_weights)
    del wrong[name]
    with pytest.raises(ValueError, match=f"lack {name}"):
        EfficientNetLite(wrong)
    wrong[name] = torch.zeros(7)
    with pytest.raises(ValueError, match=rf"{name} is \(7,\), expected \(144,\)"):
        EfficientNetLite(wrong)
    with pytest.raises(ValueError, match="unknown tensor other"):
        EfficientNetLite({**efficientnet_weights, "other": torch.zeros(1)})
