"""Torch files made by others, read without running anything of them."""

from __future__ import annotations

import pickle
import re
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from ris.errors import ModelFileError


def read_torch(path: Path) -> Any:
    """What a torch file holds, nothing of it run; its tensors may be views of the file.

    Raises:
        ModelFileError: damaged, or it holds more than tensors and plain data.
    """
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            with zipfile.ZipFile(path) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise ModelFileError(f"{path} is compressed, which torch's files never are")
        with torch.serialization.safe_globals([Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as e:
        if found := re.search(r"GLOBAL (\S+)|class (\S+) from|(?:function|class) (\S+)", str(e)):
            wanted = next(group for group in found.groups() if group)
            raise ModelFileError(
                f"{path} holds more than tensors (it wants {wanted.rstrip('.,')}): not loaded"
            ) from e
        raise ModelFileError(f"{path} is no torch file, or holds more than tensors") from e
    except ModelFileError:
        raise
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, IndexError,
            AttributeError, MemoryError, AssertionError, zipfile.BadZipFile) as e:  # fmt: skip
        raise ModelFileError(f"{path} is no torch file, or damaged") from e


def check_dense(name: str, tensor: torch.Tensor, path: Path) -> None:
    """Refuses a tensor of floats that are fewer than its shape says, which a few bytes can
    claim to be of any size.

    Raises:
        ModelFileError: such a tensor, or no floats.
    """
    if tensor.layout != torch.strided or not tensor.is_floating_point():
        raise ModelFileError(f"{path}: {name} holds {tensor.dtype}, not floats")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ModelFileError(f"{path}: {name} {tuple(tensor.shape)} has fewer numbers")
