"""Are eyes, nose, mouth and contour where they were?"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from benchmarks.measures.measure import Values
from benchmarks.measures.pixels import scaled
from ris.images import to_pixels
from ris.ingest.alignment.face_square import LEFT_EYE, RIGHT_EYE
from ris.ingest.alignment.finder import FaceFinder


class LandmarkError:
    """Mean distance of the 478 landmarks of both pictures, in distances between the eyes."""

    higher_is_better: ClassVar[dict[str, bool]] = {"landmark_error": False}
    SIZE = 512

    def __init__(self) -> None:
        self._finder = FaceFinder()

    def describe(self, picture: torch.Tensor) -> np.ndarray | None:
        """(478, 2) in pixels of 512; None where no face is found."""
        faces = self._finder.find(to_pixels(scaled(picture, self.SIZE)[0]), largest=True)
        return faces[0].landmarks[:, :2] if faces else None

    def compare(self, photo: np.ndarray | None, other: np.ndarray | None) -> Values:
        """By the photo's eyes."""
        if photo is None or other is None:
            return {"landmark_error": None}
        eyes = photo[list(LEFT_EYE)].mean(0) - photo[list(RIGHT_EYE)].mean(0)
        distances = np.linalg.norm(photo - other, axis=1)
        return {"landmark_error": float(distances.mean() / np.linalg.norm(eyes))}
