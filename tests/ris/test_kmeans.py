"""Spherical k-means: known clusters, determinism and the rows that break naive versions."""

from __future__ import annotations

import pytest
import torch

from ris.method.kmeans import nearest, spherical_kmeans


def bundle(axes: list[int], rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    """`rows` noisy rows around each named axis, of lengths between 0.1 and 10."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for axis in axes:
        x = 0.05 * torch.randn(rows, dim, generator=generator)
        x[:, axis] += 1
        parts.append(x * (0.1 + 9.9 * torch.rand(rows, 1, generator=generator)))
    return torch.cat(parts)


def test_finds_separable_directions() -> None:
    x = bundle([0, 3, 5], 40, 8)
    centroids = spherical_kmeans(x, 3, iterations=10, seed=1)
    assert sorted(centroids.argmax(1).tolist()) == [0, 3, 5]
    assert centroids.max(1).values.min() > 0.99
    torch.testing.assert_close(centroids.norm(dim=1), torch.ones(3))
    labels = nearest(x, centroids)
    assert [len(set(part.tolist())) for part in labels.split(40)] == [1, 1, 1]


def test_centroid_is_mean_direction_not_direction_of_mean() -> None:
    """A row of length 100 weighs as much as one of length 1."""
    x = torch.tensor([[100.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(
        spherical_kmeans(x, 1, iterations=3, seed=0), torch.tensor([[0.5**0.5, 0.5**0.5]])
    )


def test_opposite_directions_are_far_apart() -> None:
    x = torch.cat((bundle([0], 20, 4), -bundle([0], 20, 4)))
    labels = nearest(x, spherical_kmeans(x, 2, iterations=5, seed=0))
    assert set(labels[:20].tolist()).isdisjoint(labels[20:].tolist())


def test_same_seed_same_centroids_whatever_the_batch() -> None:
    x = torch.randn(500, 6, generator=torch.Generator().manual_seed(3))
    first = spherical_kmeans(x, 7, iterations=4, seed=5, batch=500)
    assert torch.equal(first, spherical_kmeans(x, 7, iterations=4, seed=5, batch=500))
    torch.testing.assert_close(first, spherical_kmeans(x, 7, iterations=4, seed=5, batch=33))
    assert not torch.equal(first, spherical_kmeans(x, 7, iterations=4, seed=6, batch=500))


def test_lloyd_steps_raise_the_fit() -> None:
    x = torch.randn(800, 5, generator=torch.Generator().manual_seed(0))
    unit = torch.nn.functional.normalize(x, dim=1)
    fits = [
        float((unit @ spherical_kmeans(x, 9, iterations=n, seed=0).T).max(1).values.mean())
        for n in (0, 1, 5, 20)
    ]
    assert fits == sorted(fits)
    assert fits[-1] > fits[0] + 0.01


def test_duplicate_rows_and_empty_clusters() -> None:
    """Fewer directions than clusters: still k unit centroids, every direction hit exactly."""
    x = torch.eye(3).repeat(10, 1)
    centroids = spherical_kmeans(x, 5, iterations=6, seed=0)
    assert centroids.shape == (5, 3)
    torch.testing.assert_close(centroids.norm(dim=1), torch.ones(5))
    assert float((x @ centroids.T).max(1).values.min()) == pytest.approx(1)


def test_half_precision_rows() -> None:
    x = bundle([0, 1], 30, 4)
    torch.testing.assert_close(
        spherical_kmeans(x.half(), 2, seed=0), spherical_kmeans(x, 2, seed=0), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("k", [0, 4])
def test_rejects_impossible_cluster_counts(k: int) -> None:
    with pytest.raises(ValueError, match=f"cannot make {k} clusters of 3 rows"):
        spherical_kmeans(torch.eye(3), k)
