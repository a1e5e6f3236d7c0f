"""Contribution scores of the real generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ris.ingest.sampling import sample_w
from ris.method.contribution import contribution_scores


def test_scores_sum_to_one_per_channel(generator, catalogue):
    sigma = generator.sigma(sample_w(generator, 1)[None])
    scores = contribution_scores(generator, catalogue, sigma, max_resolution=128)
    assert scores.shape == (1, len(catalogue.classes), generator.layout.up_to(128).channels)
    assert (scores.sum(1) - 1).abs().max() < 1e-2
    assert scores.min() >= 0
    assert scores.max() <= 1 + 1e-4


def test_scores_equal_the_materialised_formula_and_do_not_depend_on_the_limit(generator, catalogue):
    sigma = generator.sigma(torch.stack([sample_w(generator, s) for s in (2, 3)]))
    low = contribution_scores(generator, catalogue, sigma, max_resolution=32)
    high = contribution_scores(generator, catalogue, sigma, max_resolution=64)
    assert torch.equal(low, high[:, :, : low.shape[2]])

    with torch.no_grad():
        steps = list(generator.activations(sigma, 64))
    masks = catalogue.segment({s.layer: s.input for s in steps})
    slow = []
    for step in steps:
        h, w = step.input.shape[-2:]
        u = F.interpolate(masks, size=(h, w), mode="bilinear", align_corners=False)
        normed = F.instance_norm(step.input)
        share = (normed[:, None].square() * u[:, :, None]).mean((3, 4))  # [B, K, C, H, W]
        # what the norm's epsilon takes from nearly constant channels is spread by area
        slow.append(share + (1 - share.sum(1, keepdim=True)) * u.mean((2, 3))[:, :, None])
    torch.testing.assert_close(high, torch.cat(slow, 2), atol=1e-4, rtol=0)


def test_a_face_does_not_depend_on_its_batch(generator, catalogue):
    sigma = generator.sigma(torch.stack([sample_w(generator, s) for s in (4, 5)]))
    both = contribution_scores(generator, catalogue, sigma, max_resolution=64)
    one = contribution_scores(generator, catalogue, sigma[1:], max_resolution=64)
    torch.testing.assert_close(both[1:], one, atol=1e-3, rtol=0)
