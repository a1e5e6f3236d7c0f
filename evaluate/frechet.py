"""Fréchet distance between two sets of pictures (`ris.evaluate.frechet_distance`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ris.errors import InputError, MismatchError
from ris.evaluate.frechet_distance import Line, Moments, Subsets, extrapolate, inverse_size
from ris.evaluate.picture_features import Extractor, FeatureSource, PooledHead, open_set

SIZES = 10
SHARE = 0.5
"""The smallest part. A smaller one would give the line more length, but with fewer pictures than
about half the features' dimensions the bias is no straight line over 1/n any more."""


@dataclass(frozen=True)
class FrechetResult:
    """Distances of two sets by the size of the parts that were compared.

    Attributes:
        extractor: what made the features; distances of different extractors do not compare.
        first: name of the one set.
        second: of the other.
        counts: pictures of the first and the second set that were read.
        unread: pictures of both that could not be read.
        sizes: n of each part, see `ris.evaluate.frechet_distance.inverse_size`; the last part is
        all. distances: Fréchet distance of each part. line: fitted over 1/n; its intercept is the
        extrapolated distance.
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

    def to_json(self) -> dict[str, Any]:
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
        lines = [["pictures a set", "Fréchet distance"], ["---", "---"]]
        lines += [[f"{n:.0f}", f"{d:.4f}"] for n, d in zip(self.sizes, self.distances, strict=True)]
        lines.append(["extrapolated", f"{self.line.intercept:.4f} ± {self.line.error:.4f}"])
        unread = f", {self.unread} could not be read" if self.unread else ""
        title = (
            f"{self.first} ({self.counts[0]}) against {self.second} ({self.counts[1]}){unread}; "
            f"features: {self.extractor}"
        )
        return "\n".join([title, "", *("| " + " | ".join(line) + " |" for line in lines)])


def part_moments(
    source: FeatureSource,
    *,
    sizes: int = SIZES,
    share: float = SHARE,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Moments]:
    """Moments of random parts of a set, from the smallest to the whole.

    Memory is `sizes` times D^2 doubles, whatever the size of the set: 131 MB for ten parts of
    1,280 features.

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
        raise InputError("the distance takes 2 sizes at least, and a share between 0 and 1")
    shares = np.linspace(share, 1, sizes).tolist()
    try:
        parts = Subsets(source.total, shares, source.dim, np.random.default_rng(seed))
        for numbers, features in source.batches():
            parts.add(numbers, features)
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
    first: FeatureSource,
    second: FeatureSource,
    moments: tuple[list[Moments], list[Moments]],
) -> FrechetResult:
    """The distance of two sets whose parts are summed up already.

    Raises:
        MismatchError: features of different extractors.
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


def check_comparable(first: FeatureSource, second: FeatureSource) -> None:
    """Refuses features of different extractors.

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
        first: see `ris.evaluate.picture_features.open_set`.
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
