"""Statistics of style coefficients over a collection, and what normalises with them (paper,
before Eq. 7). With numpy alone, so that a search of stored faces loads no torch."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np

from ris.choices import NormMode
from ris.method.layout import StyleLayout

NORM_MODES: tuple[NormMode, ...] = get_args(NormMode)


class _ExactSum:
    """Sums of float64 vectors kept as unevaluated pairs (error-free transformation).

    The pair carries about 106 bits, far more than the terms have, so the sum that `rounded`
    gives is the same whatever the order of the terms.
    """

    def __init__(self, high: np.ndarray, low: np.ndarray) -> None:
        self.high = high
        self.low = low

    def add(self, high: np.ndarray, low: np.ndarray | float = 0.0) -> None:
        total = self.high + high
        bound = total - self.high
        error = (self.high - (total - bound)) + (high - bound)
        low = self.low + error + low
        self.high = total + low
        self.low = low - (self.high - total)

    def rounded(self) -> np.ndarray:
        total: np.ndarray = self.high + self.low
        return total


class StyleStatistics:
    """Streaming count, mean and standard deviation of sigma, independent of the order of rows.

    Sums and sums of squares of float32 values are accumulated without rounding, so that the
    statistics of a collection do not depend on how it is divided into shards.
    """

    FIELDS = ("sum_high", "sum_low", "square_high", "square_low")

    def __init__(self, channels: int) -> None:
        self.count = 0
        self._sum = _ExactSum(np.zeros(channels), np.zeros(channels))
        self._square = _ExactSum(np.zeros(channels), np.zeros(channels))

    @property
    def channels(self) -> int:
        """Length of the sigma vectors."""
        return len(self._sum.high)

    def add(self, sigma: np.ndarray) -> None:
        """Adds (B, C) float32 style coefficients."""
        if sigma.ndim != 2 or sigma.shape[1] != self.channels:
            raise ValueError(f"sigma is {sigma.shape}, expected (B, {self.channels})")
        for row in sigma.astype(np.float64):
            self._sum.add(row)
            self._square.add(row * row)  # exact: float32 squares fit into float64
        self.count += len(sigma)

    def merge(self, other: StyleStatistics) -> None:
        """Adds the rows that `other` has seen."""
        self._sum.add(other._sum.high, other._sum.low)
        self._square.add(other._square.high, other._square.low)
        self.count += other.count

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The accumulators, each (C,) float64, under the names in `FIELDS`."""
        arrays = (self._sum.high, self._sum.low, self._square.high, self._square.low)
        return dict(zip(self.FIELDS, arrays, strict=True))

    @classmethod
    def from_arrays(cls, count: int, arrays: dict[str, np.ndarray]) -> StyleStatistics:
        """The inverse of `to_arrays`."""
        stats = cls(len(arrays["sum_high"]))
        stats.count = count
        stats._sum = _ExactSum(arrays["sum_high"].copy(), arrays["sum_low"].copy())
        stats._square = _ExactSum(arrays["square_high"].copy(), arrays["square_low"].copy())
        return stats

    def channel_moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and population standard deviation of each channel, (C,) float64 each."""
        if not self.count:
            raise ValueError("no rows were added")
        mean = self._sum.rounded() / self.count
        variance = self._square.rounded() / self.count - mean**2
        return mean, np.sqrt(np.maximum(variance, 0.0))

    def layer_moments(self, layout: StyleLayout) -> tuple[np.ndarray, np.ndarray]:
        """Mean and population standard deviation of each layer's coefficients, (layers,) each."""
        if not self.count:
            raise ValueError("no rows were added")
        if layout.channels > self.channels:
            raise ValueError(f"{self.channels} channels of statistics, layout {layout.channels}")
        mean, deviation = np.empty(len(layout)), np.empty(len(layout))
        for i, s in enumerate(layout.slices):
            n = self.count * layout.layers[i].channels
            mean[i] = math.fsum([*self._sum.high[s], *self._sum.low[s]]) / n
            square = math.fsum([*self._square.high[s], *self._square.low[s]]) / n
            deviation[i] = math.sqrt(max(square - mean[i] ** 2, 0.0))
        return mean, deviation


def centre_and_scale(
    mode: NormMode, statistics: StyleStatistics, layout: StyleLayout
) -> tuple[np.ndarray, np.ndarray]:
    """What a collection's coefficients are centred by and divided by, (C,) float32 each.

    A constant channel or layer (deviation 0) is centred and not scaled.

    Args:
        mode: see `ris.method.normaliser.Normaliser`.
        statistics: of the collection.
        layout: of the C channels, a prefix of sigma.

    Raises:
        ValueError: unknown mode or no rows.
    """
    c = layout.channels
    if mode == "none":
        return np.zeros(c, np.float32), np.ones(c, np.float32)
    if mode == "channel":
        mean, deviation = (m[:c] for m in statistics.channel_moments())
    elif mode == "blend":
        own, around = (m[:c] for m in statistics.channel_moments())
        whole, _ = (m[layout.layer_of_channel] for m in statistics.layer_moments(layout))
        mean = (own + whole) / 2
        deviation = np.concatenate(
            [np.full(s.stop - s.start, np.sqrt(np.mean(around[s] ** 2))) for s in layout.slices]
        )
    elif mode == "layer":
        mean, deviation = (m[layout.layer_of_channel] for m in statistics.layer_moments(layout))
    else:
        raise ValueError(f"normalisation is one of {', '.join(NORM_MODES)}, not {mode!r}")
    scale = np.where(deviation > 0, deviation, 1.0)
    return mean.astype(np.float32), scale.astype(np.float32)
