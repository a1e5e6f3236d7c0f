"""Exact rankings of many queries while the collection streams by once."""

from __future__ import annotations

import numpy as np
import torch


class RunningTop:
    """The k highest-scoring rows of Q queries over a stream of row batches.

    Args:
        queries: (Q, D) float32 vectors.
        k: rows kept for each.
    """

    def __init__(self, queries: torch.Tensor, k: int) -> None:
        self.k = k
        self._queries = torch.nn.functional.normalize(queries, dim=1)
        self._scores = torch.full((len(queries), 0), -torch.inf)
        self._rows = torch.empty((len(queries), 0), dtype=torch.int64)

    def add(self, first_row: int, rows: torch.Tensor, exclude: torch.Tensor) -> None:
        """Takes in (n, D) rows numbered from `first_row`.

        `exclude` is (Q,) int64: the row of the query itself, which is left out.
        """
        scores = self._queries @ torch.nn.functional.normalize(rows, dim=1).T  # [Q, n]
        numbers = torch.arange(first_row, first_row + len(rows)).expand(len(scores), -1)
        scores = torch.where(numbers == exclude[:, None], -torch.inf, scores)
        # a face without the feature has no vector: it is neither found nor finds anything
        absent = (rows == 0).all(1)[None] | (self._queries == 0).all(1)[:, None]
        scores = torch.where(absent, -torch.inf, scores)
        self._scores = torch.cat((self._scores, scores), dim=1)
        self._rows = torch.cat((self._rows, numbers), dim=1)
        best = self._scores.topk(min(self.k, self._scores.shape[1]), dim=1)
        self._scores, self._rows = best.values, self._rows.gather(1, best.indices)

    def rows(self) -> list[np.ndarray]:
        """For each query the row numbers found, best first; its own row never among them."""
        keep = torch.isfinite(self._scores)
        return [r[m].numpy() for r, m in zip(self._rows, keep, strict=True)]
