"""What is the same in every StyleGAN: affine layers, the mean of W, how weights are kept."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from ris.method.layout import StyleLayout

MEAN_SAMPLES = 4096  # z vectors behind the truncation centre, drawn from seed 0


def style_coefficients(
    w: torch.Tensor, layout: StyleLayout, latent: int, weight: Callable[[str], torch.Tensor]
) -> torch.Tensor:
    """(B, D) W or (B, L, D) W+ -> (B, C) sigma.

    Args:
        w: codes.
        layout: whose layers each have ``NAME.affine.weight`` (C_layer, D) and ``.bias``.
        latent: D.
        weight: gives a tensor by its name.

    Raises:
        ValueError: codes of another shape.
    """
    if w.ndim == 2:
        w = w[:, None].expand(-1, layout.rows, -1)
    if w.shape[1:] != (layout.rows, latent):
        raise ValueError(
            f"a code is (B, {latent}) or (B, {layout.rows}, {latent}), not {tuple(w.shape)}"
        )
    parts = [
        F.linear(
            w[:, layer.row],
            weight(f"{layer.name}.affine.weight"),
            weight(f"{layer.name}.affine.bias"),
        )
        for layer in layout
    ]
    return torch.cat(parts, dim=1)  # [B, C]


def sampled_mean(
    mapping: Callable[[torch.Tensor], torch.Tensor], latent: int, device: torch.device
) -> torch.Tensor:
    """(D,) mean of W over `MEAN_SAMPLES` codes.

    Args:
        mapping: (B, D) standard normal -> (B, D) W.
        latent: D.
        device: where the mapping's weights are.
    """
    z = torch.randn(MEAN_SAMPLES, latent, generator=torch.Generator().manual_seed(0))
    return mapping(z.to(device)).mean(0)


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """All channels of a pixel together in memory, as `ris.method.contribution` likes it: most of a
    generator's time goes into 1x1 convolutions, which are plain matrix products then."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def buffer_key(name: str) -> str:
    """The name of a buffer that keeps a tensor; it may not hold dots."""
    return name.replace(".", "/")
