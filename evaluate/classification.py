"""How well predicted attributes agree with given ones (paper, supplement, Fig. 13)."""

from __future__ import annotations

import numpy as np


def auc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: the chance that a face with the attribute has a higher score than
    one without, ties counting half (the Mann-Whitney statistic).

    Args:
        labels: (N, A) integers; 1 has the attribute, -1 has it not, 0 unknown and left out.
        scores: (N, A) of any scale, an attribute at a time.

    Returns:
        (A,) in [0, 1]; nan where no face has the attribute, or none is without it.

    Raises:
        ValueError: labels of another kind, or unequal shapes.
    """
    _check(labels, scores)
    return np.array([_auc(y, s) for y, s in zip(labels.T, scores.T, strict=True)])


def _auc(labels: np.ndarray, scores: np.ndarray) -> float:
    known = labels != 0
    positive = labels[known] == 1
    n, m = int(positive.sum()), int((~positive).sum())
    if n == 0 or m == 0:
        return float("nan")
    _, place, counts = np.unique(scores[known], return_inverse=True, return_counts=True)
    last = np.cumsum(counts)  # ranks count from 1; equal scores share their mean rank
    ranks = (last - (counts - 1) / 2)[place]
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Share of the faces whose attribute was predicted right.

    Args:
        labels: (N, A), see `auc`.
        predicted: (N, A) of the same kind; faces with 0 in either are left out.

    Returns:
        (A,) in [0, 1]; nan where no face is left.

    Raises:
        ValueError: labels of another kind, or unequal shapes.
    """
    _check(labels, predicted)
    both = (labels != 0) & (predicted != 0)
    return _ratio(((labels == predicted) & both).sum(0), both.sum(0))


def share(labels: np.ndarray) -> np.ndarray:
    """(N, A) labels -> (A,) share of the faces with a known label that have the attribute, or
    nan."""
    return _ratio((labels == 1).sum(0), (labels != 0).sum(0))


def share_thresholds(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Thresholds that predict an attribute as often as it is there.

    Args:
        labels: (N, A), see `auc`.
        scores: (N, A) of real numbers; an attribute is predicted from its threshold on.

    Returns:
        (A,) midway between the scores of two faces; a face more or less than there should be is
        predicted only where scores are equal. Infinite where all faces have the attribute or none
        has it, nan where nothing is known.

    Raises:
        ValueError: labels of another kind, or unequal shapes.
    """
    _check(labels, scores)
    return np.array([_share_threshold(y, s) for y, s in zip(labels.T, scores.T, strict=True)])


def _share_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    known = labels != 0
    if not known.any():
        return float("nan")
    positive = int((labels[known] == 1).sum())
    falling = np.sort(scores[known].astype(np.float64))[::-1]
    if positive == 0:
        return float("inf")
    if positive == len(falling):
        return float("-inf")
    return float(falling[positive - 1] + falling[positive]) / 2


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.full(part.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _check(labels: np.ndarray, other: np.ndarray) -> None:
    if labels.ndim != 2 or not np.isin(labels, (-1, 0, 1)).all():
        raise ValueError("labels are an (N, A) array of 1, -1 and 0")
    if labels.shape != other.shape:
        raise ValueError(f"{labels.shape} labels, but {other.shape} to compare them with")
