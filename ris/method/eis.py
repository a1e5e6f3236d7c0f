"""Editing in Style (Collins et al. 2020, arXiv:2004.14367), the baseline: one mask for all faces.

Scores M are averaged over a data set. In every style layer the channels are taken in the order of
falling M for the class, as long as the sum of what they bring along (1 - M) stays within a budget
epsilon; channels with M of rho or less are never taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ris.method.features import EisOptions
from ris.method.layout import StyleLayout
from ris.method.masks import POSE, class_row, eligible_channels

__all__ = ["AVERAGED_FACES", "EisOptions", "eis_mask"]

AVERAGED_FACES = 200
"""Faces that M is averaged over (section 4 of the paper)."""


def eis_mask(
    average: torch.Tensor,
    layout: StyleLayout,
    classes: Sequence[str],
    feature: str,
    options: EisOptions | None = None,
) -> torch.Tensor:
    """The mask of one feature, the same for all faces.

    EIS knows no pose. So that both methods can be compared on it, its pose is made as the
    paper's (Eq. 5): 1 - q_hair on the early layers, which other features do not touch.

    Args:
        average: (K, C) averaged contribution scores, see `ris.method.contribution.AverageScores`.
        layout: style layout of the covered channels.
        classes: the K class names.
        feature: one of `ris.method.masks.features_of`.
        options: see `EisOptions`.

    Returns:
        (C,) float32 of zeros and ones.

    Raises:
        ValueError: unknown feature, or scores of another layout.
    """
    options = options or EisOptions()
    row = class_row(classes, feature)
    if average.shape != (len(classes), layout.channels):
        raise ValueError(
            f"scores are {tuple(average.shape)}, expected ({len(classes)}, {layout.channels})"
        )
    taken = torch.cat([_take(average[row, part], options) for part in layout.slices])
    if feature == POSE:
        taken = ~taken
    return (taken & eligible_channels(layout, feature, to_image=options.to_image)).float()


def _take(scores: torch.Tensor, options: EisOptions) -> torch.Tensor:
    """(C,) bool: the channels taken of one layer."""
    order = scores.argsort(descending=True, stable=True)
    within = torch.cumsum(1 - scores[order], 0) < options.epsilon
    taken = torch.zeros_like(scores, dtype=torch.bool)
    taken[order] = within
    return taken & (scores > options.rho)
