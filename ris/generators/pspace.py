"""P space: the latent space in which the generator's codes are close to Gaussian.

The mapping network ends in a LeakyReLU of slope 0.2 times sqrt(2). Undoing both ("P space" of Zhu
et al. 2020, arXiv:2012.09036) removes the kink that makes W's distribution far from Gaussian, and
whitening with the mean and covariance of many samples gives a code v with v ~ N(0, I), roughly:

    p = W / sqrt(2) where W > 0, else 5 W / sqrt(2);     v = C^(-1/2) (p - mean)

Length is then a measure of how likely a code is, which is what a prior needs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ris.generators import Generator

SLOPE = 0.2  # of the mapping's last LeakyReLU
GAIN = 2**0.5  # that follows it
SAMPLES = 20_000  # 40 a dimension; the covariance's smallest eigenvalues are settled to a few %
MIN_VARIANCE = 1e-4  # of the largest eigenvalue; keeps rounding noise out of the inverse root


def to_p(w: torch.Tensor) -> torch.Tensor:
    """W -> P: undoes the mapping's last activation, element by element."""
    return F.leaky_relu(w / GAIN, 1 / SLOPE)


def from_p(p: torch.Tensor) -> torch.Tensor:
    """P -> W, the inverse of `to_p`."""
    return F.leaky_relu(p, SLOPE) * GAIN


class PSpace:
    """Whitened P space; all conversions act on the last axis and are differentiable.

    Args:
        mean: (D,) mean of p.
        root: (D, D) symmetric square root of the covariance of p.

    Raises:
        ValueError: shapes do not fit or `root` is not invertible.
    """

    def __init__(self, mean: torch.Tensor, root: torch.Tensor) -> None:
        if mean.ndim != 1 or root.shape != (len(mean), len(mean)):
            raise ValueError(
                f"P space wants (D,) and (D, D), got {tuple(mean.shape)} and {tuple(root.shape)}"
            )
        self.mean = mean.float()
        self.root = root.float()
        inverse, info = torch.linalg.inv_ex(root.double())
        if info.item() or not torch.isfinite(inverse).all():
            raise ValueError("the square root of P space's covariance is not invertible")
        self.inverse_root = inverse.float()

    def to(self, device: torch.device) -> PSpace:
        """The same statistics on another device."""
        other = object.__new__(PSpace)
        other.mean = self.mean.to(device)
        other.root = self.root.to(device)
        other.inverse_root = self.inverse_root.to(device)
        return other

    def from_w(self, w: torch.Tensor) -> torch.Tensor:
        """(..., D) W or W+ -> (..., D) whitened code."""
        return torch.matmul(to_p(w) - self.mean, self.inverse_root)

    def to_w(self, v: torch.Tensor) -> torch.Tensor:
        """(..., D) whitened code -> (..., D) W or W+."""
        return from_p(v @ self.root + self.mean)


@torch.no_grad()
def fit_pspace(
    generator: Generator, samples: int = SAMPLES, seed: int = 0, chunk: int = 2000
) -> PSpace:
    """Mean and covariance of p over `samples` codes that the generator's mapping gives.

    Raises:
        ValueError: no more samples than dimensions, so that the covariance is singular.
    """
    d = generator.latent_size
    rng = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, samples, chunk):
        z = torch.randn(min(chunk, samples - start), d, generator=rng)
        parts.append(to_p(generator.mapping(z.to(generator.device))).double())
    p = torch.cat(parts)
    if len(p) <= p.shape[1]:
        raise ValueError(f"{samples} samples cannot whiten {p.shape[1]} dimensions")
    values, vectors = torch.linalg.eigh(torch.cov(p.T))
    values = values.clamp(min=values[-1].item() * MIN_VARIANCE)
    root = (vectors * values.sqrt()) @ vectors.T
    return PSpace(p.mean(0), root)
