"""Weights made by a rule, and checkpoint files of every form made of them, for the tests.

Every entry is drawn from a seed that its name gives, so that a generator of millions of weights
needs no file, and another implementation can make the same one.
"""

from __future__ import annotations

import pickle
import re
import sys
import types
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ris.generators.stylegan2 import StyleGAN2Config

VECTORS = Path(__file__).parent / "vectors"
FIR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers that belong to a name."""
    return np.float32(np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape))


def rule(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A weight of rosinality's or NVIDIA's StyleGAN2."""
    if name.endswith(".kernel"):
        return torch.from_numpy(4 * FIR)
    if name.endswith("resample_filter"):
        return torch.from_numpy(FIR)
    r = draw(name, shape)
    if re.match(r"(style|mapping)\..*weight$", name):
        r = r / np.float32(0.01)
    elif re.match(r"(style|mapping)\..*bias$", name):
        r = 10 * r
    elif name.endswith(("modulation.bias", "affine.bias")):
        r = 1 + np.float32(0.1) * r
    elif name.endswith(("bias", "noise.weight", "noise_strength")):
        r = np.float32(0.1) * r
    return torch.from_numpy(np.asarray(r, np.float32))


def encoder_rule(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A weight of a pSp or e4e encoder."""
    r = draw(name, shape)
    if name.endswith("running_var"):
        r = 1 + np.float32(0.1) * np.abs(r)
    elif name.endswith(("running_mean", "bias")):
        r = np.float32(0.1) * r
    elif len(shape) == 4:
        r = r / np.float32(np.sqrt(np.prod(shape[1:])))
    elif name.endswith("_layer.2.weight"):  # of a PReLU
        r = np.float32(0.25) + np.float32(0.05) * r
    elif len(shape) == 1:
        r = 1 + np.float32(0.1) * r
    return torch.from_numpy(np.asarray(r, np.float32))


def rosinality(config: StyleGAN2Config) -> dict[str, torch.Tensor]:
    """State dict as rosinality's generator has it, the filters included."""
    shapes = dict(config.expected_shapes())
    for i in range(len(config.widths) - 1):
        shapes |= {f"convs.{2 * i}.conv.blur.kernel": (4, 4)}
        shapes |= {f"to_rgbs.{i}.upsample.kernel": (4, 4)}
    return {name: rule(name, shape) for name, shape in shapes.items()}


def network(config: StyleGAN2Config) -> dict[str, torch.Tensor]:
    """The same without the filters: what `StyleGAN2` takes."""
    return {k: v for k, v in rosinality(config).items() if not k.endswith(".kernel")}


def nvidia_shapes(config: StyleGAN2Config) -> dict[str, tuple[int, ...]]:
    """Names and shapes of NVIDIA's PyTorch generator."""
    d = config.latent
    shapes: dict[str, tuple[int, ...]] = {"synthesis.b4.const": (config.widths[0], 4, 4)}
    below = config.widths[0]
    for i, width in enumerate(config.widths):
        res = 4 << i
        shapes[f"synthesis.b{res}.resample_filter"] = (4, 4)
        for kind in ("conv0", "conv1", "torgb")[i == 0 :]:
            n = f"synthesis.b{res}.{kind}"
            c = below if kind == "conv0" else width
            shapes |= {f"{n}.affine.weight": (c, d), f"{n}.affine.bias": (c,)}
            if kind == "torgb":
                shapes |= {f"{n}.weight": (3, c, 1, 1), f"{n}.bias": (3,)}
                continue
            shapes |= {f"{n}.weight": (width, c, 3, 3), f"{n}.bias": (width,)}
            shapes |= {f"{n}.noise_strength": (), f"{n}.noise_const": (res, res)}
            shapes[f"{n}.resample_filter"] = (4, 4)
        below = width
    shapes["mapping.w_avg"] = (d,)
    for i in range(config.mapping_layers):
        shapes |= {f"mapping.fc{i}.weight": (d, d), f"mapping.fc{i}.bias": (d,)}
    return shapes


def as_nvidia(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rosinality's names and shapes as NVIDIA's; ``latent_avg`` becomes ``mapping.w_avg``."""
    steps = sum(name.endswith("upsample.kernel") for name in tensors)
    layers = {"conv1": "b4.conv1", "to_rgb1": "b4.torgb"}
    for i in range(steps):
        layers |= {f"convs.{2 * i}": f"b{8 << i}.conv0", f"convs.{2 * i + 1}": f"b{8 << i}.conv1"}
        layers[f"to_rgbs.{i}"] = f"b{8 << i}.torgb"
    made = {"synthesis.b4.const": tensors["input.input"][0]}
    if "latent_avg" in tensors:
        made["mapping.w_avg"] = tensors["latent_avg"]
    for name, tensor in tensors.items():
        if found := re.fullmatch(r"style\.(\d+)\.(\w+)", name):
            made[f"mapping.fc{int(found[1]) - 1}.{found[2]}"] = tensor
    numbered = [n for n in layers if "rgb" not in n]
    for ours, theirs in layers.items():
        n = f"synthesis.{theirs}"
        made[f"{n}.weight"] = tensors[f"{ours}.conv.weight"][0]
        for part in ("weight", "bias"):
            made[f"{n}.affine.{part}"] = tensors[f"{ours}.conv.modulation.{part}"]
        if ours not in numbered:
            made[f"{n}.bias"] = tensors[f"{ours}.bias"].flatten()
            continue
        made[f"{n}.bias"] = tensors[f"{ours}.activate.bias"]
        made[f"{n}.noise_strength"] = tensors[f"{ours}.noise.weight"][0]
        made[f"{n}.noise_const"] = tensors[f"noises.noise_{numbered.index(ours)}"][0, 0]
        made[f"{n}.resample_filter"] = torch.from_numpy(FIR)
    return made


class _Stored:
    """An object that pickles as NVIDIA's persistent classes do."""

    def __init__(self, class_name: str, source: str, state: dict[str, Any]) -> None:
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": source,
            "class_name": class_name,
            "state": state,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


@contextmanager
def nvidia_modules() -> Iterator[types.SimpleNamespace]:
    """NVIDIA's module names while a pickle is written, so that it refers to them."""
    persistence = types.ModuleType("torch_utils.persistence")
    util = types.ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
        raise AssertionError("reading must not call this")

    class EasyDict(dict):  # type: ignore[type-arg]
        pass

    _reconstruct_persistent_obj.__module__ = persistence.__name__
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    EasyDict.__module__, EasyDict.__qualname__ = util.__name__, "EasyDict"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    util.EasyDict = EasyDict  # type: ignore[attr-defined]
    modules = {
        "torch_utils": types.ModuleType("torch_utils"),
        "torch_utils.persistence": persistence,
        "dnnlib": types.ModuleType("dnnlib"),
        "dnnlib.util": util,
    }
    sys.modules |= modules
    try:
        yield types.SimpleNamespace(EasyDict=EasyDict)
    finally:
        for name in modules:
            del sys.modules[name]


def _module(tensors: Mapping[str, torch.Tensor], source: str, clamp: float | None) -> _Stored:
    """The persistent object of a table of dotted names."""
    own = {k: v for k, v in tensors.items() if "." not in k}
    inner: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        head, _, rest = name.partition(".")
        if rest:
            inner.setdefault(head, {})[rest] = tensor
    buffers = ("resample_filter", "noise_const", "w_avg")
    is_buffer = {k: k in buffers for k in own}
    state: dict[str, Any] = {
        "training": False,
        "_parameters": OrderedDict(
            (k, torch.nn.Parameter(v, requires_grad=False))
            for k, v in own.items()
            if not is_buffer[k]
        ),
        "_buffers": OrderedDict((k, v) for k, v in own.items() if is_buffer[k]),
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": OrderedDict(),
        "_modules": OrderedDict((k, _module(v, source, clamp)) for k, v in inner.items()),
        "_init_args": (),
        "_init_kwargs": sys.modules["dnnlib.util"].EasyDict(w_dim=512),
        "weight_gain": np.float64(0.04),
        "bands": np.ones(4),
    }
    if "noise_const" in own:
        state |= {"use_noise": True, "activation": "lrelu", "conv_clamp": clamp}
    return _Stored("Part", source, state)


def write_pickle(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    *,
    source: str = "raise SystemExit('the source was run')",
    clamp: float | None = None,
    protocol: int = 4,
) -> None:
    """A ``.pkl`` as stylegan2-ada-pytorch writes it, of tensors under NVIDIA's names."""
    with nvidia_modules() as modules:
        generator = _module(tensors, source, clamp)
        discriminator = _module({"b4.out.weight": torch.ones(2, 2)}, source, None)
        content = {
            "G": None,
            "D": discriminator,
            "G_ema": generator,
            "training_set_kwargs": modules.EasyDict(path="faces.zip", use_labels=False),
            "augment_pipe": None,
        }
        with path.open("wb") as file:
            pickle.dump(content, file, protocol=protocol)
