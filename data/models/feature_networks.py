"""Feature networks from their model files."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from ris.data.models.registry import ModelFile, model_file, pull
from ris.data.models.tfjs import read_tfjs_weights
from ris.errors import ModelFileError

if TYPE_CHECKING:
    import torch

    from ris.networks import EfficientNetLite
    from ris.networks.faceres import FaceRes
    from ris.networks.mobilenet_v2 import MobileNetV2

T = TypeVar("T")
EFFICIENTNET = "efficientnet-lite0"
FACERES = "faceres"
MOBILENET = "mobilenet-v2"


def load_efficientnet() -> EfficientNetLite:
    """EfficientNet-Lite0, ImageNet features that inversion compares; pulled on first need.

    Raises:
        ModelFileError: its file cannot be fetched or read.
    """
    from ris.networks import EfficientNetLite

    return _load(EFFICIENTNET, _state_dict, EfficientNetLite)


def load_mobilenet() -> MobileNetV2:
    """MobileNetV2, ImageNet features that nothing is trained on; an optional file.

    Raises:
        ModelFileError: its file cannot be fetched or read.
    """
    from ris.networks.mobilenet_v2 import MobileNetV2

    return _load(MOBILENET, _state_dict, MobileNetV2)


def load_faceres() -> FaceRes:
    """The identity embedding for training and evaluation; an optional file, fetched by npm.

    Raises:
        ModelFileError: its file cannot be fetched or read.
    """
    from ris.networks.faceres import FaceRes

    return _load(FACERES, _faceres_weights, FaceRes)


def _load(
    name: str,
    read: Callable[[ModelFile], Mapping[str, torch.Tensor]],
    make: Callable[[Mapping[str, torch.Tensor]], T],
) -> T:
    model = model_file(name)
    pull(model)
    try:
        return make(read(model))
    except (ValueError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError) as e:
        raise ModelFileError(
            f"the file of {name} is damaged ({e})", f"run `ris.pull({name!r}, force=True)`"
        ) from e


def _state_dict(model: ModelFile) -> Mapping[str, torch.Tensor]:
    import torch

    state: Mapping[str, torch.Tensor] = torch.load(
        model.path(".pth"), weights_only=True, map_location="cpu"
    )
    return state


def _faceres_weights(model: ModelFile) -> Mapping[str, torch.Tensor]:
    """Without the file's other heads and its graph's constants."""
    import torch

    from ris.networks.faceres import weight_names

    tensors = read_tfjs_weights(model.path(".json"))
    return {name: torch.from_numpy(tensors[name]) for name in weight_names()}
