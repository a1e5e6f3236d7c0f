"""Do groups of faces use channels of their own? (Section 4 and Fig. 9 of the paper.)

Faces are grouped by their contribution scores for one feature. Of each group the channels with
the highest scores are taken; if the groups share few of them, a channel's membership of a feature
differs from group to group, which one averaged mask cannot express.
"""

from __future__ import annotations

import torch


def top_channels(centres: torch.Tensor, count: int) -> torch.Tensor:
    """(K, C) centres of score vectors -> (K, count) int64 channels of the highest scores.

    Equal scores go to the channel that comes first.

    Raises:
        ValueError: the centres have fewer channels than that, or count is below 1.
    """
    if not 1 <= count <= centres.shape[1]:
        raise ValueError(f"cannot take the top {count} of {centres.shape[1]} channels")
    return centres.argsort(dim=1, descending=True, stable=True)[:, :count]


def intersection_ratio(tops: torch.Tensor) -> float:
    """Share of their top channels that groups have in common: mean over pairs of groups of
    |top(a) and top(b)| / count, 1 if all have the same, 0 if no two share any.

    Args:
        tops: (K, count) channel numbers, each row without repetition; K is 2 or more.

    Raises:
        ValueError: fewer than two groups.
    """
    groups, count = tops.shape
    member = _member(tops)
    shared = (member @ member.T).double()  # [K, K], exact: whole numbers up to `count`
    pairs = groups * (groups - 1)
    return float((shared.sum() - shared.diagonal().sum()) / (pairs * count))


def common_ratio(tops: torch.Tensor) -> float:
    """Share of their top channels that *all* groups have in common, in [0, 1].

    Args:
        tops: as `intersection_ratio`'s.

    Raises:
        ValueError: fewer than two groups.
    """
    return float(_member(tops).bool().all(0).sum()) / tops.shape[1]


def _member(tops: torch.Tensor) -> torch.Tensor:
    """(K, C) float32: 1 where a channel is among a group's."""
    if len(tops) < 2:
        raise ValueError(f"an intersection takes two groups at least, not {len(tops)}")
    return torch.zeros(len(tops), int(tops.max()) + 1).scatter_(1, tops, 1.0)


def group_means(
    rows: torch.Tensor, labels: torch.Tensor, groups: int, batch: int = 4096
) -> torch.Tensor:
    """(K, C) float32 directions of groups: sums of their unit rows, as spherical k-means has it.

    Args:
        rows: (N, C) scores of any float type; widened `batch` rows at a time.
        labels: (N,) int64 group of each row.
        groups: K; a group without rows gives zeros.
        batch: rows widened at once.
    """
    sums = torch.zeros(groups, rows.shape[1])
    for start in range(0, len(rows), batch):
        part = torch.nn.functional.normalize(rows[start : start + batch].float(), dim=1)
        sums.index_add_(0, labels[start : start + batch], part)
    return torch.nn.functional.normalize(sums, dim=1)
