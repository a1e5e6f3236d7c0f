"""Torch files made by others, read without running anything of them."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from ris.data.models.sealed_pickle import check_pickle
from ris.errors import ModelFileError

_OLD_PICKLES = 5
"""Magic number, version, system, content, keys of the storages."""


def read_torch(path: Path) -> Any:
    """What a torch file holds, nothing of it run; its tensors may be views of the file.

    Raises:
        ModelFileError: damaged, or it holds more than tensors and plain data.
    """
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            _check_zip(path)
        else:
            _check_stream(path)
        with torch.serialization.safe_globals([Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as e:
        if found := re.search(r"GLOBAL (\S+)|class (\S+) from|(?:function|class) (\S+)", str(e)):
            wanted = next(group for group in found.groups() if group)
            raise ModelFileError(
                f"{path} holds more than tensors (it wants {wanted.rstrip('.,')}): not loaded"
            ) from e
        raise ModelFileError(f"{path} is no torch file, damaged, or holds more than tensors") from e
    except ModelFileError as e:
        raise ModelFileError(str(e) if str(path) in str(e) else f"{path}: {e}") from e
    except Exception as e:  # whatever torch raises on bytes that others made
        raise ModelFileError(f"{path} is no torch file, or damaged") from e


def _check_zip(path: Path) -> None:
    """Refuses an archive whose pickle is not harmless, see `ris.data.models.sealed_pickle`."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ModelFileError(f"{path} is compressed, which torch's files never are")
        pickles = [entry for entry in entries if entry.filename.endswith(".pkl")]
        for entry in pickles:
            check_pickle(io.BytesIO(archive.read(entry)), entry.file_size)


def _check_stream(path: Path) -> None:
    """Likewise a file of torch's older form: five pickles, then numbers."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for _ in range(_OLD_PICKLES):
            check_pickle(file, size)


def check_finite(name: str, tensor: torch.Tensor, path: Path) -> None:
    """Refuses weights that are not numbers: a network with such draws nothing.

    Raises:
        ModelFileError: an infinity, or no number.
    """
    if not tensor.isfinite().all():
        raise ModelFileError(f"{path}: {name} holds values that are not finite")


def check_dense(name: str, tensor: torch.Tensor, path: Path) -> None:
    """Refuses a tensor of floats that are fewer than its shape says, which a few bytes can
    claim to be of any size.

    Raises:
        ModelFileError: such a tensor, or no floats.
    """
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.device.type != "cpu":
        raise ModelFileError(f"{path}: {name} is no plain tensor")
    if tensor.layout != torch.strided:
        raise ModelFileError(f"{path}: {name} is stored sparsely: store all of its values")
    if not tensor.is_floating_point():
        raise ModelFileError(f"{path}: {name} holds {tensor.dtype}, not floats")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ModelFileError(f"{path}: {name} {tuple(tensor.shape)} has fewer numbers")
