"""Layer-wise normalisation of style coefficients over a collection (paper, before Eq. 7)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ris.choices import NormMode
from ris.method.layout import StyleLayout
from ris.method.statistics import NORM_MODES, StyleStatistics, centre_and_scale

__all__ = ["NORM_MODES", "Normaliser"]


@dataclass(frozen=True)
class Normaliser:
    """sigma -> (sigma - mean) / scale, with one value per channel.

    "Layer-wise" has two readings, both offered: ``layer`` takes one mean and deviation over
    all coefficients of a layer, ``channel`` one per channel. ``blend`` lies between them: the
    centre is halfway between the layer's mean and the channel's, the scale is the layer's
    deviation around its channels' means. ``none`` leaves sigma alone.

    What is left of a channel's mean after centring is the same for all faces, so under per-image
    masks it makes faces alike whose masks are alike: with ``layer`` that is most of the cosine,
    with ``channel`` nothing of it.
    """

    mode: NormMode
    mean: torch.Tensor  # (C,)
    scale: torch.Tensor  # (C,)

    @classmethod
    def fit(cls, mode: NormMode, statistics: StyleStatistics, layout: StyleLayout) -> Normaliser:
        """Normaliser of a collection for the channels of `layout` (a prefix of sigma).

        A constant channel or layer (deviation 0) is centred and not scaled.

        Raises:
            ValueError: unknown mode or no rows.
        """
        mean, scale = centre_and_scale(mode, statistics, layout)
        return cls(mode, torch.from_numpy(mean), torch.from_numpy(scale))

    def __call__(self, sigma: torch.Tensor) -> torch.Tensor:
        """(B, C) or longer sigma -> (B, C) normalised coefficients."""
        covered = sigma[:, : len(self.mean)]
        return (covered - self.mean.to(sigma.device)) / self.scale.to(sigma.device)
