"""Style layout: which style coefficient (sigma) scales which channel of which layer.

A generator owns one `StyleLayout`. Everything that needs to know how the flat sigma vector is
divided asks it; no other place holds layer counts, widths or indices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class StyleLayer:
    """One affine layer of the generator and the activation that its output scales.

    Attributes:
        name: the layer's name within the generator, e.g. ``"3.conv2"``.
        channels: number of style coefficients C (= channels of the layer's input).
        resolution: height and width in pixels of the layer's input activation A.
        row: row of the W+ code that feeds the affine layer.
        to_image: true for layers that write to the image (ToRGB) instead of features.
        early: true for the 4x4 and 8x8 layers, which hold pose and hair (paper, Eq. 5).
    """

    name: str
    channels: int
    resolution: int
    row: int
    to_image: bool = False
    early: bool = False


@dataclass(frozen=True)
class StyleLayout:
    """The ordered style layers of a generator; sigma is their concatenation."""

    layers: tuple[StyleLayer, ...]
    rows: int
    """Number of W+ rows L; a W+ code is (L, 512)."""

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("a style layout needs at least one layer")
        widths = [layer.resolution for layer in self.layers]
        if widths != sorted(widths):
            raise ValueError("style layers must be ordered by resolution")
        if any(not 0 <= layer.row < self.rows for layer in self.layers):
            raise ValueError(f"a style layer's W+ row lies outside 0..{self.rows - 1}")

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[StyleLayer]:
        return iter(self.layers)

    @cached_property
    def channels(self) -> int:
        """Total number of style coefficients, the length of a sigma vector."""
        return sum(layer.channels for layer in self.layers)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """For each layer the slice of sigma that belongs to it."""
        ends = np.cumsum([layer.channels for layer in self.layers]).tolist()
        starts = [0, *ends[:-1]]
        return tuple(slice(a, b) for a, b in zip(starts, ends, strict=True))

    @cached_property
    def layer_of_channel(self) -> np.ndarray:
        """(C,) int64: index of the layer that each style coefficient belongs to."""
        return np.repeat(np.arange(len(self.layers)), [layer.channels for layer in self.layers])

    def _channel_flags(self, flags: list[bool]) -> np.ndarray:
        return np.repeat(np.array(flags, dtype=bool), [layer.channels for layer in self.layers])

    @cached_property
    def early(self) -> np.ndarray:
        """(C,) bool: channels of the early layers (Eq. 5)."""
        return self._channel_flags([layer.early for layer in self.layers])

    @cached_property
    def to_image(self) -> np.ndarray:
        """(C,) bool: channels of the to-image layers."""
        return self._channel_flags([layer.to_image for layer in self.layers])

    def up_to(self, resolution: int | None) -> StyleLayout:
        """The layout without layers whose activation is wider than `resolution` pixels.

        Layers come in order of resolution, so the channels that stay are the first ones:
        ``sigma[:, : layout.up_to(64).channels]`` are theirs. None keeps all layers.
        """
        if resolution is None:
            return self
        kept = tuple(layer for layer in self.layers if layer.resolution <= resolution)
        if not kept:
            lowest = self.layers[0].resolution
            raise ValueError(f"no style layer is at most {resolution} px wide; least is {lowest}")
        return StyleLayout(kept, self.rows)
