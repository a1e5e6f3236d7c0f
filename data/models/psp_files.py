"""Checkpoints of pSp's and e4e's encoders, as their authors' programs write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ris.data.models.torch_files import check_dense, check_finite, read_torch
from ris.errors import ModelFileError
from ris.networks.psp import EncoderKind, PSPEncoder

SUFFIXES = (".pt", ".pth")
_KINDS: dict[str, EncoderKind] = {"GradualStyleEncoder": "psp", "Encoder4Editing": "e4e"}
_PREFIX = "encoder."


@dataclass(frozen=True)
class EncoderFile:
    """What an encoder's checkpoint holds.

    Attributes:
        encoder: the network.
        average: (latent,) or (rows, latent), what is added to its codes; None: the mean of the
            generator's W.
        from_average: whether anything is added.
    """

    encoder: PSPEncoder
    average: torch.Tensor | None
    from_average: bool


def load_encoder_file(path: Path) -> EncoderFile:
    """The encoder of a checkpoint (``state_dict``, ``opts`` and, mostly, ``latent_avg``).

    Raises:
        ModelFileError: unreadable, no such checkpoint, or a tensor is missing, left over or of
            another shape (the first is named).
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ModelFileError(f"{path}: an encoder comes as {' or '.join(SUFFIXES)}")
    if not path.is_file():
        raise ModelFileError(f"no encoder file {path}", "name it with `inverter`")
    content = read_torch(path)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), Mapping):
        raise ModelFileError(f"{path} is no pSp or e4e checkpoint: it lacks state_dict")
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in content["state_dict"].items():
        if not str(name).startswith(_PREFIX) or name.endswith("num_batches_tracked"):
            continue
        if not isinstance(tensor, torch.Tensor):
            raise ModelFileError(f"{path}: {name} is no tensor")
        check_dense(name, tensor, path)
        check_finite(name, tensor, path)
        weights[name[len(_PREFIX) :]] = tensor
    options = _options(content.get("opts"))
    try:
        encoder = PSPEncoder(weights, _kind(options, content, path))
    except ValueError as e:
        raise ModelFileError(f"{path}: {e}") from e
    return EncoderFile(
        encoder,
        _average(content.get("latent_avg"), encoder, path),
        bool(options.get("start_from_latent_avg", True)),
    )


def _options(found: Any) -> dict[str, Any]:
    """The options of the training, which are a dictionary or argparse's."""
    if isinstance(found, dict):
        return found
    return dict(vars(found)) if hasattr(found, "__dict__") else {}


def _kind(options: Mapping[str, Any], content: Mapping[str, Any], path: Path) -> EncoderKind:
    """pSp's or e4e's: their tensors have the same names."""
    named = options.get("encoder_type")
    if named is None and "discriminator_state_dict" in content:
        return "e4e"
    if named not in _KINDS:
        said = "does not say its encoder_type" if named is None else f"has encoder_type {named}"
        raise ModelFileError(f"{path} {said}; known: {', '.join(_KINDS)} (in opts)")
    if options.get("learn_in_w"):
        raise ModelFileError(f"{path} gives W codes (learn_in_w), not W+")
    return _KINDS[named]


def _average(found: Any, encoder: PSPEncoder, path: Path) -> torch.Tensor | None:
    if found is None:
        return None
    rows, latent = encoder.config.rows, encoder.config.latent
    shapes = ((latent,), (1, latent), (rows, latent))
    if not isinstance(found, torch.Tensor) or tuple(found.shape) not in shapes:
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        raise ModelFileError(
            f"{path}: latent_avg is {shape}, expected ({latent},) or ({rows}, {latent})"
        )
    check_dense("latent_avg", found, path)
    check_finite("latent_avg", found, path)
    return found.to(torch.float32, copy=True)
