"""Named tensors given to a network: are they the ones that it wants?"""

from __future__ import annotations

from collections.abc import Mapping

import torch


def check_shapes(
    weights: Mapping[str, torch.Tensor], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Compares names and shapes one by one.

    Raises:
        ValueError: a tensor is missing, of another shape, or left over; the first is named.
    """
    for name, shape in expected.items():
        if name not in weights:
            raise ValueError(f"the weights lack {name} {shape}")
        if tuple(weights[name].shape) != shape:
            raise ValueError(f"{name} is {tuple(weights[name].shape)}, expected {shape}")
    if extra := sorted(set(weights) - set(expected)):
        raise ValueError(f"unknown tensor {extra[0]} in the weights")
