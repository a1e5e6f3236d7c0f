"""Reads the constants of an OpenVINO IR (version 10 XML and BIN) without OpenVINO."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import torch

from ris.data.durable import check_blame
from ris.errors import ModelFileError
from ris.generators.mobilestylegan import MobileStyleGANConfig

_DTYPES = {"f32": np.float32, "i32": np.int32, "i64": np.int64}


class IRConstants:
    """The constants of one network and the graph around them.

    Args:
        xml: path of the ``.xml`` file; the ``.bin`` file lies beside it.

    Raises:
        ModelFileError: the pair cannot be read as an IR.
    """

    def __init__(self, xml: Path) -> None:
        try:
            root = ET.parse(xml).getroot()
            self._blob = np.memmap(xml.with_suffix(".bin"), dtype=np.uint8, mode="r")
        except (OSError, ET.ParseError, ValueError) as e:
            check_blame(xml, e)
            raise ModelFileError(f"{xml} is not a readable OpenVINO IR: {e}") from e
        self._layers = {layer.get("id", ""): layer for layer in root.iterfind("layers/layer")}
        self._names = {layer.get("name", ""): i for i, layer in self._layers.items()}
        self._inputs: dict[str, list[str]] = {}
        self._outputs: dict[str, list[str]] = {}
        for edge in root.iterfind("edges/edge"):
            source, target = edge.get("from-layer", ""), edge.get("to-layer", "")
            self._inputs.setdefault(target, []).append(source)
            self._outputs.setdefault(source, []).append(target)

    def __getitem__(self, name: str) -> torch.Tensor:
        """The constant called `name`, with its shape."""
        if name not in self._names:
            raise ModelFileError(f"the network has no constant called {name}")
        return self._value(self._names[name])

    def of_shape(self, shape: tuple[int, ...]) -> list[torch.Tensor]:
        """All float constants of a shape, in file order."""
        return [
            self._value(i)
            for i in self._layers
            if self._is_const(i) and self._type(i) == "f32" and self._shape(i) == shape
        ]

    def before_bias(self, bias: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and noise of the convolution whose sum with `bias` the graph takes.

        The graph is ``Add(Add(Convolution(x, weight), noise), bias)``.
        """
        (add,) = self._outputs[self._names[bias]]
        noisy = self._other_input(add, self._names[bias])
        (noise,) = [i for i in self._inputs[noisy] if self._is_const(i)]
        conv = self._other_input(noisy, noise)
        (weight,) = [i for i in self._inputs[conv] if self._is_const(i)]
        return self._value(weight), self._value(noise)

    def _is_const(self, layer: str) -> bool:
        return self._layers[layer].get("type") == "Const"

    def _other_input(self, layer: str, known: str) -> str:
        (other,) = [i for i in self._inputs[layer] if i != known]
        return other

    def _data(self, layer: str) -> ET.Element:
        data = self._layers[layer].find("data")
        if data is None:
            raise ModelFileError(f"layer {layer} of the network holds no data")
        return data

    def _type(self, layer: str) -> str:
        return self._data(layer).get("element_type", "")

    def _shape(self, layer: str) -> tuple[int, ...]:
        return tuple(int(s) for s in self._data(layer).get("shape", "").split(",") if s.strip())

    def _value(self, layer: str) -> torch.Tensor:
        data = self._data(layer)
        start, size = int(data.get("offset", 0)), int(data.get("size", 0))
        raw = np.array(self._blob[start : start + size]).view(_DTYPES[self._type(layer)])
        return torch.from_numpy(raw.reshape(self._shape(layer)))


def mobilestylegan_weights(mapping: Path, synthesis: Path) -> dict[str, torch.Tensor]:
    """Tensors for `ris.generators.mobilestylegan.MobileStyleGAN` from its two IR files.

    Raises:
        ModelFileError: the files do not hold that network.
    """
    weights: dict[str, torch.Tensor] = {}
    net = IRConstants(mapping)
    linear = zip(net.of_shape((512, 512)), net.of_shape((512,)), strict=True)
    for i, (weight, bias) in enumerate(linear):
        weights[f"mapping.{i}.weight"] = weight
        weights[f"mapping.{i}.bias"] = bias

    net = IRConstants(synthesis)
    weights["const"] = net["m.input.input"]
    for layer in MobileStyleGANConfig().layout():
        name = layer.name
        stored = "m.conv1" if name == "conv1" else f"m.layers.{name}"
        if layer.to_image:
            block = len(MobileStyleGANConfig().blocks) - 1
            stored = f"m.layers.{block}.to_img"
            weights["to_img.weight"] = net[f"{stored}.conv.weight"]
            weights["to_img.bias"] = net[f"{stored}.bias"].reshape(-1)
        elif not name.endswith("up"):
            weights[f"{name}.weight"], weights[f"{name}.noise"] = net.before_bias(f"{stored}.bias")
            weights[f"{name}.bias"] = net[f"{stored}.bias"].reshape(-1)
            if name != "conv1":
                depthwise = net[f"{stored}.conv.weight_dw"]  # [C, 1, 1, 3, 3]
                weights[f"{name}.depthwise"] = depthwise.squeeze(1)
        affine = f"{stored}.modulation" if name.endswith("up") else f"{stored}.conv.modulation"
        weights[f"{name}.affine.weight"] = net[f"{affine}.weight"]
        weights[f"{name}.affine.bias"] = net[f"{affine}.bias"].reshape(-1)
    return weights
