"""Contribution scores and masks against hand-computed values."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch

from ris.choices import TAU
from ris.commands import search_commands, transfer_command
from ris.edit.editor import TransferOptions
from ris.method.contribution import AverageScores, class_energy, pair_scores
from ris.method.features import eligible, face_vector
from ris.method.layout import StyleLayer, StyleLayout
from ris.method.masks import MaskOptions, eligible_channels, feature_mask, features_of, membership
from ris.method.normaliser import Normaliser
from ris.method.representation import DEFAULT_MASK, represent

CLASSES = ("eyes", "hair", "background")
LAYOUT = StyleLayout(
    (
        StyleLayer("a", 2, 4, row=0, early=True),
        StyleLayer("b", 3, 8, row=1),
        StyleLayer("c", 1, 8, row=2, to_image=True),
    ),
    rows=3,
)
# [K=3, C=6]; columns sum to 1
SCORES = torch.tensor(
    [
        [0.10, 0.30, 0.80, 0.40, 0.05, 0.90],
        [0.70, 0.30, 0.10, 0.35, 0.05, 0.05],
        [0.20, 0.40, 0.10, 0.25, 0.90, 0.05],
    ]
)[None]


def soft(column: list[float], row: int, tau: float = 0.07) -> float:
    weights = [math.exp(v / tau) for v in column]
    return weights[row] / sum(weights)


def test_layout_slices_and_truncation():
    assert LAYOUT.channels == 6
    assert LAYOUT.slices == (slice(0, 2), slice(2, 5), slice(5, 6))
    assert LAYOUT.layer_of_channel.tolist() == [0, 0, 1, 1, 1, 2]
    assert LAYOUT.up_to(4).channels == 2
    assert LAYOUT.up_to(None) is LAYOUT
    with pytest.raises(ValueError, match="at most 2 px"):
        LAYOUT.up_to(2)
    with pytest.raises(ValueError, match="ordered by resolution"):
        StyleLayout((StyleLayer("x", 1, 8, 0), StyleLayer("y", 1, 4, 0)), rows=1)
    with pytest.raises(ValueError, match="row lies outside"):
        StyleLayout((StyleLayer("x", 1, 4, 1),), rows=1)


def test_energy_of_a_known_activation():
    # one channel, 2 x 2: values 1, 1, 1, 5; mean 2, centred squares 1, 1, 1, 9
    activation = torch.tensor([[[[1.0, 1.0], [1.0, 5.0]]]])
    masks = torch.zeros(1, 2, 2, 2)
    masks[0, 0] = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    masks[0, 1] = 1 - masks[0, 0]
    torch.testing.assert_close(
        class_energy(activation, masks)[0, :, 0], torch.tensor([0.25, 0.75]), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        class_energy(activation, masks, normalise=False)[0, :, 0], torch.tensor([3 / 4, 25 / 4])
    )


def test_scores_sum_to_one_even_for_a_constant_channel():
    activation = torch.randn(2, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    activation[:, 3] = 4.0
    masks = torch.softmax(torch.randn(2, 4, 16, 16), dim=1)
    scores = class_energy(activation, masks)
    torch.testing.assert_close(scores.sum(1), torch.ones(2, 5), atol=1e-4, rtol=0)
    area = torch.nn.functional.interpolate(masks, size=(8, 8), mode="bilinear").mean((2, 3))
    torch.testing.assert_close(scores[:, :, 3], area)


def test_energy_equals_the_materialised_formula():
    generator = torch.Generator().manual_seed(1)
    activation = torch.randn(2, 6, 16, 16, generator=generator) * 3 + 1
    masks = torch.softmax(torch.randn(2, 4, 32, 32, generator=generator), dim=1)
    small = torch.nn.functional.interpolate(masks, size=(16, 16), mode="bilinear")
    normed = torch.nn.functional.instance_norm(activation)
    slow = (normed[:, None].square() * small[:, :, None]).mean((3, 4))  # [B, K, C, H, W]
    torch.testing.assert_close(class_energy(activation, masks), slow, atol=1e-4, rtol=1e-3)
    raw = (activation[:, None].square() * small[:, :, None]).mean((3, 4))
    torch.testing.assert_close(class_energy(activation, masks, normalise=False), raw)


def test_soft_membership_of_known_scores():
    q = membership(SCORES)
    torch.testing.assert_close(q.sum(1), torch.ones(1, 6))
    column = SCORES[0, :, 3].tolist()
    assert q[0, 0, 3].item() == pytest.approx(soft(column, 0), abs=1e-6)
    papers = membership(SCORES, 0.1)
    assert papers[0, 0, 3].item() == pytest.approx(soft(column, 0, 0.1), abs=1e-6)


def test_one_temperature_is_the_default_everywhere():
    defaults = {MaskOptions().tau, DEFAULT_MASK.tau, TransferOptions().mask.tau}
    for command in (search_commands.index, transfer_command.transfer):
        defaults.add(inspect.signature(command).parameters["tau"].default)
    defaults.add(inspect.signature(membership).parameters["tau"].default)
    assert defaults == {TAU}


def test_class_masks_leave_early_and_to_image_channels_out():
    q = feature_mask(SCORES, LAYOUT, CLASSES, "eyes")[0]
    assert q[:2].tolist() == [0, 0]
    assert q[5] == 0
    assert q[2].item() == pytest.approx(soft(SCORES[0, :, 2].tolist(), 0), abs=1e-6)
    with_image = feature_mask(SCORES, LAYOUT, CLASSES, "eyes", MaskOptions(to_image=True))[0]
    assert with_image[5] > 0.99


def test_hair_keeps_early_channels_and_pose_is_its_complement_there():
    hair = feature_mask(SCORES, LAYOUT, CLASSES, "hair")[0]
    pose = feature_mask(SCORES, LAYOUT, CLASSES, "pose")[0]
    torch.testing.assert_close(hair[:2] + pose[:2], torch.ones(2))
    assert pose[2:].tolist() == [0, 0, 0, 0]
    assert hair[0].item() == pytest.approx(soft([0.1, 0.7, 0.2], 1), abs=1e-6)


def test_hard_masks_by_hand():
    options = MaskOptions(kind="hard", least=0)
    # q > 0.8 by hand: eyes at channel 2 (1.000); hair at 0 (0.999); channel 1 is undecided
    assert feature_mask(SCORES, LAYOUT, CLASSES, "eyes", options)[0].tolist() == [0, 0, 1, 0, 0, 0]
    assert feature_mask(SCORES, LAYOUT, CLASSES, "hair", options)[0].tolist() == [1, 0, 0, 0, 0, 0]
    assert feature_mask(SCORES, LAYOUT, CLASSES, "pose", options)[0].tolist() == [0, 1, 0, 0, 0, 0]


def test_an_empty_hard_mask_falls_back_to_the_best_channels():
    flat = torch.full((1, 3, 6), 1 / 3)
    flat[0, 0, 3] += 0.05
    empty = feature_mask(flat, LAYOUT, CLASSES, "eyes", MaskOptions(kind="hard", least=0))
    assert empty.sum() == 0
    one = feature_mask(flat, LAYOUT, CLASSES, "eyes", MaskOptions(kind="hard", least=1))
    assert one[0].tolist() == [0, 0, 0, 1, 0, 0]
    many = feature_mask(flat, LAYOUT, CLASSES, "eyes", MaskOptions(kind="hard", least=99))
    assert many[0].tolist() == [0, 0, 1, 1, 1, 0]  # never more than the eligible ones


def test_a_feature_that_covers_nothing_has_an_empty_hard_mask():
    absent = SCORES.clone()
    absent[:, 0] = 0
    mask = feature_mask(absent, LAYOUT, CLASSES, "eyes", MaskOptions(kind="hard", least=4))
    assert mask.sum() == 0


def test_pair_and_average():
    other = SCORES.flip(2)
    assert torch.equal(pair_scores(SCORES, other), torch.maximum(SCORES, other))
    average = AverageScores()
    with pytest.raises(ValueError, match="no scores"):
        average.mean()
    average.add(SCORES)
    average.add(torch.cat((other, other)))
    torch.testing.assert_close(average.mean(), (SCORES[0] + 2 * other[0]) / 3)


def test_features_and_eligibility():
    assert features_of(CLASSES) == ("eyes", "hair", "background", "pose")
    assert features_of(("eyes",)) == ("eyes",)
    assert eligible_channels(LAYOUT, "pose").tolist() == [True, True, False, False, False, False]
    assert eligible_channels(LAYOUT, "hair").tolist() == [True] * 5 + [False]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "firm"}, "soft"),
        ({"tau": 0.0}, "tau"),
        ({"threshold": 1.0}, "threshold"),
        ({"least": -1}, "least"),
    ],
)
def test_options_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=message):
        MaskOptions(**wrong)


def test_unknown_feature_and_foreign_scores():
    with pytest.raises(ValueError, match="unknown feature 'ears'"):
        feature_mask(SCORES, LAYOUT, CLASSES, "ears")
    with pytest.raises(ValueError, match="expected"):
        feature_mask(SCORES[:, :, :4], LAYOUT, CLASSES, "eyes")


def test_score_mask_takes_channels_by_the_score_itself():
    options = MaskOptions(kind="score", rho=0.35, least=0)
    eyes = feature_mask(SCORES, LAYOUT, CLASSES, "eyes", options)[0]
    assert eyes.tolist() == [0, 0, 1, 1, 0, 0]  # early ones and the to-image layer are not its own
    hair = feature_mask(SCORES, LAYOUT, CLASSES, "hair", options)[0]
    assert hair.tolist() == [1, 0, 0, 0, 0, 0]  # .35 is not above
    pose = feature_mask(SCORES, LAYOUT, CLASSES, "pose", options)
    torch.testing.assert_close(pose, feature_mask(SCORES, LAYOUT, CLASSES, "pose"))
    wider = MaskOptions(kind="score", rho=0.35, least=2)
    assert feature_mask(SCORES, LAYOUT, CLASSES, "hair", wider)[0].sum() == 2
    with pytest.raises(ValueError, match="`rho` lies"):
        MaskOptions(kind="score", rho=1.0)


@pytest.mark.parametrize("kind", ["soft", "hard", "score"])
@pytest.mark.parametrize("feature", ["eyes", "hair", "background", "pose"])
@pytest.mark.parametrize("to_image", [False, True])
def test_the_vector_of_one_face_is_that_of_many(kind, feature, to_image):
    """With numpy as with torch, on scores as a store has them and on a wider layout."""
    layers = (
        StyleLayer("a", 20, 4, row=0, early=True),
        StyleLayer("b", 90, 8, row=1),
        StyleLayer("c", 10, 8, row=2, to_image=True),
    )
    layout = StyleLayout(layers, rows=3)
    rng = torch.Generator().manual_seed(3)
    scores = torch.rand(6, 3, 120, generator=rng).softmax(1).half().float()
    scores[5, 0] = 0  # a face without eyes
    sigma = torch.randn(6, 130, generator=rng)
    centre, scale = torch.randn(120, generator=rng), torch.rand(120, generator=rng) + 0.5
    options = MaskOptions(kind=kind, tau=0.07, threshold=0.6, rho=0.5, least=7, to_image=to_image)
    normaliser = Normaliser("channel", centre, scale)
    together = represent(sigma, scores, layout, CLASSES, feature, options, normaliser).numpy()
    for i in range(6):
        alone = face_vector(
            sigma[i].numpy(),
            scores[i].numpy(),
            layout,
            CLASSES,
            feature,
            options,
            centre.numpy(),
            scale.numpy(),
        )
        assert alone.dtype == np.float32
        np.testing.assert_allclose(alone, together[i], rtol=1e-5, atol=1e-6)
    if kind == "soft":
        assert (together != 0).mean() > 0.9
    assert len(together[0]) == eligible(layout, feature, to_image=to_image).sum()


def test_the_vector_of_one_face_checks_what_it_is_given():
    sigma, scores = np.zeros(6, np.float32), SCORES[0].numpy()
    flat = np.zeros(6, np.float32), np.ones(6, np.float32)
    with pytest.raises(ValueError, match="unknown feature 'ears'"):
        face_vector(sigma, scores, LAYOUT, CLASSES, "ears", MaskOptions(), *flat)
    with pytest.raises(ValueError, match="expected"):
        face_vector(sigma, scores[:, :4], LAYOUT, CLASSES, "eyes", MaskOptions(), *flat)
