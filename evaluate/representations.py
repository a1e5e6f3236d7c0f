"""What can be compared with what: representations of faces, and rankings by them.

A representation gives a face one vector a feature; faces are ranked by the cosine, as `ris query`
does it. The method's own (`MaskedStyle`) goes through the code that the indices are built with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch

from ris.evaluate.topk import RunningTop
from ris.method.layout import StyleLayout
from ris.method.masks import MaskOptions
from ris.method.normaliser import Normaliser
from ris.method.representation import represent

FEATURES = ("eyes", "nose", "mouth", "hair")
"""The features that the paper evaluates."""


class Rows(NamedTuple):
    """Some faces of a collection.

    Attributes:
        numbers: (B,) int64, their rows.
        sigma: (B, C) style coefficients.
        scores: (B, K, C') contribution scores.
    """

    numbers: torch.Tensor
    sigma: torch.Tensor
    scores: torch.Tensor


class Representation(Protocol):
    """One way to compare faces."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def by_feature(self) -> bool:
        """False: the same vector for every feature."""
        ...

    def vectors(self, rows: Rows, feature: str) -> torch.Tensor:
        """(B, D) float32; all zero for a face that does not show the feature."""
        ...


@dataclass(frozen=True)
class MaskedStyle:
    """RIS, v_k = q_k * sigma (Eq. 7); with `average` EIS, one mask for all images.

    Attributes:
        name: what tables call it.
        layout: style layout of the covered channels.
        classes: class names of the scores.
        options: how the mask is made.
        normaliser: fitted on the collection.
        average: (K, C') mean scores of the collection, for EIS.
    """

    name: str
    layout: StyleLayout
    classes: tuple[str, ...]
    options: MaskOptions
    normaliser: Normaliser
    average: torch.Tensor | None = None
    by_feature: bool = True

    def vectors(self, rows: Rows, feature: str) -> torch.Tensor:
        """See `Representation.vectors`."""
        scores = rows.scores if self.average is None else self.average[None]
        return represent(
            rows.sigma,
            scores,
            self.layout,
            self.classes,
            feature,
            self.options,
            self.normaliser,
        )


@dataclass(frozen=True)
class WholeStyle:
    """Sigma of the whole face, normalised, without a mask."""

    normaliser: Normaliser
    name: str = "whole-face sigma"
    by_feature: bool = False

    def vectors(self, rows: Rows, feature: str) -> torch.Tensor:
        """See `Representation.vectors`."""
        return self.normaliser(rows.sigma)


def rank(
    representations: Sequence[Representation],
    asked: Rows,
    batches: Iterable[Rows],
    k: int,
    features: Sequence[str] = FEATURES,
) -> dict[tuple[str, str], list[np.ndarray]]:
    """The top k of a collection for some of its faces, by every representation and feature.

    Args:
        representations: with different names.
        asked: the Q queries.
        batches: the whole collection, once.
        k: results for each query.
        features: by which to rank.

    Returns:
        (name, feature) -> for each query the row numbers found, best first; never its own.
        Fewer than k, or none, where faces do not show the feature.
    """
    keys = [(r, f) for r in representations for f in (features if r.by_feature else features[:1])]
    tops = [RunningTop(r.vectors(asked, f), k) for r, f in keys]
    for rows in batches:
        for (r, f), top in zip(keys, tops, strict=True):
            top.add(int(rows.numbers[0]), r.vectors(rows, f), asked.numbers)
    found = {(r.name, f): top.rows() for (r, f), top in zip(keys, tops, strict=True)}
    whole = [r.name for r in representations if not r.by_feature]
    return found | {(name, f): found[name, features[0]] for name in whole for f in features}
