"""StyleGAN2 weights in files: rosinality's ``.pt``, NVIDIA's ``.pkl``, and safetensors.

All forms are read into the names that `ris.generators.stylegan2` uses; a network has the same
fingerprint whichever file it came from. No file can run code: ``.pt`` is read with
``weights_only``, ``.pkl`` by `ris.data.models.nvidia_pickle`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ris.data.durable import replacing
from ris.data.models.nvidia_pickle import Network, read_networks
from ris.data.models.torch_files import check_dense, check_finite, read_torch
from ris.errors import ModelFileError
from ris.generators.stylegan2 import FILTER, LATENT_AVERAGE, StyleGAN2, StyleGAN2Config
from ris.notices import tell

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES = (".pt", ".pth", ".pkl", ".safetensors")
CLAMP = "conv_clamp"
_NVIDIA_MARK = "synthesis.b4.const"
_MARKS = ("input.input", _NVIDIA_MARK)
"""Names of the constant input in rosinality's networks and in NVIDIA's."""
_AVERAGED = ("g_ema", "G_ema", "params_ema", "ema", "generator_ema", "netG_ema")
"""Keys under which checkpoints have the weights averaged over the training."""
_NOISES = "noises."
_KEYS_SHOWN = 8
_CONVOLUTION = re.compile(r"synthesis\.b\d+\.(conv0|conv1|torgb)\.")
_LAYER_PARTS = {
    "weight": "conv.weight",
    "affine.weight": "conv.modulation.weight",
    "affine.bias": "conv.modulation.bias",
    "noise_strength": "noise.weight",
}


@dataclass(frozen=True)
class Weights:
    """A StyleGAN2's tensors under our names, and its clamp (`StyleGAN2Config.clamp`)."""

    tensors: dict[str, torch.Tensor]
    clamp: float | None = None


def load_stylegan2(path: Path) -> StyleGAN2:
    """The generator of a file; size, widths and depth of the mapping are found out.

    Raises:
        ModelFileError: unreadable, no StyleGAN2, or a tensor is missing, left over or of another
            shape (the first is named).
    """
    return _built(read_weights(path), path)


def _built(weights: Weights, path: Path) -> StyleGAN2:
    try:
        config = StyleGAN2Config.of_weights(weights.tensors, weights.clamp)
        return StyleGAN2(weights.tensors, config)
    except ValueError as e:
        raise ModelFileError(f"{path}: {e}") from e


def convert(source: Path, target: Path) -> dict[str, Any]:
    """Writes a StyleGAN2's file in another form; returns what there is to say about it.

    Args:
        source: of any form that `load_stylegan2` reads.
        target: ``.pt`` (rosinality's, which other programs read) or ``.safetensors``.

    Raises:
        ModelFileError: the source cannot be used, or the target is of another form.
        StoreError: the target cannot be written.
    """
    suffix = target.suffix.lower()
    if suffix == ".pkl":
        raise ModelFileError(
            f"{target}: a .pkl is NVIDIA's program with its weights; write .pt or .safetensors"
        )
    if suffix not in (".pt", ".safetensors"):
        raise ModelFileError(f"{target}: a generator is written as .pt or .safetensors")
    weights = read_weights(source)
    generator = _built(weights, source)
    write = _write_torch if suffix == ".pt" else _write_safetensors
    with replacing(target) as temporary:
        write(temporary, weights)
    return {
        "file": target,
        "generator": generator.fingerprint,
        "size": generator.image_size,
        "widths": generator.config.widths,
        "mapping_layers": generator.config.mapping_layers,
    }


def _write_torch(path: Path, weights: Weights) -> None:
    """As rosinality's programs have it, the filters included."""
    network = {k: v.clone() for k, v in weights.tensors.items() if k != LATENT_AVERAGE}
    kernel = 4 * torch.outer(torch.tensor(FILTER), torch.tensor(FILTER)) / sum(FILTER) ** 2
    for i in range(sum(name.endswith(".activate.bias") for name in network) // 2):
        network[f"convs.{2 * i}.conv.blur.kernel"] = kernel.clone()
        network[f"to_rgbs.{i}.upsample.kernel"] = kernel.clone()
    content: dict[str, Any] = {"g_ema": network}
    if LATENT_AVERAGE in weights.tensors:
        content[LATENT_AVERAGE] = weights.tensors[LATENT_AVERAGE].clone()
    if weights.clamp is not None:
        content[CLAMP] = weights.clamp
    torch.save(content, path)


def _write_safetensors(path: Path, weights: Weights) -> None:
    from safetensors.torch import save_file

    metadata = {} if weights.clamp is None else {CLAMP: repr(weights.clamp)}
    tensors = {
        k: v.clone(memory_format=torch.contiguous_format) for k, v in weights.tensors.items()
    }
    save_file(tensors, path, metadata)


def read_weights(path: Path) -> Weights:
    """Tensors of a file under our names; shapes are not checked yet.

    Raises:
        ModelFileError: missing, unreadable, or without a generator in it.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ModelFileError(f"{path}: a generator comes as {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ModelFileError(f"no file {path}")
    try:
        return _with_noise(_read(path, suffix), path)
    except (ValueError, TypeError) as e:
        raise ModelFileError(f"{path}: {e}") from e


def _read(path: Path, suffix: str) -> Weights:
    if suffix == ".pkl":
        return _from_pickle(path)
    if suffix == ".safetensors":
        from ris.data.models.asset_files import load_tensors

        tensors, metadata = load_tensors(path)
        clamp = _limit(metadata.get(CLAMP))
        return Weights(_ours(tensors, path), clamp)
    return _from_torch(read_torch(path), path)


def _from_torch(content: Any, path: Path) -> Weights:
    """A rosinality checkpoint, the decoder of an encoder's checkpoint, or a state dict under any
    of the keys and prefixes that training programs give it."""
    if not isinstance(content, dict):
        raise ModelFileError(f"{path} holds no table of tensors")
    found = _generator_table(content, path)
    if isinstance(average := content.get(LATENT_AVERAGE), torch.Tensor):
        found[LATENT_AVERAGE] = average[0] if average.ndim == 2 and len(average) else average
    return Weights(_ours(found, path), _limit(content.get(CLAMP)))


def _generator_table(content: Mapping[Any, Any], path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the generator in a checkpoint, under the names that they have within it.

    Looked through are the checkpoint and the tables in it, averaged weights first. The generator
    is where its constant input is; what stands before that name is a prefix.
    """
    named = [content[key] for key in _AVERAGED if isinstance(content.get(key), Mapping)]
    others = [v for k, v in content.items() if k not in _AVERAGED and isinstance(v, Mapping)]
    for table in (*named, *others, content):
        tensors = _tensors(table)
        prefixes = {
            name.removesuffix(mark)
            for name in tensors
            for mark in _MARKS
            if name == mark or name.endswith(f".{mark}")
        }
        if prefixes:
            prefix = min(prefixes, key=lambda p: (p != "", "ema" not in p.lower(), len(p), p))
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    if named and (tensors := _tensors(named[0])):
        return tensors  # incomplete: what is missing is named later
    keys = [str(key)[:60] for key in (others[0] if len(others) == 1 else content)]
    shown = ", ".join(keys[:_KEYS_SHOWN]) + (", ..." if len(keys) > _KEYS_SHOWN else "")
    raise ModelFileError(
        f"{path} holds no StyleGAN2 generator (no {' or '.join(_MARKS)}); "
        f"it has {shown or 'nothing'}"
    )


def _tensors(table: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    return {k: v for k, v in table.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}


def _with_noise(weights: Weights, path: Path) -> Weights:
    """The weights with empty noise maps where a file leaves all of them out, as some exports do:
    the noise is drawn anew for every picture there, and has no part in a feature."""
    if any(name.startswith(_NOISES) for name in weights.tensors):
        return weights
    try:
        shapes = StyleGAN2Config.of_weights(weights.tensors, weights.clamp).expected_shapes()
    except ValueError:
        return weights  # no StyleGAN2: what is wrong is said where it is built
    tell(f"{path.name} has no noise maps: its pictures are drawn without noise")
    empty = {k: torch.zeros(shape) for k, shape in shapes.items() if k.startswith(_NOISES)}
    return Weights(weights.tensors | empty, weights.clamp)


def _from_pickle(path: Path) -> Weights:
    networks = read_networks(path)
    generator = networks.get("G_ema") or networks.get("G")
    if generator is None:
        raise ModelFileError(f"{path} holds {', '.join(networks)}, but no generator G_ema")
    try:
        arrays = generator.tensors()
        clamp = _clamp(generator)
    except (ModelFileError, TypeError, ValueError) as e:
        raise ModelFileError(f"{path}: {e}") from e
    if any(".L0_" in name for name in arrays):
        raise ModelFileError(f"{path} is a StyleGAN3 network (config T or R), not a StyleGAN2")
    if sum(array.nbytes for array in arrays.values()) > path.stat().st_size:
        raise ModelFileError(f"{path} names the same numbers many times")
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    return Weights(_ours(tensors, path), clamp)


def _limit(value: Any) -> float | None:
    """A clamp as files have it, as a number or its text.

    Raises:
        ValueError: it is none that values can be limited to.
    """
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, (int, float, str)) else math.nan
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{CLAMP} is {str(value)[:40]!r}, not a number above 0")
    return number


def _clamp(generator: Network) -> float | None:
    """The convolutions' common clamp, and whether the network is of the plain kind."""
    found: set[float | None] = set()
    for prefix, network in generator.walk():
        at = network.attributes
        if _CONVOLUTION.fullmatch(prefix):
            if CLAMP in at:
                found.add(_limit(at[CLAMP]))
            if at.get("activation", "lrelu") != "lrelu":
                raise ModelFileError(f"{prefix[:-1]} has activation {at['activation']!r}")
            if at.get("use_noise", True) is not True:
                raise ModelFileError(f"{prefix[:-1]} is without noise")
        if prefix.startswith("mapping.fc") and at.get("bias_gain", 0.01) != 0.01:
            raise ModelFileError(f"{prefix[:-1]} has learning rate {at['bias_gain']}, not 0.01")
    if len(found) > 1:
        raise ModelFileError("the convolutions differ in their clamp")
    return found.pop() if found else None


def _ours(tensors: Mapping[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """Tensors under our names, without the filters, which are checked to be the usual ones."""
    if any(name.startswith("mapping.embed") for name in tensors):
        raise ModelFileError(f"{path} is a conditional generator (it has mapping.embed)")
    pairs = _from_nvidia(tensors) if _NVIDIA_MARK in tensors else iter(tensors.items())
    found: dict[str, torch.Tensor] = {}
    usual = torch.outer(torch.tensor(FILTER), torch.tensor(FILTER)) / sum(FILTER) ** 2
    for name, tensor in pairs:
        check_dense(name, tensor, path)
        check_finite(name, tensor, path)
        if name.endswith((".kernel", "resample_filter")):
            expected = usual * (4 if name.endswith(".kernel") else 1)
            if tensor.shape != (4, 4) or not torch.allclose(tensor.float(), expected, atol=1e-5):
                raise ModelFileError(f"{path}: {name} is another filter than 1 3 3 1")
            continue
        found[name] = tensor
    return found


def _from_nvidia(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """NVIDIA's names and shapes to ours; what has no place keeps its name."""
    for name, tensor in tensors.items():
        if name == "mapping.w_avg":
            yield LATENT_AVERAGE, tensor
        elif found := re.fullmatch(r"mapping\.fc(\d{1,3})\.(weight|bias)", name):
            yield f"style.{int(found[1]) + 1}.{found[2]}", tensor
        elif name == _NVIDIA_MARK:
            yield "input.input", tensor[None]
        elif found := re.fullmatch(r"synthesis\.b(\d{1,5})\.(conv0|conv1|torgb)\.(.+)", name):
            yield _layer_tensor(int(found[1]), found[2], found[3], name, tensor)
        else:
            yield name, tensor


def _layer_tensor(
    resolution: int, kind: str, part: str, name: str, tensor: torch.Tensor
) -> tuple[str, torch.Tensor]:
    step = resolution.bit_length() - 4  # 0 at 8x8
    known = resolution == 1 << (step + 3) and (step >= 0 or (resolution == 4 and kind != "conv0"))
    if part.endswith("resample_filter") or not known:
        return name, tensor
    if kind == "torgb":
        layer = "to_rgb1" if step < 0 else f"to_rgbs.{step}"
        if part == "bias":
            return f"{layer}.bias", tensor.reshape(1, -1, 1, 1)
    else:
        number = 0 if step < 0 else 2 * step + (1 if kind == "conv0" else 2)
        layer = f"convs.{number - 1}" if number else "conv1"
        if part == "bias":
            return f"{layer}.activate.bias", tensor
        if part == "noise_const":
            return f"noises.noise_{number}", tensor[None, None]
    if part not in _LAYER_PARTS:
        return name, tensor
    if part == "weight":
        tensor = tensor[None]
    elif part == "noise_strength":
        tensor = tensor.reshape(1)
    return f"{layer}.{_LAYER_PARTS[part]}", tensor
