"""Style coefficients by a generator's affine layers, the same in every StyleGAN."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from ris.method.layout import StyleLayout


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
