"""Do the parts of the face cover the same pixels?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks.measures.measure import Values
from benchmarks.measures.pixels import scaled
from ris.errors import RisError

FILE = "bisenetv2_celebamaskhq_448x448_integer_quant.tflite"
SIZE = 448
REGIONS: dict[str, tuple[int, ...]] = {
    "eyes": (2, 3, 4, 5),  # with the brows, as the catalogue's class
    "nose": (10,),
    "mouth": (11, 12, 13),
    "hair": (17,),
}
"""Class ids of the parser."""


class FaceParser:
    """A BiSeNetV2 for CelebAMask-HQ as a TFLite file.

    Args:
        models: the folder that holds `FILE`.

    Raises:
        RisError: the file is missing.
    """

    def __init__(self, models: Path) -> None:
        path = models / FILE
        if not path.is_file():
            raise RisError(f"no face parser {path}: name its folder with --models")
        from ai_edge_litert.interpreter import Interpreter

        self._net: Any = Interpreter(str(path), num_threads=torch.get_num_threads())
        self._net.allocate_tensors()
        self._input = self._net.get_input_details()[0]["index"]
        self._output = self._net.get_output_details()[0]["index"]

    def __call__(self, picture: torch.Tensor) -> np.ndarray:
        """(1, 3, S, S) in [-1, 1] -> (448, 448) uint8 class ids."""
        x = scaled(picture, SIZE).permute(0, 2, 3, 1).contiguous()
        self._net.set_tensor(self._input, x.numpy())
        self._net.invoke()
        ids: np.ndarray = self._net.get_tensor(self._output)
        return ids.squeeze().astype(np.uint8)


def region_overlap(first: np.ndarray, second: np.ndarray) -> Values:
    """IoU of each region of two maps of class ids; None where neither has it."""
    values: Values = {}
    for name, ids in REGIONS.items():
        a, b = np.isin(first, ids), np.isin(second, ids)
        union = int((a | b).sum())
        values[f"iou_{name}"] = float((a & b).sum() / union) if union else None
    return values


class RegionOverlap:
    """IoU of eyes with brows, nose, mouth and hair as a face parser sees them."""

    higher_is_better: ClassVar[dict[str, bool]] = {f"iou_{name}": True for name in REGIONS}

    def __init__(self, models: Path) -> None:
        self._parser = FaceParser(models)

    def describe(self, picture: torch.Tensor) -> np.ndarray:
        """(448, 448) class ids."""
        return self._parser(picture)

    def compare(self, photo: np.ndarray, other: np.ndarray) -> Values:
        """See `region_overlap`."""
        return region_overlap(photo, other)
