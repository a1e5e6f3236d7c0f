"""Which floating type is fast where."""

from __future__ import annotations

import torch


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where a device multiplies it natively, else float32.

    For what tolerates three digits: previews and gradients, never what a store keeps.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type != "cpu":
        return torch.float32
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # torch 2.6 and later
    return torch.bfloat16 if native is not None and native() else torch.float32
