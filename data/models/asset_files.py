"""Files that ship with the program, and the safetensors files among them."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ris.errors import ModelFileError

if TYPE_CHECKING:
    import torch


def asset_path(name: str) -> Path:
    """Path of a file under ``data/models/assets``."""
    return Path(str(resources.files("ris.data.models").joinpath("assets", name)))


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        ModelFileError: missing or not such a file.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as f:
            return {k: f.get_tensor(k) for k in f.keys()}, dict(f.metadata() or {})  # noqa: SIM118
    except Exception as e:  # safetensors, torch and the system each have their own
        reason = (str(e).splitlines() or [type(e).__name__])[0][:160]
        raise ModelFileError(f"{path} is not a readable safetensors file: {reason}") from e
