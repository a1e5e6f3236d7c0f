"""Features by name, how their masks are made, and the mask of a single face (Eq. 4 and 5).

With numpy alone: a search of stored faces needs no torch, which takes longer to load than the
search takes. `ris.method.masks` does the same for many faces at once; a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from ris.choices import TAU, MaskMode
from ris.method.layout import StyleLayout

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

    kind: MaskMode = "soft"
    tau: float = TAU
    threshold: float = 0.8
    rho: float = 0.4
    least: int = 16
    to_image: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(MaskMode):
            raise ValueError(f"mask kind is {' or '.join(get_args(MaskMode))}, not {self.kind!r}")
        if not self.tau > 0:
            raise ValueError(f"`tau` must be above 0, not {self.tau}")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"the hard mask's threshold lies in [0, 1), not {self.threshold}")
        if not 0 <= self.rho < 1:
            raise ValueError(f"`rho` lies in [0, 1), not {self.rho}")
        if self.least < 0:
            raise ValueError(f"least must not be negative, not {self.least}")


TRANSFER_MASK = MaskOptions(kind="score")
"""Masks of transfers: score masks go further than soft ones and spill less, see
docs/lab/results.md."""


@dataclass(frozen=True)
class EisOptions:
    """How the baseline, EIS, makes its mask, see `ris.method.eis`.

    Attributes:
        rho: channels with an averaged score of this or less are never taken.
        epsilon: budget of a layer, in channels' worth of energy outside the class.
        to_image: whether channels of to-image layers take part.
    """

    rho: float = 0.2
    epsilon: float = 100.0
    to_image: bool = False


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


def eligible(layout: StyleLayout, feature: str, *, to_image: bool = False) -> np.ndarray:
    """(C,) bool: channels on which a feature's mask may differ from zero (Eq. 5).

    Early layers belong to hair and pose alone, and pose has no others.
    """
    if feature == POSE:
        allowed = layout.early
    elif feature == HAIR:
        allowed = np.ones_like(layout.early)
    else:
        allowed = ~layout.early
    return allowed if to_image else allowed & ~layout.to_image


def face_vector(
    sigma: np.ndarray,
    scores: np.ndarray,
    layout: StyleLayout,
    classes: Sequence[str],
    feature: str,
    options: MaskOptions,
    centre: np.ndarray,
    scale: np.ndarray,
) -> np.ndarray:
    """The masked style vector of one face under its own mask (Eq. 7), as
    `ris.method.representation`'s.

    Args:
        sigma: (C,) or longer style coefficients.
        scores: (K, C) contribution scores.
        layout: style layout of the C covered channels.
        classes: class names of the scores.
        feature: which feature's mask.
        options: how the mask is made.
        centre, scale: (C,) float32, see `ris.method.statistics.centre_and_scale`.

    Returns:
        (D,) float32 on the `eligible` channels; all zero if the feature covers nothing.

    Raises:
        ValueError: unknown feature, or scores of another layout.
    """
    row = class_row(classes, feature)
    if scores.shape != (len(classes), layout.channels):
        raise ValueError(f"scores are {scores.shape}, expected ({len(classes)}, {layout.channels})")
    keep = eligible(layout, feature, to_image=options.to_image)
    scores = scores[:, keep].astype(np.float32)
    normal = (sigma[: layout.channels].astype(np.float32)[keep] - centre[keep]) / scale[keep]
    vector: np.ndarray = _mask(scores, row, feature, options) * normal
    return vector


def _mask(scores: np.ndarray, row: int, feature: str, options: MaskOptions) -> np.ndarray:
    """(K, D) scores of the eligible channels -> (D,) float32 mask."""
    own = scores[row]
    if options.kind == "score" and feature != POSE:
        return _harden(own, options.rho, own > 0, options.least)
    scaled = scores / np.float32(options.tau)
    powers = np.exp(scaled - scaled.max(0))
    q: np.ndarray = powers[row] / powers.sum(0)
    if options.kind == "hard":
        q = _harden(q, options.threshold, own > 0, 0 if feature == POSE else options.least)
    return 1 - q if feature == POSE else q


def _harden(q: np.ndarray, limit: float, possible: np.ndarray, least: int) -> np.ndarray:
    """Zeros and ones: the channels above a limit, and at least the `least` highest of those that
    are possible."""
    hard = q > limit
    ranked = np.where(possible, q, -1.0)
    best = np.argsort(-ranked, kind="stable")[:least]
    hard[best] |= ranked[best] >= 0
    return hard.astype(np.float32)
