"""The three networks and the canonical face inside ``face_landmarker.task``."""

from __future__ import annotations

import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from data.registry import model_file, pull
from ris.errors import ModelFileError

MODEL = "face-landmarker"
CANONICAL_POINTS = 468
VERTEX_NUMBERS = 5  # x, y, z, u, v


class Network:
    """One TFLite network on one thread: float32 arrays in, float32 arrays out by name.

    Not safe to be used by two threads at once.
    """

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with _without_notes():
            self._interpreter: Any = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        (given,) = self._interpreter.get_input_details()
        self._input: int = given["index"]
        self.input_shape: tuple[int, ...] = tuple(int(n) for n in given["shape"])
        self._outputs: dict[str, int] = {
            d["name"]: d["index"] for d in self._interpreter.get_output_details()
        }

    def __call__(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the network on an array of `input_shape`."""
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(values, dtype=np.float32))
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(i) for name, i in self._outputs.items()}


_QUIET = Lock()


@contextmanager
def _without_notes() -> Iterator[None]:
    """Drops the notes that the runtime writes to stderr, past Python, when it starts; it has no
    setting for that. Anything else that is written there meanwhile is passed on."""
    with _QUIET, tempfile.TemporaryFile() as caught:
        sys.stderr.flush()
        stderr = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            caught.seek(0)
            for line in caught:
                if not line.startswith(b"INFO: "):
                    os.write(stderr, line)
            os.close(stderr)


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


def load_networks() -> Networks:
    """The networks of the registry's `face-landmarker`, pulled on first need.

    Raises:
        ModelFileError: it cannot be fetched or is damaged.
    """
    model = model_file(MODEL)
    pull(model)
    path = model.path(".task")
    try:
        return _read(path)
    except (OSError, KeyError, ValueError, IndexError, zipfile.BadZipFile, RuntimeError) as e:
        raise ModelFileError(f"{path} is damaged ({e}): run `ris models pull --force`") from e


def _read(path: Path) -> Networks:
    with zipfile.ZipFile(path) as archive:
        return Networks(
            detector=Network(archive.read("face_detector.tflite")),
            landmarks=Network(archive.read("face_landmarks_detector.tflite")),
            blendshapes=Network(archive.read("face_blendshapes.tflite")),
            canonical=_canonical(archive.read("geometry_pipeline_metadata_landmarks.binarypb")),
        )


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
    if not weights.any():
        raise ValueError("no pose weights in the geometry metadata")
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


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("odd geometry metadata")
    return value


def _float(value: int | bytes) -> float:
    return float(np.frombuffer(_bytes(value), dtype="<f4")[0])
