"""Transfers of style coefficients: the method's identities, and EIS's greedy mask by hand."""

from __future__ import annotations

import pytest
import torch

from ris.method.eis import EisOptions, eis_mask
from ris.method.layout import StyleLayer, StyleLayout
from ris.method.masks import MaskOptions, feature_mask
from ris.method.transfer import direction, move, pair_mask

CLASSES = ("eyes", "hair", "background")
LAYOUT = StyleLayout(
    (StyleLayer("a", 3, 4, row=0, early=True), StyleLayer("b", 5, 8, row=1)), rows=2
)
RULES = ("paper", "rescaled")


def at(*alphas: float) -> torch.Tensor:
    return torch.tensor(alphas)


@pytest.fixture
def faces():
    """Style coefficients with two channels that scores do not cover, and scores."""
    rng = torch.Generator().manual_seed(0)
    sigma = torch.randn(6, LAYOUT.channels + 2, generator=rng) * 3
    scores = torch.rand(6, len(CLASSES), LAYOUT.channels, generator=rng)
    return sigma[:3], sigma[3:], scores[:3], scores[3:]


@pytest.mark.parametrize("rule", RULES)
def test_no_step_is_the_source_and_a_whole_one_the_reference(faces, rule):
    source, reference, *_ = faces
    ones = torch.ones(3, LAYOUT.channels + 2)
    d = direction(source, reference, ones, rule)
    moved = move(source, d, at(0, 1))
    assert torch.equal(moved[:, 0], source)
    if rule == "paper":
        assert torch.equal(moved[:, 1], reference)
    else:  # the reference's direction at the source's length
        scale = source.norm(dim=1, keepdim=True) / reference.norm(dim=1, keepdim=True)
        torch.testing.assert_close(moved[:, 1], reference * scale)


def test_a_soft_mask_interpolates_by_hand():
    source, reference = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, -1.0]])
    q = torch.tensor([[0.5, 1.0, 0.25]])
    moved = move(source, direction(source, reference, q), at(1, 2, -1))
    expected = [[[2.0, 2.0, 2.0], [3.0, 2.0, 1.0], [0.0, 2.0, 4.0]]]
    assert moved.tolist() == expected


def test_the_rescaled_rule_by_hand():
    """q s = (3, 4), q r = (0, 10): the new part is r's at half its length."""
    source, reference = torch.tensor([[3.0, 4.0, 7.0]]), torch.tensor([[0.0, 10.0, 9.0]])
    q = torch.tensor([[1.0, 1.0, 0.0]])
    d = direction(source, reference, q, "rescaled")
    assert d.tolist() == [[-3.0, 1.0, 0.0]]
    nothing = direction(source, torch.zeros(1, 3), q, "rescaled")
    assert nothing.tolist() == [[-3.0, -4.0, 0.0]]


@pytest.mark.parametrize("rule", RULES)
def test_channels_outside_the_mask_are_untouched(faces, rule):
    source, reference, first, second = faces
    mask = pair_mask(first, second, LAYOUT, CLASSES, "eyes", MaskOptions(kind="hard", least=2))
    moved = move(source, direction(source, reference, mask, rule), at(-1, 1.3, 2))
    outside = torch.cat([mask == 0, torch.ones(3, 2, dtype=torch.bool)], 1)
    assert outside.any() and not outside.all()
    for a in range(3):
        assert torch.equal(moved[:, a][outside], source[outside])
        assert (moved[:, a][~outside] != source[~outside]).all()


def test_the_larger_score_of_both_counts(faces):
    *_, first, second = faces
    mask = pair_mask(first, second, LAYOUT, CLASSES, "hair")
    assert torch.equal(mask, feature_mask(torch.maximum(first, second), LAYOUT, CLASSES, "hair"))
    assert torch.equal(mask, pair_mask(second, first, LAYOUT, CLASSES, "hair"))


def test_pose_is_a_matter_of_early_layers(faces):
    source, reference, first, second = faces
    mask = pair_mask(first, second, LAYOUT, CLASSES, "pose")
    moved = move(source, direction(source, reference, mask), at(1.3))[:, 0]
    assert torch.equal(moved[:, 3:], source[:, 3:])
    assert (moved[:, :3] != source[:, :3]).all()
    eyes = pair_mask(first, second, LAYOUT, CLASSES, "eyes")
    assert not eyes[:, :3].any()


@pytest.mark.parametrize("rule", RULES)
def test_a_negative_step_leads_the_other_way(faces, rule):
    source, reference, first, second = faces
    d = direction(source, reference, pair_mask(first, second, LAYOUT, CLASSES, "hair"), rule)
    there, back = move(source, d, at(0.7, -0.7)).unbind(1)
    torch.testing.assert_close(there - source, source - back, rtol=1e-4, atol=1e-5)


def test_directions_of_disjoint_masks_add_up(faces):
    source, reference, *_ = faces
    eyes = torch.tensor([[0.0, 0, 0, 1, 0.4, 0, 0, 0]]).expand(3, -1)
    hair = torch.tensor([[0.3, 1.0, 0, 0, 0, 0, 1, 0]]).expand(3, -1)
    both = direction(source, reference, eyes + hair)
    apart = direction(source, reference, eyes) + direction(source, reference, hair)
    assert torch.equal(both, apart)
    moved = move(source, apart, at(1.3))[:, 0]
    for mask in (eyes, hair):
        alone = move(source, direction(source, reference, mask), at(1.3))[:, 0]
        inside = torch.nn.functional.pad(mask, (0, 2)) > 0
        assert torch.equal(moved[inside], alone[inside])


@pytest.mark.parametrize("rule", RULES)
def test_faces_beside_it_change_nothing(faces, rule):
    source, reference, first, second = faces

    def run(rows: slice) -> torch.Tensor:
        mask = pair_mask(first[rows], second[rows], LAYOUT, CLASSES, "hair")
        return move(source[rows], direction(source[rows], reference[rows], mask, rule), at(1.3, 2))

    together = run(slice(0, 3))
    for i in range(3):
        assert torch.equal(run(slice(i, i + 1))[0], together[i])


def test_one_reference_serves_many_sources(faces):
    source, reference, first, second = faces
    mask = pair_mask(first, second[:1], LAYOUT, CLASSES, "hair")
    d = direction(source, reference[:1], mask)
    assert torch.equal(d, direction(source, reference[:1].expand(3, -1), mask))


def test_what_does_not_fit_is_named(faces):
    source, reference, *_ = faces
    with pytest.raises(ValueError, match="a mask of 99 channels for 10"):
        direction(source, reference, torch.ones(3, 99))
    with pytest.raises(ValueError, match="rule is paper or rescaled, not 'nearest'"):
        direction(source, reference, torch.ones(3, 4), "nearest")


# one layer of three channels (early) and one of five; columns need not sum to 1 here
AVERAGE = torch.tensor(
    [
        [0.9, 0.2, 0.1, 0.9, 0.6, 0.5, 0.3, 0.1],
        [0.05, 0.7, 0.3, 0.05, 0.2, 0.4, 0.6, 0.1],
        [0.05, 0.1, 0.6, 0.05, 0.2, 0.1, 0.1, 0.8],
    ]
)


def test_the_greedy_mask_by_hand():
    """Layer b for the eyes: 1 - M in falling order .1 .4 .5 .7 .9, summed .1 .5 1.0 1.7 2.6."""

    def mask(feature: str, rho: float, epsilon: float) -> list[float]:
        options = EisOptions(rho=rho, epsilon=epsilon)
        return eis_mask(AVERAGE, LAYOUT, CLASSES, feature, options).tolist()

    assert mask("eyes", 0, 0.9) == [0, 0, 0, 1, 1, 0, 0, 0]
    assert mask("eyes", 0, 1.8) == [0, 0, 0, 1, 1, 1, 1, 0]
    assert mask("eyes", 0.4, 1.8) == [0, 0, 0, 1, 1, 1, 0, 0]
    assert mask("eyes", 0, 0.05) == [0] * 8
    # hair, layer a: .3 1.0 1.95; layer b: .4 1.0 1.8 2.7
    assert mask("hair", 0, 0.9) == [0, 1, 0, 0, 0, 0, 1, 0]
    assert mask("pose", 0, 0.9) == [1, 0, 1, 0, 0, 0, 0, 0]


def test_a_greedy_mask_checks_what_it_is_given():
    with pytest.raises(ValueError, match="unknown feature 'ears'"):
        eis_mask(AVERAGE, LAYOUT, CLASSES, "ears")
    with pytest.raises(ValueError, match=r"scores are \(3, 4\), expected \(3, 8\)"):
        eis_mask(AVERAGE[:, :4], LAYOUT, CLASSES, "eyes")
