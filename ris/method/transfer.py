"""One feature of one face put on another, in style coefficients (section 3.3, Eq. 3 and 6).

A transfer moves the source along a direction: sigma_src + alpha * d. What d is, is the rule:

    paper      d = q * (sigma_ref - sigma_src)                                        (Eq. 6)
    rescaled   d = q * sigma_ref * |q * sigma_src| / |q * sigma_ref| - q * sigma_src

The second is what the authors' released code does. Directions of several features, or of several
references, add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch

from ris.choices import ALPHA, Rule
from ris.method.contribution import pair_scores
from ris.method.layout import StyleLayout
from ris.method.masks import MaskOptions, feature_mask

__all__ = ["ALPHA", "Rule", "direction", "move", "pair_mask"]


def pair_mask(
    source: torch.Tensor,
    reference: torch.Tensor,
    layout: StyleLayout,
    classes: Sequence[str],
    feature: str,
    options: MaskOptions | None = None,
) -> torch.Tensor:
    """The mask of one feature for pairs of faces: that of the larger score of both (Eq. 3).

    Args:
        source: (B, K, C') contribution scores.
        reference: (B, K, C') likewise, or (1, K, C') for all.
        layout: style layout of the covered channels.
        classes: class names of the scores.
        feature: one of `ris.method.masks.features_of`.
        options: see `MaskOptions`.

    Returns:
        (B, C') in [0, 1].
    """
    scores = pair_scores(source, reference)
    return feature_mask(scores, layout, classes, feature, options)


def direction(
    source: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor, rule: Rule = "paper"
) -> torch.Tensor:
    """Where a transfer moves a source's style coefficients; zero where the mask is.

    Args:
        source: (B, C) style coefficients.
        reference: (B, C) or (1, C).
        mask: (B, C') or (1, C') with C' <= C: q of the first C' channels, the others stay.
        rule: see the module's text.

    Returns:
        (B, C) float64, so that a step of 1 under a mask of ones ends at the reference exactly.

    Raises:
        ValueError: unknown rule, or a mask of more channels than the style has.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"a transfer's rule is {' or '.join(get_args(Rule))}, not {rule!r}")
    missing = source.shape[1] - mask.shape[1]
    if missing < 0:
        raise ValueError(f"a mask of {mask.shape[1]} channels for {source.shape[1]} coefficients")
    q = torch.nn.functional.pad(mask.double(), (0, missing))
    s, r = source.double(), reference.double()
    if rule == "paper":
        return q * (r - s)
    own, other = q * s, q * r
    length = other.norm(dim=1, keepdim=True)
    scale = torch.where(length > 0, own.norm(dim=1, keepdim=True) / length, 0.0)
    return other * scale - own


def move(source: torch.Tensor, directions: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Style coefficients moved along directions (Eq. 6).

    Args:
        source: (B, C) style coefficients.
        directions: (B, C) of `direction`, or sums of such.
        alpha: (A,) any real numbers; 0 stays, 1 arrives, negative ones lead away.

    Returns:
        (B, A, C) of the source's type.
    """
    steps = alpha.double()[:, None] * directions.double()[:, None]  # [B, A, C]
    return (source.double()[:, None] + steps).to(source.dtype)
