"""Fréchet distance between two sets of embeddings, extrapolated to sets without end.

Each set is summed up by its mean m and covariance S, as if it were a Gaussian; the distance is

    d = |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))

(Dowson and Landau 1982). With embeddings of an Inception network this is what Heusel et al. 2017
(arXiv:1706.08500) call FID; with those of another network it is another measure, on another
scale. From n vectors a set it comes out too large, by a bias that is about proportional to 1/n,
so Chong and Forsyth 2020 (arXiv:1911.07023) compute it for several n, fit a line over 1/n and
read off where it meets 1/n = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ris.errors import InputError, MismatchError
from ris.evaluate.embeddings import EmbeddedSet, Extractor, PooledHead, open_set
from ris.evaluate.markdown import markdown_table
from ris.evaluate.moments import Moments, Subsets

SIZES = 10
SHARE = 0.5
"""The smallest part. A smaller one would give the line more length, but with fewer pictures than
about half the embeddings' dimensions the bias is no straight line over 1/n any more."""


def frechet_distance(first: Moments, second: Moments) -> float:
    """Fréchet distance of two Gaussians, in squared units of the embeddings.

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


@dataclass(frozen=True)
class FrechetResult:
    """Distances of two sets by the size of the parts that were compared.

    Attributes:
        extractor: what made the embeddings; distances of different extractors do not compare.
        first: name of the one set.
        second: of the other.
        counts: pictures of the first and the second set that were read.
        unread: pictures of both that could not be read.
        sizes: n of each part, see `inverse_size`; the last part is all.
        distances: Fréchet distance of each part.
        line: fitted over 1/n; its intercept is the extrapolated distance.
    """

    extractor: str
    first: str
    second: str
    counts: tuple[int, int]
    unread: int
    sizes: list[float]
    distances: list[float]
    line: Line

    @property
    def plain(self) -> float:
        """The distance from all pictures, bias included."""
        return self.distances[-1]

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON."""
        error = self.line.error
        return {
            "extractor": self.extractor,
            "sets": [self.first, self.second],
            "pictures": list(self.counts),
            "unread": self.unread,
            "frechet": self.line.intercept,
            "error": error if np.isfinite(error) else None,
            "plain": self.plain,
            "parts": [
                {"n": n, "frechet": d} for n, d in zip(self.sizes, self.distances, strict=True)
            ],
        }

    def table(self) -> str:
        """A Markdown table: a row for each size, the extrapolated distance last."""
        rows = [[f"{n:.0f}", f"{d:.4f}"] for n, d in zip(self.sizes, self.distances, strict=True)]
        rows.append(["extrapolated", f"{self.line.intercept:.4f} ± {self.line.error:.4f}"])
        unread = f", {self.unread} could not be read" if self.unread else ""
        title = (
            f"{self.first} ({self.counts[0]}) against {self.second} ({self.counts[1]}){unread}; "
            f"features: {self.extractor}"
        )
        return markdown_table(["pictures a set", "Fréchet distance"], rows, title=title)


def part_moments(
    source: EmbeddedSet,
    *,
    sizes: int = SIZES,
    share: float = SHARE,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Moments]:
    """Moments of random parts of a set, from the smallest to the whole.

    Memory is `sizes` times D^2 doubles, whatever the size of the set: 131 MB for ten parts of
    1,280 numbers.

    Args:
        source: the set.
        sizes: number of parts, 2 at least.
        share: the smallest part's share of the set, within (0, 1).
        seed: draws the parts; sets of one size have the same parts under one seed, so that sets
            that stand picture by picture for the same faces are compared on the same ones.
        progress: called with the number of pictures that a batch had.

    Raises:
        InputError: too few pictures, or options out of range.
    """
    if sizes < 2 or not 0 < share < 1:
        raise InputError("the distance takes 2 `sizes` at least, and a `share` between 0 and 1")
    shares = np.linspace(share, 1, sizes).tolist()
    try:
        parts = Subsets(source.total, shares, source.dim, np.random.default_rng(seed))
        for numbers, embeddings in source.batches():
            parts.add(numbers, embeddings)
            if progress:
                progress(len(numbers))
    except ValueError as e:
        raise InputError(f"{source.name}: {e}") from e
    if parts.moments[0].count < 2:
        raise InputError(
            f"{source.name}: {source.unread} of {source.total} pictures could not be read, "
            "too few are left"
        )
    return parts.moments


def compare(
    first: EmbeddedSet,
    second: EmbeddedSet,
    moments: tuple[list[Moments], list[Moments]],
) -> FrechetResult:
    """The distance of two sets whose parts are summed up already.

    Raises:
        MismatchError: embeddings of different extractors.
    """
    check_comparable(first, second)
    distances, line = extrapolate(*moments)
    return FrechetResult(
        first.extractor,
        first.name,
        second.name,
        (moments[0][-1].count, moments[1][-1].count),
        first.unread + second.unread,
        [1 / inverse_size(a, b) for a, b in zip(*moments, strict=True)],
        distances,
        line,
    )


def check_comparable(first: EmbeddedSet, second: EmbeddedSet) -> None:
    """Refuses embeddings of different extractors.

    Raises:
        MismatchError: as said.
    """
    if (first.extractor, first.dim) != (second.extractor, second.dim):
        raise MismatchError(
            f"{first.name} has {first.dim} features of {first.extractor!r}, {second.name} has "
            f"{second.dim} of {second.extractor!r}: take the same extractor for both"
        )


def evaluate_frechet(
    first: str,
    second: str,
    *,
    sizes: int = SIZES,
    share: float = SHARE,
    seed: int = 0,
    network: Extractor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FrechetResult:
    """Reads and compares two sets of pictures.

    Args:
        first: see `ris.evaluate.embeddings.open_set`.
        second: likewise.
        sizes: see `part_moments`.
        share: likewise.
        seed: likewise.
        network: embeds pictures; EfficientNet-Lite0 unless given.
        progress: called with pictures done and pictures in all.

    Raises:
        RisError: see `open_set`, `part_moments` and `compare`.
    """
    network = network or PooledHead()
    pair = open_set(first, network), open_set(second, network)
    check_comparable(*pair)
    done, total = 0, sum(source.total for source in pair)

    def count(pictures: int) -> None:
        nonlocal done
        done += pictures
        if progress:
            progress(done, total)

    moments = [
        part_moments(source, sizes=sizes, share=share, seed=seed, progress=count) for source in pair
    ]
    return compare(*pair, (moments[0], moments[1]))
