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
    """RIS, v_k = q_k * sigma (Eq. 7); with `average` EIS, one mask for all faces.

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


class RunningTop:
    """The k most similar rows to each of Q queries over a stream of row batches.

    Args:
        queries: (Q, D) float32 vectors.
        k: rows kept for each.
    """

    def __init__(self, queries: torch.Tensor, k: int) -> None:
        self.k = k
        self._queries = torch.nn.functional.normalize(queries, dim=1)
        self._similarities = torch.full((len(queries), 0), -torch.inf)
        self._rows = torch.empty((len(queries), 0), dtype=torch.int64)

    def add(self, first_row: int, rows: torch.Tensor, exclude: torch.Tensor) -> None:
        """Takes in (n, D) rows numbered from `first_row`.

        `exclude` is (Q,) int64: the row of the query itself, which is left out.
        """
        similarities = self._queries @ torch.nn.functional.normalize(rows, dim=1).T  # [Q, n]
        numbers = torch.arange(first_row, first_row + len(rows)).expand(len(similarities), -1)
        similarities = torch.where(numbers == exclude[:, None], -torch.inf, similarities)
        # a face without the feature has no vector: it is neither found nor finds anything
        absent = (rows == 0).all(1)[None] | (self._queries == 0).all(1)[:, None]
        similarities = torch.where(absent, -torch.inf, similarities)
        self._similarities = torch.cat((self._similarities, similarities), dim=1)
        self._rows = torch.cat((self._rows, numbers), dim=1)
        best = self._similarities.topk(min(self.k, self._similarities.shape[1]), dim=1)
        self._similarities, self._rows = best.values, self._rows.gather(1, best.indices)

    def rows(self) -> list[np.ndarray]:
        """For each query the row numbers found, best first; its own row never among them."""
        keep = torch.isfinite(self._similarities)
        return [r[m].numpy() for r, m in zip(self._rows, keep, strict=True)]


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
