"""When a kernel may run in a reference's place, and how tensors get into it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Literal

import torch

from ris.ops.native import library, problem

Impl = Literal["auto", "reference", "native"]
"""``auto`` runs a kernel where it can be built and takes these tensors, else the reference."""


def kernels(impl: Impl, *tensors: torch.Tensor) -> ctypes.CDLL | None:
    """The library for a call with these tensors; None: the reference is to run.

    Kernels take float32 on the processor and know no gradients.

    Raises:
        ValueError: ``native`` where that is impossible.
    """
    if impl == "reference":
        return None
    taken = not torch.jit.is_tracing() and all(  # type: ignore[attr-defined, no-untyped-call]
        t.device.type == "cpu"
        and t.dtype == torch.float32
        and not (t.requires_grad and torch.is_grad_enabled())
        for t in tensors
    )
    found = library() if taken else None
    if found is None and impl == "native":
        raise ValueError(
            f"no native kernels here: {problem()}"
            if taken
            else "native kernels take float32 tensors on the processor, without gradients"
        )
    return found


def address(tensor: torch.Tensor) -> ctypes.c_void_p:
    """Where a tensor's numbers begin; the caller knows how they are laid out."""
    return ctypes.c_void_p(tensor.data_ptr())


def run(kernel: Callable[..., int], *arguments: object) -> None:
    """Calls a kernel.

    Raises:
        MemoryError: it found too little.
    """
    if kernel(*arguments):
        raise MemoryError("no memory left for a compiled kernel")


def check_shape(what: str, tensor: torch.Tensor, expected: tuple[int | None, ...]) -> None:
    """Kernels see addresses, so what they are given is compared with what they will read.

    Args:
        what: the tensor's name for the message.
        tensor: float32 on the processor.
        expected: size of every dimension, None for any but 0.

    Raises:
        ValueError: another shape or type.
    """
    shape = tuple(tensor.shape)
    fits = len(shape) == len(expected) and all(
        size == wanted if wanted is not None else size > 0
        for size, wanted in zip(shape, expected, strict=True)
    )
    if not fits or tensor.dtype != torch.float32:
        wanted = ", ".join("any" if size is None else str(size) for size in expected)
        raise ValueError(f"{what} is ({wanted}) float32, not {shape} {tensor.dtype}")


def channels_last(x: torch.Tensor) -> bool:
    """Whether (B, C, H, W) lies in memory as (B, H, W, C) without gaps."""
    return x.permute(0, 2, 3, 1).is_contiguous()


def as_channels_last(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) in that order; itself where it is."""
    return x if channels_last(x) else x.contiguous(memory_format=torch.channels_last)


def threads() -> ctypes.c_long:
    """How many a kernel may use: as many as torch in this thread."""
    return ctypes.c_long(torch.get_num_threads())
