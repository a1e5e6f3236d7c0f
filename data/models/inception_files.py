"""Inception-v3's weights from a file of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ris.data.durable import file_sha256
from ris.data.models.asset_files import load_tensors
from ris.data.models.torch_files import check_dense, check_finite, read_torch
from ris.errors import ModelFileError
from ris.networks.inception_v3 import InceptionV3

SUFFIXES = (".pth", ".pt", ".safetensors")


def load_inception(path: Path) -> tuple[InceptionV3, str]:
    """The network of a state dict, and the file's sha256 in hex.

    Args:
        path: pytorch-fid's weights or torchvision's, told apart by the width of ``fc``.

    Raises:
        ModelFileError: missing, unreadable, or no such network (the first tensor that is missing,
            left over or of another shape is named).
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ModelFileError(f"{path}: Inception's weights come as {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ModelFileError(f"no file {path}", "name Inception's weights with `weights`")
    weights = load_tensors(path)[0] if path.suffix.lower() == ".safetensors" else read_torch(path)
    if not isinstance(weights, Mapping):
        raise ModelFileError(f"{path} holds no table of tensors")
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ModelFileError(f"{path}: {name} is no tensor")
        if not name.endswith("num_batches_tracked"):
            check_dense(name, tensor, path)
            check_finite(name, tensor, path)
    try:
        network = InceptionV3(weights)
    except ValueError as e:
        raise ModelFileError(f"{path}: {e}") from e
    if not all(tensor.isfinite().all() for tensor in network.buffers()):
        raise ModelFileError(f"{path} gives a network whose numbers are not finite")
    return network, file_sha256(path)
