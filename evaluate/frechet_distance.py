"""Fréchet distance between two sets of feature vectors, extrapolated to sets without end.

Each set is summed up by its mean m and covariance S, as if it were a Gaussian; the distance is

    d = |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))

(Dowson and Landau 1982). With features of an Inception network this is what Heusel et al. 2017
(arXiv:1706.08500) call FID; with those of another network it is another measure, on another
scale. From n vectors a set it comes out too large, by a bias that is about proportional to 1/n,
so Chong and Forsyth 2020 (arXiv:1911.07023) compute it for several n, fit a line over 1/n and
read off where it meets 1/n = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

    def add(self, features: np.ndarray) -> None:
        """Adds (B, D) vectors.

        Raises:
            ValueError: vectors of another length, or numbers that are not finite.
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f"features are {features.shape}, expected (B, {len(self.mean)})")
        if not len(features):
            return
        if not np.isfinite(features).all():
            raise ValueError("features that are not finite")
        batch = features.astype(np.float64)
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


def frechet_distance(first: Moments, second: Moments) -> float:
    """Fréchet distance of two Gaussians, in squared units of the features.

    The trace of the root of S_1 S_2 is the sum of the roots of the eigenvalues of
    S_1^(1/2) S_2 S_1^(1/2), which is symmetric and has no negative ones. So singular covariances
    (fewer vectors than dimensions) are no exception.

    Raises:
        ValueError: vectors of different lengths, or fewer than two in a set.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(
            f"features of length {len(first.mean)} and {len(second.mean)} do not compare"
        )
    one, two = first.covariance, second.covariance
    values, axes = np.linalg.eigh(one)
    root = (axes * np.sqrt(values.clip(0))) @ axes.T
    product = root @ two @ root
    overlap = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(0)).sum()
    apart = np.square(first.mean - second.mean).sum()
    # rounding may leave a hair below zero where the sets are the same
    return max(float(apart + np.trace(one) + np.trace(two) - 2 * overlap), 0.0)


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

    def add(self, numbers: np.ndarray, features: np.ndarray) -> None:
        """Adds (B, D) features of the members with these (B,) numbers within the set."""
        for moments, member in zip(self.moments, self._member, strict=True):
            moments.add(features[member[numbers]])


@dataclass(frozen=True)
class Line:
    """A line fitted by least squares.

    Attributes:
        intercept: value at 0.
        slope: of the line.
        error: standard error of the intercept, from the scatter about the line; nan where two
            points leave none.
    """

    intercept: float
    slope: float
    error: float


def fit_line(x: Sequence[float], y: Sequence[float]) -> Line:
    """Least squares: y = intercept + slope x.

    Raises:
        ValueError: fewer than two different x.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    spread = np.square(a - a.mean()).sum() if len(a) else 0.0
    if not spread > 0:
        raise ValueError("a line takes two different points at least")
    slope = float(((a - a.mean()) * (b - b.mean())).sum() / spread)
    intercept = float(b.mean() - slope * a.mean())
    if len(a) == 2:
        return Line(intercept, slope, float("nan"))
    variance = np.square(b - intercept - slope * a).sum() / (len(a) - 2)
    error = float(np.sqrt(variance * (1 / len(a) + a.mean() ** 2 / spread)))
    return Line(intercept, slope, error)


def extrapolate(first: Sequence[Moments], second: Sequence[Moments]) -> tuple[list[float], Line]:
    """Distances of parts of two sets, and the line through them over 1/n.

    The i-th parts are the same share of their sets. The bias is about a / n_1 + b / n_2, so the
    line is over 1/n = (1/n_1 + 1/n_2) / 2: at 0 both sets are without end. (The paper knows one
    of the distributions and extrapolates the other alone.)

    Raises:
        ValueError: see `frechet_distance` and `fit_line`.
    """
    pairs = list(zip(first, second, strict=True))
    distances = [frechet_distance(a, b) for a, b in pairs]
    return distances, fit_line([inverse_size(a, b) for a, b in pairs], distances)


def inverse_size(first: Moments, second: Moments) -> float:
    """1/n of two parts: the mean of their inverse sizes."""
    return (1 / first.count + 1 / second.count) / 2
