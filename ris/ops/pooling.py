"""The kernel behind `ris.method.contribution.class_energy`: one pass, nothing kept in between."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_long

import torch

from ris.ops.calls import address, channels_last, check_shape, run, threads


def class_energy(
    library: ctypes.CDLL,
    activation: torch.Tensor,
    masks: torch.Tensor,
    *,
    normalise: bool,
    epsilon: float,
) -> torch.Tensor:
    """(B, C, H, W) activation in either memory order, (B, K, h, w) masks -> (B, K, C) scores.

    Instance norm, square, resizing of the masks and the sums are one pass over a channels-last
    activation, and two over one of the other order. Sums are of squares around a channel's mean
    over 64 pixels, in float32 over at most 512 pixels or a row and in float64 beyond.

    Raises:
        ValueError: other shapes, or one without pixels.
    """
    check_shape("an activation", activation, (None, None, None, None))
    b, c, height, width = activation.shape
    check_shape("a mask", masks, (b, None, None, None))
    last = channels_last(activation)
    activation = activation if last else activation.contiguous()
    masks = masks.contiguous()
    scores = activation.new_empty(b, masks.shape[1], c)
    for x, own, out in zip(activation, masks, scores, strict=True):
        run(
            library.ris_class_energy,
            address(x),
            c_long(last),
            *map(c_long, (height, width, c)),
            address(own),
            *map(c_long, own.shape),
            c_long(normalise),
            c_float(epsilon),
            address(out),
            threads(),
        )
    return scores
