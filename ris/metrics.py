"""Measures of retrieval quality (paper, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np


def intersection_over_union(first: Sequence[object], second: Sequence[object]) -> float:
    """|A and B| / |A or B| of two collections taken as sets; 0 if both are empty."""
    a, b = set(first), set(second)
    return len(a & b) / len(a | b) if a or b else 0.0


def trsi_iou(
    retrieved: dict[str, Sequence[Sequence[object]]],
) -> dict[tuple[str, str], np.ndarray]:
    """Top-retrieved set of identities: IoU between two features' results of the same query.

    Two features of one face should be found in different people, so lower is better.

    Args:
        retrieved: for each feature, for each of Q queries, the identities of its top k.

    Returns:
        for each unordered pair of features a (Q,) array of IoU in [0, 1].

    Raises:
        ValueError: features with different numbers of queries.
    """
    if len({len(rows) for rows in retrieved.values()}) > 1:
        raise ValueError("every feature needs results for the same queries")
    return {
        (a, b): np.array(
            [intersection_over_union(x, y) for x, y in zip(retrieved[a], retrieved[b], strict=True)]
        )
        for a, b in combinations(retrieved, 2)
    }
