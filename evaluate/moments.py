"""Mean and covariance of vectors that stream by, of all of them and of random parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Moments:
    """Mean and covariance of vectors that stream by; D^2 doubles of memory.

    Args:
        dim: D, length of a vector.
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean = np.zeros(dim)
        self._squares = np.zeros((dim, dim))  # sum of outer products of deviations from the mean

    def add(self, embeddings: np.ndarray) -> None:
        """Adds (B, D) vectors.

        Raises:
            ValueError: vectors of another length, or numbers that are not finite.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != len(self.mean):
            raise ValueError(f"features are {embeddings.shape}, expected (B, {len(self.mean)})")
        if not len(embeddings):
            return
        if not np.isfinite(embeddings).all():
            raise ValueError("features that are not finite")
        batch = embeddings.astype(np.float64)
        middle = batch.mean(0)
        batch -= middle
        step = middle - self.mean
        total = self.count + len(batch)
        self._squares += batch.T @ batch
        self._squares += np.outer(step, step * (self.count * len(batch) / total))
        self.mean = self.mean + step * (len(batch) / total)
        self.count = total

    @property
    def covariance(self) -> np.ndarray:
        """(D, D), divided by the count less one.

        Raises:
            ValueError: fewer than two vectors.
        """
        if self.count < 2:
            raise ValueError(f"a covariance takes two vectors at least, not {self.count}")
        return self._squares / (self.count - 1)


class Subsets:
    """Moments of random parts of a set that streams by: one part for every share.

    Parts are drawn without replacement and independently of each other. Memory is one `Moments`
    a share, whatever the size of the set.

    Args:
        total: size of the set.
        shares: sizes of the parts, each above 0 and at most 1 of the set.
        dim: length of a vector.
        rng: draws the parts.

    Raises:
        ValueError: a share out of range, or a part of fewer than two.
    """

    def __init__(
        self, total: int, shares: Sequence[float], dim: int, rng: np.random.Generator
    ) -> None:
        sizes = [round(share * total) for share in shares]
        if any(not 0 < share <= 1 for share in shares):
            raise ValueError("the shares of a set lie above 0 and at most at 1")
        if min(sizes) < 2:
            raise ValueError(f"{total} are too few for parts of {min(shares):.0%}")
        self.moments = [Moments(dim) for _ in shares]
        self._member = np.zeros((len(shares), total), dtype=bool)
        for row, size in zip(self._member, sizes, strict=True):
            row[rng.permutation(total)[:size]] = True

    def add(self, numbers: np.ndarray, embeddings: np.ndarray) -> None:
        """Adds (B, D) embeddings of the members with these (B,) numbers within the set."""
        for moments, member in zip(self.moments, self._member, strict=True):
            moments.add(embeddings[member[numbers]])
