"""What a transfer did: where the picture changed, how far the feature moved, who it still is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.measures.identity import FaceResIdentity
from benchmarks.measures.parsing import REGIONS, SIZE, FaceParser
from benchmarks.measures.pixels import scaled
from ris.data.blendshapes import BLENDSHAPES
from ris.images import to_pixels
from ris.ingest.alignment.finder import FaceFinder

LANDMARKS: dict[str, tuple[int, ...]] = {
    "eyes": (
        *(33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173),
        *(263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398),
        *(70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
        *(300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
    ),
    "nose": (
        *(168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 97, 326, 327, 129, 358),
        *(48, 278, 64, 294, 219, 439, 45, 275, 220, 440, 115, 344),
    ),
    "mouth": (
        *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270),
        *(409, 78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311),
        *(310, 415),
    ),
}
"""Of the 478: eyes with brows, nose, lips."""
WHERE = REGIONS | {"eyes": (*REGIONS["eyes"], 6)}
"""Class ids of the parser where a feature may change: glasses come and go with the eyes."""
SHAPES = {
    "eyes": tuple(i for i, n in enumerate(BLENDSHAPES) if n.startswith(("eye_", "brow_"))),
    "mouth": tuple(i for i, n in enumerate(BLENDSHAPES) if n.startswith(("mouth_", "jaw_"))),
}
FRAME = 512
"""Pixels at which landmarks are found."""


@dataclass(frozen=True)
class Looked:
    """A picture as the measures see it.

    Attributes:
        pixels: (3, 448, 448) in [-1, 1].
        classes: (448, 448) ids of the face parser.
        landmarks: (478, 2) in parts of the side, or None.
        blendshapes: (52,), or None.
        angles: yaw and pitch in degrees, or None.
        identity: unit vector.
    """

    pixels: torch.Tensor
    classes: np.ndarray
    landmarks: np.ndarray | None
    blendshapes: np.ndarray | None
    angles: np.ndarray | None
    identity: torch.Tensor

    def region(self, feature: str) -> np.ndarray:
        """(448, 448) bool: where the parser sees a feature."""
        found: np.ndarray = np.isin(self.classes, WHERE[feature])
        return found


class Looker:
    """Looks at pictures with the parser, the landmarker and an identity network.

    Args:
        models: folder of the face parser's file.
    """

    def __init__(self, models: Path) -> None:
        self._parser, self._finder = FaceParser(models), FaceFinder()
        self._identity = FaceResIdentity()

    @torch.no_grad()
    def __call__(self, picture: torch.Tensor) -> Looked:
        """(3, S, S) in [-1, 1]."""
        batch = picture[None]
        faces = self._finder.find(to_pixels(scaled(batch, FRAME)[0]), largest=True)
        face = faces[0] if faces else None
        return Looked(
            scaled(batch, SIZE)[0],
            self._parser(batch),
            None if face is None else face.landmarks[:, :2] / FRAME,
            None if face is None else face.blendshapes,
            None if face is None else np.array([face.yaw, face.pitch]),
            self._identity.describe(batch),
        )


def locality(before: Looked, after: Looked, reference: Looked, feature: str) -> float:
    """Share of the squared pixel change inside the feature's region of either face."""
    change = (after.pixels - before.pixels).square().mean(0).numpy()
    inside = before.region(feature) | reference.region(feature)
    return float(change[inside].sum() / max(change.sum(), 1e-12))


def movements(
    before: Looked, after: Looked, reference: Looked, feature: str
) -> dict[str, tuple[float, float]]:
    """How far a feature moved towards the reference.

    Returns:
        by what was looked at (``landmarks``, ``blendshapes``, ``angles``): the product of the
        movement with the way to the reference, and the square of that way. Their ratio, or that
        of sums over pairs, is 0 where nothing happened and 1 where the reference was reached.
    """
    three = (before, after, reference)
    if any(x.landmarks is None for x in three):
        return {}
    found = {}
    if feature in LANDMARKS:
        found["landmarks"] = _projection(*(_shape(x.landmarks, feature) for x in three))
    if feature in SHAPES:
        some = list(SHAPES[feature])
        found["blendshapes"] = _projection(*(x.blendshapes[some] for x in three))
    if feature == "pose":
        found["angles"] = _projection(*(x.angles for x in three))
    return found


def overlaps(before: Looked, after: Looked, reference: Looked) -> dict[str, float | None]:
    """IoU of the hair: before and reference, after and reference, before and after."""
    a, b, c = (x.region("hair") for x in (before, after, reference))
    return {"before": _iou(a, c), "after": _iou(b, c), "kept": _iou(a, b)}


def _shape(landmarks: np.ndarray, feature: str) -> np.ndarray:
    """Where a feature's landmarks are about their centre."""
    some = landmarks[list(LANDMARKS[feature])]
    shape: np.ndarray = some - some.mean(0)
    return shape


def _projection(s: np.ndarray, a: np.ndarray, r: np.ndarray) -> tuple[float, float]:
    way = (r - s).ravel().astype(np.float64)
    return float((a - s).ravel() @ way), float(way @ way)


def _iou(a: np.ndarray, b: np.ndarray) -> float | None:
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else None
