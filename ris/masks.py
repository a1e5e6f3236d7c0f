"""From contribution scores to channel masks q (Eq. 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from ris.layout import StyleLayout

MaskKind = Literal["soft", "hard", "score"]
POSE = "pose"
HAIR = "hair"


@dataclass(frozen=True)
class MaskOptions:
    """How a mask is made of contribution scores.

    Attributes:
        kind: ``soft`` is the paper's q; ``hard`` is the released code's q > threshold; ``score``
            takes the channels whose score M itself exceeds `rho`, as EIS does with averages, but
            for the pose, whose mask is the soft one.
        tau: temperature of the softmax over classes (Eq. 4).
        threshold: of the hard mask.
        rho: of the score mask.
        least: a hard or score mask keeps at least this many channels, the highest ones, so that a
            face whose scores are spread out still has a representation. 0 turns it off.
        to_image: whether channels of to-image (ToRGB) layers take part.
    """

    kind: MaskKind = "soft"
    tau: float = 0.1
    threshold: float = 0.8
    rho: float = 0.4
    least: int = 16
    to_image: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(MaskKind):
            raise ValueError(f"mask kind is {' or '.join(get_args(MaskKind))}, not {self.kind!r}")
        if not self.tau > 0:
            raise ValueError(f"tau must be above 0, not {self.tau}")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"the hard mask's threshold lies in [0, 1), not {self.threshold}")
        if not 0 <= self.rho < 1:
            raise ValueError(f"rho lies in [0, 1), not {self.rho}")
        if self.least < 0:
            raise ValueError(f"least must not be negative, not {self.least}")


def features_of(classes: Sequence[str]) -> tuple[str, ...]:
    """All features of a catalogue: its classes and, where it has hair, the pose."""
    return (*classes, POSE) if HAIR in classes else tuple(classes)


def class_row(classes: Sequence[str], feature: str) -> int:
    """Row of the scores that a feature's mask is made of; the pose's is that of hair (Eq. 5).

    Raises:
        ValueError: unknown feature.
    """
    if feature not in features_of(classes):
        raise ValueError(f"unknown feature {feature!r}; known: {', '.join(features_of(classes))}")
    return list(classes).index(HAIR if feature == POSE else feature)


def eligible_channels(layout: StyleLayout, feature: str, *, to_image: bool = False) -> torch.Tensor:
    """(C,) bool: channels on which a feature's mask may differ from zero (Eq. 5).

    Early layers belong to hair and pose alone, and pose has no others.
    """
    early = torch.from_numpy(layout.early)
    image = torch.from_numpy(layout.to_image)
    if feature == POSE:
        allowed = early
    elif feature == HAIR:
        allowed = torch.ones_like(early)
    else:
        allowed = ~early
    return allowed if to_image else allowed & ~image


def membership(scores: torch.Tensor, tau: float = 0.1) -> torch.Tensor:
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
