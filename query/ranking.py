"""Rows of live indices ranked by one feature or a weighted mix of several (Eq. 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ris.errors import QueryError
from ris.index.kind import Ends, Hits
from ris.index.live import LiveIndex
from ris.query.query_face import QueryFace


class Query(NamedTuple):
    """A face and its vector under each feature."""

    face: QueryFace
    vectors: dict[str, np.ndarray]


def vectors_of(indices: Mapping[str, LiveIndex], face: QueryFace) -> dict[str, np.ndarray]:
    """A face's vector under each feature.

    Raises:
        QueryError: it does not show one of them.
    """
    found = {}
    for name, index in indices.items():
        found[name] = index.query_vector(face.sigma, face.scores)
        if not found[name].any():
            raise QueryError(f"{face.name} shows no {name!r}, so there is nothing to compare")
    return found


def ranked(
    indices: Mapping[str, LiveIndex],
    queries: Sequence[Query],
    weights: Mapping[str, float],
    k: int,
    allowed: np.ndarray | None,
) -> list[Ends]:
    """The k nearest and furthest rows of each query, in rows of the first index.

    Args:
        indices: of each feature, all as of one state of the store.
        queries: what is searched for; its own row is left out.
        weights: of each feature.
        k: rows at each end.
        allowed: (rows of the first index,) bool, rows that may be returned; None for all.
    """
    first = next(iter(indices.values()))
    if len(indices) == 1 and next(iter(weights.values())) > 0:
        return _one(first, queries, k, allowed)
    return _several(indices, queries, weights, k, allowed)


def _one(
    index: LiveIndex, queries: Sequence[Query], k: int, allowed: np.ndarray | None
) -> list[Ends]:
    """Search in one index, each query without its own row."""
    if not queries:
        return []
    stacked = np.stack([next(iter(query.vectors.values())) for query in queries])
    both = index.search(stacked, min(k + 1, index.rows), allowed)
    found = []
    for i, query in enumerate(queries):
        row = -1 if query.face.id is None else index.row_of(query.face.id)
        near, far = (_drop(Hits(h.rows[i : i + 1], h.scores[i : i + 1]), row, k) for h in both)
        found.append(Ends(near, far))
    return found


def _drop(hits: Hits, own: int, k: int) -> Hits:
    keep = np.flatnonzero((hits.rows[0] >= 0) & (hits.rows[0] != own))[:k]
    return Hits(hits.rows[:, keep], hits.scores[:, keep])


def _several(
    indices: Mapping[str, LiveIndex],
    queries: Sequence[Query],
    weights: Mapping[str, float],
    k: int,
    allowed: np.ndarray | None,
) -> list[Ends]:
    """Weighted mean of exact cosines, over the rows that every index has."""
    first = next(iter(indices.values()))
    rows_of = {name: first.rows_in(index) for name, index in indices.items()}
    common = np.ones(len(first.ids), bool) if allowed is None else allowed.copy()
    for rows in rows_of.values():
        common &= rows >= 0
    largest = max(abs(w) for w in weights.values())  # first, so that the sum cannot overflow
    norm = sum(abs(w / largest) for w in weights.values())
    found = []
    for query in queries:
        total = np.zeros(len(first.ids), np.float32)
        for name, index in indices.items():
            scores = index.all_scores(query.vectors[name])
            total += np.float32(weights[name] / largest / norm) * scores[rows_of[name]]
        candidates = np.flatnonzero(common)
        if query.face.id is not None:
            candidates = candidates[candidates != first.row_of(query.face.id)]
        near = candidates[np.lexsort((candidates, -total[candidates]))][:k]
        far = candidates[np.lexsort((candidates, total[candidates]))][:k]
        found.append(Ends(*(Hits(rows[None], total[rows][None]) for rows in (near, far))))
    return found
