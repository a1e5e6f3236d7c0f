"""The three networks and the canonical face inside ``face_landmarker.task``."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ris.data.models.registry import model_file, pull
from ris.errors import ModelFileError

if TYPE_CHECKING:  # who cuts a stored face out of its photo again needs no torch
    from ris.networks.graph import Graph, Shape
    from ris.ops.calls import Impl

MODEL = "face-landmarker"
CANONICAL_POINTS = 468
VERTEX_NUMBERS = 5  # x, y, z, u, v
LARGEST = 1 << 24
"""Bytes that a member of the file may have."""
_BROKEN = (
    OSError, KeyError, ValueError, IndexError, RuntimeError, EOFError, OverflowError,
    NotImplementedError, zipfile.BadZipFile, zlib.error, ModelFileError,
)  # fmt: skip
"""What reading a damaged archive, network or message may raise."""


class Network:
    """One network: float32 arrays in, float32 arrays out by name.

    It keeps nothing from one call to the next: any number of threads may share it.

    Args:
        graph: from its file.
        given: shape of its input.
        made: shapes of its outputs by name.
        impl: see `ris.ops.calls.Impl`.

    Raises:
        ValueError: the graph is another network's.
    """

    def __init__(
        self, graph: Graph, given: Shape, made: dict[str, Shape], impl: Impl = "auto"
    ) -> None:
        from ris.networks.fused import network

        found = {graph.values[i].name: graph.values[i].shape for i in graph.outputs}
        if graph.values[graph.input].shape != given or not made.items() <= found.items():
            raise ValueError(f"it turns {graph.values[graph.input].shape} into {found}")
        self.input_shape = given
        self._run = network(graph, impl)
        self._names = list(made)

    def __call__(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the network on an array of `input_shape`.

        Raises:
            ValueError: another shape.
        """
        import torch

        if values.shape != self.input_shape:
            raise ValueError(f"the network takes {self.input_shape}, not {values.shape}")
        made = self._run(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))
        return {name: made[name].numpy().copy() for name in self._names}


@dataclass(frozen=True)
class CanonicalFace:
    """A mean face to compare poses with.

    Attributes:
        points: (468, 3) float64, centimetres, x to the viewer's right, y up, z to the viewer.
        weights: (468,) float64, how much each point counts; zero for points that move with
            the expression.
    """

    points: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Networks:
    """Everything that the finder needs from the model file."""

    detector: Network
    landmarks: Network
    blendshapes: Network
    canonical: CanonicalFace


_LOADING = Lock()
_loaded: dict[Path, Networks] = {}


def load_networks() -> Networks:
    """The networks of the registry's `face-landmarker`, pulled on first need; read once, then
    shared by the whole process.

    Raises:
        ModelFileError: it cannot be fetched or is damaged.
    """
    model = model_file(MODEL)
    path = model.path(".task")
    with _LOADING:
        if path not in _loaded:
            pull(model)
            try:
                _loaded[path] = read_networks(path)
            except ModelFileError as e:
                raise ModelFileError(str(e), "run `ris.pull(force=True)`") from e
        return _loaded[path]


def read_networks(path: Path, impl: Impl = "auto") -> Networks:
    """The networks of a ``face_landmarker.task``, which is a ZIP archive.

    Args:
        path: the file.
        impl: see `ris.ops.calls.Impl`.

    Raises:
        ModelFileError: it cannot be read, is damaged, or holds other networks.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return Networks(
                detector=Network(
                    _graph(archive, "face_detector.tflite"),
                    (1, 128, 128, 3),
                    {"regressors": (1, 896, 16), "classificators": (1, 896, 1)},
                    impl,
                ),
                landmarks=Network(
                    _graph(archive, "face_landmarks_detector.tflite"),
                    (1, 256, 256, 3),
                    {"Identity": (1, 1, 1, 1434), "Identity_1": (1, 1, 1, 1)},
                    impl,
                ),
                blendshapes=Network(
                    _graph(archive, "face_blendshapes.tflite"),
                    (1, 146, 2),
                    {"StatefulPartitionedCall:0": (52,)},
                    impl,
                ),
                canonical=_canonical(
                    _member(archive, "geometry_pipeline_metadata_landmarks.binarypb")
                ),
            )
    except _BROKEN as e:
        reason = str(e).strip("'\"").replace("\n", " ") or type(e).__name__
        raise ModelFileError(f"{path} is damaged ({reason})") from e


def _graph(archive: zipfile.ZipFile, name: str) -> Graph:
    from ris.data.models.tflite import read_tflite

    return read_tflite(_member(archive, name), name)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > LARGEST:
        raise ValueError(f"{name} has {size} bytes")
    return archive.read(name)


def _canonical(message: bytes) -> CanonicalFace:
    """Reads the geometry metadata: field 1 the mesh (its field 3 the vertices), field 2 the
    points that carry the pose (field 1 number, field 2 weight)."""
    vertices: list[float] = []
    weights = np.zeros(CANONICAL_POINTS)
    for field, value in _fields(message):
        if field == 1:
            vertices = [_float(v) for number, v in _fields(_bytes(value)) if number == 3]
        elif field == 2:
            basis = dict(_fields(_bytes(value)))
            number = basis.get(1, 0)
            if not isinstance(number, int):
                raise ValueError("odd geometry metadata")
            weights[number] = _float(basis[2])
    points = np.array(vertices, dtype=np.float64).reshape(CANONICAL_POINTS, VERTEX_NUMBERS)
    if not weights.any() or not (np.isfinite(points).all() and np.isfinite(weights).all()):
        raise ValueError("no pose weights in the geometry metadata, or odd ones")
    return CanonicalFace(points[:, :3], weights)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and raw values of a protocol buffer message (varints as int)."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind == 5:
            length = 4
        else:
            raise ValueError(f"odd geometry metadata (wire type {kind})")
        if at + length > len(message):
            raise ValueError("geometry metadata is cut short")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("odd geometry metadata (an endless number)")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("odd geometry metadata")
    return value


def _float(value: int | bytes) -> float:
    return float(np.frombuffer(_bytes(value), dtype="<f4")[0])
