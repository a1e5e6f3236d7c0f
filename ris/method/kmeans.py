"""Spherical k-means: cluster directions, with the cosine as similarity (paper, Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

SEEDING_ROWS = 16384  # seeding costs k passes over its rows; a sample of them seeds as well


def spherical_kmeans(
    x: torch.Tensor,  # (N, D)
    k: int,
    *,
    iterations: int = 20,
    seed: int = 0,
    batch: int = 8192,
    progress: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Clusters the directions of the rows of `x`; the length of a row plays no part.

    Seeded as k-means++ does (the next centre is drawn with probability proportional to the
    squared distance 2 (1 - cos) to the nearest one so far), then Lloyd's steps until no row
    changes its cluster. A cluster that lost all its rows restarts at the row that fits its own
    centre worst.

    Args:
        x: (N, D) float rows, any length; half precision is widened batch by batch.
        k: number of clusters, at most N.
        iterations: most Lloyd steps.
        seed: the same seed and rows give the same centroids.
        batch: rows held in float32 at once; memory beyond `x` is about batch * (D + k) floats.
        progress: called with (step, iterations) after every Lloyd step.

    Returns:
        (k, D) float32 centroids of unit length.

    Raises:
        ValueError: `x` is not a matrix, or k is not within 1..N.
    """
    if x.ndim != 2:
        raise ValueError(f"k-means wants rows (N, D), not a tensor of shape {tuple(x.shape)}")
    if not 1 <= k <= len(x):
        raise ValueError(f"cannot make {k} clusters of {len(x)} rows")
    generator = torch.Generator().manual_seed(seed)
    centroids = _seed_centroids(x, k, generator)
    previous: torch.Tensor | None = None
    for step in range(iterations):
        labels, similarity, sums = _assign(x, centroids, batch)
        if previous is not None and torch.equal(labels, previous):
            break
        previous = labels
        empty = torch.bincount(labels, minlength=k) == 0
        centroids = F.normalize(sums, dim=1)
        if empty.any():
            worst = similarity.argsort(stable=True)[: int(empty.sum())]
            centroids[empty] = F.normalize(x[worst].float(), dim=1)
        if progress is not None:
            progress(step + 1, iterations)
    return centroids


def nearest(
    x: torch.Tensor,  # (N, D)
    centroids: torch.Tensor,  # (k, D)
    batch: int = 8192,
) -> torch.Tensor:
    """(N,) int64 index of the centroid with the largest cosine for each row."""
    return torch.cat([(rows @ centroids.T).argmax(1) for rows in _unit_rows(x, batch)])


def _unit_rows(x: torch.Tensor, batch: int) -> Iterator[torch.Tensor]:
    for start in range(0, len(x), batch):
        yield F.normalize(x[start : start + batch].float(), dim=1)


def _assign(
    x: torch.Tensor, centroids: torch.Tensor, batch: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cluster (N,) of each row, its cosine (N,) and the sum of unit rows per cluster (k, D)."""
    sums = torch.zeros_like(centroids)
    labels, similarities = [], []
    for rows in _unit_rows(x, batch):
        similarity, label = (rows @ centroids.T).max(1)
        sums.index_add_(0, label, rows)
        labels.append(label)
        similarities.append(similarity)
    return torch.cat(labels), torch.cat(similarities), sums


def _seed_centroids(x: torch.Tensor, k: int, generator: torch.Generator) -> torch.Tensor:
    count = max(min(len(x), SEEDING_ROWS), k)
    chosen = torch.randperm(len(x), generator=generator)[:count].to(x.device)
    rows = F.normalize(x[chosen].float(), dim=1)
    first = int(torch.randint(count, (1,), generator=generator))
    picked = [first]
    distance = 1 - rows @ rows[first]
    for _ in range(k - 1):
        chance = distance.clamp_min(0).double().cpu()
        chance[picked] = 0
        if float(chance.sum()) <= 0:  # fewer distinct directions than clusters
            chance.fill_(1)
            chance[picked] = 0
        # the cumulative sum, since torch.multinomial is limited to 2**24 categories
        total = chance.cumsum(0)
        draw = torch.rand(1, generator=generator, dtype=torch.float64) * total[-1]
        index = min(int(torch.searchsorted(total, draw, right=True)), count - 1)
        picked.append(index)
        distance = torch.minimum(distance, 1 - rows @ rows[index])
    return rows[picked]
