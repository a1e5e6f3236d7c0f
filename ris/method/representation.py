"""The vectors that are compared: v_k = q_k * sigma (Eq. 7) under the cosine (Eq. 8)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ris.choices import NormMode
from ris.method.layout import StyleLayout
from ris.method.masks import MaskOptions, eligible_channels, feature_mask
from ris.method.normaliser import Normaliser

DEFAULT_MASK = MaskOptions()
DEFAULT_NORM: NormMode = "blend"
"""How indices are made; chosen on labelled real faces (docs/lab/results.md)."""


def represent(
    sigma: torch.Tensor,
    scores: torch.Tensor,
    layout: StyleLayout,
    classes: Sequence[str],
    feature: str,
    options: MaskOptions,
    normaliser: Normaliser,
) -> torch.Tensor:
    """Masked style vectors of one feature, each image under its own mask (Eq. 7).

    Args:
        sigma: (B, C) or longer style coefficients.
        scores: (B, K, C) contribution scores; (1, K, C) applies one mask to all (EIS).
        layout: style layout of the C covered channels.
        classes: class names of the scores.
        feature: which feature's mask.
        options: how the mask is made.
        normaliser: fitted on the collection.

    Returns:
        (B, D) float32, only the channels on which the feature's mask may be non-zero; D is
        the number of `eligible_channels`.
    """
    mask = feature_mask(scores, layout, classes, feature, options)
    keep = eligible_channels(layout, feature, to_image=options.to_image).to(sigma.device)
    return (mask * normaliser(sigma))[:, keep]


def cosine(queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """(Q, D), (N, D) -> (Q, N) cosine similarity; 0 where either vector is zero (Eq. 8)."""
    q = torch.nn.functional.normalize(queries, dim=1)
    r = torch.nn.functional.normalize(rows, dim=1)
    return q @ r.T
