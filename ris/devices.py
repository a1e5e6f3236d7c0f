"""Where networks run: on the processor or on a CUDA device."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from ris.choices import Device
from ris.errors import InputError

if TYPE_CHECKING:
    import torch


def torch_device(name: Device | str = "auto") -> torch.device:
    """The device that a name stands for on this machine.

    Raises:
        InputError: no such name, or there is no CUDA device that torch can use.
    """
    import torch

    if name not in get_args(Device):
        raise InputError(f"a device is one of {', '.join(get_args(Device))}, not {name!r}")
    if name == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if name == "auto":
        return torch.device("cpu")
    raise InputError(f"no CUDA device: {_missing()}", "take `device='cpu'`, or auto")


def _missing() -> str:
    """Why torch has no CUDA device."""
    import torch

    if torch.version.cuda is None:
        return f"this torch ({torch.__version__}) is built for the processor alone"
    return f"torch {torch.__version__} finds no NVIDIA driver or no device"
