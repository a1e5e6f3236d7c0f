"""What the method needs of a generator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch

from ris.method.layout import StyleLayout
from ris.ops.calls import Impl


class Activation(NamedTuple):
    """One step of a forward pass.

    Attributes:
        layer: index of the style layer in the layout.
        input: (B, C, H, W) activation A that the layer's sigma scales, before it is scaled.
    """

    layer: int
    input: torch.Tensor


class Generator(Protocol):
    """A style-based generator: z -> w -> sigma -> activations -> image.

    Shapes: z (B, Z), W code (B, 512), W+ code (B, L, 512), sigma (B, C) in the order of
    `layout`, images (B, 3, S, S) in [-1, 1] (not clamped). All methods are deterministic and
    differentiable unless called under `torch.no_grad`.
    """

    name: str
    layout: StyleLayout
    latent_size: int
    image_size: int
    fingerprint: str
    """Hash of architecture and weights; stores and indices made with it record it."""

    @property
    def device(self) -> torch.device:
        """Where the weights are and inputs must be."""
        ...

    def using(self, impl: Impl) -> Generator:
        """This generator, its weights shared, with or without native kernels where it has any."""
        ...

    def mapping(self, z: torch.Tensor) -> torch.Tensor:
        """(B, Z) standard normal -> (B, 512) code in W."""
        ...

    def mean_w(self) -> torch.Tensor:
        """(512,) mean of W, the truncation centre."""
        ...

    def sigma(self, w: torch.Tensor) -> torch.Tensor:
        """(B, 512) W or (B, L, 512) W+ -> (B, C) style coefficients."""
        ...

    def activations(
        self, sigma: torch.Tensor, max_resolution: int | None = None
    ) -> Iterator[Activation]:
        """Yields every style layer's input in layout order, lower resolutions first.

        Stops after the last layer whose input is at most `max_resolution` pixels wide (None:
        all layers), so that nothing above it is computed.
        """
        ...

    def render(self, sigma: torch.Tensor) -> torch.Tensor:
        """(B, C) style coefficients -> (B, 3, S, S) image, about [-1, 1]."""
        ...
