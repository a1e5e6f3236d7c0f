"""The kernel behind `ris.method.contribution.class_energy` on an NVIDIA GPU.

Built by nvcc when first needed, for the GPU that is there; without nvcc the reference runs on the
GPU. Its arithmetic (``pooling.h``) is compiled for the processor and tested there too.
"""

from __future__ import annotations

import ctypes
import shutil
import warnings
from ctypes import c_float, c_long, c_void_p
from functools import cache

import torch

from ris.ops.calls import address, as_channels_last, check_shape
from ris.ops.native import BuildError, build, kernels_folder

CHUNK = 512  # pixels that one thread sums in float32
SAMPLES = 64  # pixels whose mean is the shift of a channel


@cache
def library(capability: tuple[int, int]) -> ctypes.CDLL | None:
    """The kernel for GPUs of a compute capability; None, after one warning, without nvcc."""
    try:
        found = shutil.which("nvcc")
        if found is None:
            raise BuildError("no nvcc")
        return ctypes.CDLL(str(build(kernels_folder(), "*.cu", found, flags(capability))))
    except (BuildError, OSError) as e:
        warnings.warn(
            f"no kernel for this GPU, the slower reference runs instead: {e}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def flags(capability: tuple[int, int]) -> tuple[str, ...]:
    """nvcc's, for one kind of GPU."""
    architecture = "sm_{}{}".format(*capability)
    return ("-O3", "-std=c++17", f"-arch={architecture}", "-shared", "-Xcompiler", "-fPIC")


def class_energy(
    activation: torch.Tensor,
    masks: torch.Tensor,
    *,
    normalise: bool,
    epsilon: float,
    needed: bool = False,
) -> torch.Tensor | None:
    """(B, C, H, W) activation, (B, K, h, w) masks, both on a GPU -> (B, K, C) scores.

    Returns:
        None where the kernel cannot run: another type than float32, gradients, no nvcc.

    Raises:
        ValueError: that is so, and the kernel is `needed`; or other shapes.
        RuntimeError: the GPU refuses.
    """
    taken = (
        activation.dtype == masks.dtype == torch.float32
        and activation.device == masks.device
        and not (activation.requires_grad and torch.is_grad_enabled())
    )
    found = library(torch.cuda.get_device_capability(activation.device)) if taken else None
    if found is None:
        if needed:
            raise ValueError("no kernel for these tensors on this GPU")
        return None
    activation = as_channels_last(activation)
    masks = masks.contiguous()
    check_shape("an activation", activation, (None, None, None, None))
    b, c, height, width = activation.shape
    check_shape("a mask", masks, (b, None, None, None))
    k, chunks = masks.shape[1], -(-height * width // CHUNK)
    sampled = torch.linspace(0, height * width - 1, min(SAMPLES, height * width)).long()
    shift = activation.permute(0, 2, 3, 1).reshape(b, -1, c)[:, sampled.to(activation.device)]
    shift = shift.mean(1) if normalise else activation.new_zeros(b, c)
    areas = activation.new_empty(b, chunks, k)
    firsts, seconds = activation.new_empty(2, b, chunks, k, c)
    sums = activation.new_empty(3, b, k, c, dtype=torch.float64)
    scores = activation.new_empty(b, k, c)
    with torch.cuda.device(activation.device):
        error = found.ris_class_energy_cuda(
            address(activation),
            *map(c_long, (b, height, width, c)),
            address(masks),
            *map(c_long, masks.shape[1:]),
            address(shift),
            c_long(CHUNK),
            c_long(normalise),
            c_float(epsilon),
            *map(address, (areas, firsts, seconds, sums, scores)),
            c_void_p(torch.cuda.current_stream().cuda_stream),
        )
    if error:
        raise RuntimeError(f"the GPU refuses the kernel of the scores: CUDA error {error}")
    return scores
