"""From contribution scores to channel masks q (Eq. 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ris.choices import TAU
from ris.method.features import (
    HAIR,
    POSE,
    MaskOptions,
    class_row,
    eligible,
    features_of,
)
from ris.method.layout import StyleLayout

__all__ = [
    "HAIR",
    "POSE",
    "MaskOptions",
    "class_row",
    "eligible_channels",
    "feature_mask",
    "features_of",
    "membership",
]


def eligible_channels(layout: StyleLayout, feature: str, *, to_image: bool = False) -> torch.Tensor:
    """(C,) bool: channels on which a feature's mask may differ from zero (Eq. 5).

    Early layers belong to hair and pose alone, and pose has no others.
    """
    return torch.from_numpy(eligible(layout, feature, to_image=to_image))


def membership(scores: torch.Tensor, tau: float = TAU) -> torch.Tensor:
    """(..., K, C) scores M -> (..., K, C) soft membership q = softmax_k(M / tau) (Eq. 4)."""
    return torch.softmax(scores / tau, dim=-2)


def feature_mask(
    scores: torch.Tensor,
    layout: StyleLayout,
    classes: Sequence[str],
    feature: str,
    options: MaskOptions | None = None,
) -> torch.Tensor:
    """The mask q_k of one feature for every image.

    Args:
        scores: (B, K, C) contribution scores M, C = ``layout.channels``.
        layout: style layout of the covered channels.
        classes: the K class names in the order of `scores`.
        feature: one of ``features_of(classes)``.
        options: see `MaskOptions`.

    Returns:
        (B, C) float32 in [0, 1]; 0 or 1 unless soft. Where the feature covers nothing of the
        image (its scores are 0 on every channel) such a mask is all zeros.

    Raises:
        ValueError: unknown feature, or scores of another layout.
    """
    options = options or MaskOptions()
    row = class_row(classes, feature)
    if scores.shape[1:] != (len(classes), layout.channels):
        raise ValueError(
            f"scores are {tuple(scores.shape)}, expected (B, {len(classes)}, {layout.channels})"
        )
    eligible = eligible_channels(layout, feature, to_image=options.to_image).to(scores.device)
    own = scores[:, row]  # [B, C]
    if options.kind == "score" and feature != POSE:
        return _harden(own, options.rho, own > 0, eligible, options.least)
    q = membership(scores, options.tau)[:, row]
    if options.kind == "hard":
        least = 0 if feature == POSE else options.least
        q = _harden(q, options.threshold, own > 0, eligible, least)
    return (1 - q if feature == POSE else q) * eligible


def _harden(
    q: torch.Tensor, limit: float, possible: torch.Tensor, eligible: torch.Tensor, least: int
) -> torch.Tensor:
    """(B, C) values -> zeros and ones: the eligible channels above a limit, and at least the
    `least` highest of those that are possible."""
    hard = (q > limit) & eligible
    least = min(least, int(eligible.sum()))
    if least:
        ranked = torch.where(eligible & possible, q, -1.0)
        best = ranked.topk(least, dim=1)
        hard = hard.scatter(1, best.indices, hard.gather(1, best.indices) | (best.values >= 0))
    return hard.float()
