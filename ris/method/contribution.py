"""Contribution scores M[k, c]: how much of channel c's energy falls on class k (Eq. 1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ris.generators.generator import Activation, Generator
from ris.method.catalogue import FeatureCatalogue
from ris.ops import pooling, pooling_cuda
from ris.ops.calls import Impl, kernels

EPSILON = 1e-5  # variance below which a channel counts as constant
FEW = 32 * 32  # pixels below which the kernel has nothing to win


def class_energy(
    activation: torch.Tensor,
    masks: torch.Tensor,
    *,
    normalise: bool = True,
    impl: Impl = "auto",
) -> torch.Tensor:
    """Energy A^2 of every channel on every class, averaged over the pixels (Eq. 1).

    Args:
        activation: (B, C, H, W) activation A of one style layer.
        masks: (B, K, h, w) class masks U in [0, 1] that sum to 1 over K; resized bilinearly.
        normalise: instance-normalise A first. Then sum_k M[k, c] is 1 for every channel: M is
            the share of the channel's variance on class k. A channel that is constant over
            the image spreads evenly over the pixels, so its M is the area of each class.
        impl: the kernel of `ris.ops.pooling` or the formula as it stands here; ``auto`` takes
            the kernel from 32 x 32 pixels on.

    Returns:
        (B, K, C) scores; in [0, 1] when normalised, else in units of A^2.
    """
    b, c, h, w = activation.shape
    if impl == "auto" and h * w < FEW:
        impl = "reference"
    if impl != "reference" and activation.is_cuda:
        made = pooling_cuda.class_energy(
            activation, masks, normalise=normalise, epsilon=EPSILON, needed=impl == "native"
        )
        if made is not None:
            return made
    elif library := kernels(impl, activation, masks):
        return pooling.class_energy(
            library, activation, masks, normalise=normalise, epsilon=EPSILON
        )
    if masks.shape[-2:] != (h, w):
        masks = F.interpolate(masks, size=(h, w), mode="bilinear", align_corners=False)
    flat = activation.permute(0, 2, 3, 1).reshape(b, h * w, c)  # a view if channels-last
    if normalise:
        flat = flat - flat.mean(1, keepdim=True)
    weights = masks.reshape(b, -1, h * w)
    energy = weights @ flat.square()  # [B, K, C]
    if not normalise:
        return energy / (h * w)
    area = weights.sum(2, keepdim=True)  # [B, K, 1]
    total = energy.sum(1, keepdim=True)  # [B, 1, C]
    return (energy + EPSILON * area) / (total + EPSILON * h * w)


@torch.no_grad()
def contribution_scores(
    generator: Generator,
    catalogue: FeatureCatalogue,
    sigma: torch.Tensor,
    *,
    normalise: bool = True,
    max_resolution: int | None = None,
    impl: Impl = "auto",
) -> torch.Tensor:
    """Per-image contribution scores M, the submembership of every face (Eq. 1).

    One pass through the generator; a layer is reduced to its (K, C) scores as soon as the
    class masks are known, so nothing of size (K, C, H, W) ever exists and layers above the
    catalogue's resolution are dropped one after the other.

    Args:
        generator: the generator that sigma belongs to.
        catalogue: gives the class masks U from the activations; fitted on the same generator.
        sigma: (B, C) style coefficients.
        normalise: see `class_energy`.
        max_resolution: highest activation width used; None for all layers.
        impl: of segmentation and sums; the generator has its own.

    Returns:
        (B, K, C') float32, C' = channels of ``generator.layout.up_to(max_resolution)``. The
        scores of the covered channels do not depend on `max_resolution`.
    """
    layout = generator.layout.up_to(max_resolution)
    needed = set(catalogue.needed_layers(generator.layout))
    depth = max(generator.layout.layers[i].resolution for i in needed)
    waiting: list[Activation] = []
    features: dict[int, torch.Tensor] = {}
    masks: torch.Tensor | None = None
    scores: list[torch.Tensor] = []
    width = None if max_resolution is None else max(max_resolution, depth)
    for step in generator.activations(sigma, width):
        if step.layer in needed:
            features[step.layer] = step.input
        if step.layer < len(layout):
            waiting.append(step)
        if masks is None and len(features) == len(needed):
            masks = catalogue.segment(features, impl)
        if masks is not None:
            scores += [
                class_energy(a.input, masks, normalise=normalise, impl=impl) for a in waiting
            ]
            waiting.clear()
        if len(scores) == len(layout):
            break
    return torch.cat(scores, dim=2)


def pair_scores(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(B, K, C) scores of a pair: the element-wise maximum of both (Eq. 3)."""
    return torch.maximum(first, second)


class AverageScores:
    """The data set's average of M, one score for all images: the EIS baseline."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: torch.Tensor | None = None

    def add(self, scores: torch.Tensor) -> None:
        """Adds (B, K, C) scores."""
        part = scores.double().sum(0)
        self._sum = part if self._sum is None else self._sum + part
        self.count += len(scores)

    def mean(self) -> torch.Tensor:
        """(K, C) float32 average.

        Raises:
            ValueError: nothing was added.
        """
        if self._sum is None:
            raise ValueError("no scores to average")
        return (self._sum / self.count).float()
