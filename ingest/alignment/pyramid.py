"""A photo at falling sizes, and square views cut out of it."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from PIL import Image

Pixels: TypeAlias = np.ndarray | Image.Image
"""A photo: (H, W, 3) uint8, or an RGB picture of Pillow's, which is not copied."""


def as_picture(photo: Pixels) -> Image.Image:
    """The photo as Pillow has it."""
    if isinstance(photo, Image.Image):
        return photo
    return Image.fromarray(np.ascontiguousarray(photo))


class Pyramid:
    """A photo at halves of its size, made when asked for: views of any size are cheap and do not
    alias.

    Coordinates are those of the photo, in pixels from its upper left corner (a pixel's centre
    lies at .5).

    Args:
        photo: (H, W, 3) uint8, or an RGB picture.
    """

    def __init__(self, photo: Pixels) -> None:
        self._levels = {0: as_picture(photo)}
        self.width, self.height = self._levels[0].size

    def _level(self, number: int) -> Image.Image:
        """The photo, halved that often: by quarters, so that most of it is read once, and the same
        whatever was asked for before."""
        if number not in self._levels:
            factor = 2 if number % 2 else 4
            self._levels[number] = self._level(number - factor // 2).reduce(factor)
        return self._levels[number]

    def view(self, matrix: np.ndarray, size: int) -> np.ndarray:
        """The square that `matrix` cuts out, black where it leaves the photo.

        Args:
            matrix: (2, 3), from coordinates of the view in pixels to those of the photo.
            size: pixels of the view's side.

        Returns:
            (size, size, 3) uint8.
        """
        step = math.hypot(matrix[0, 0], matrix[1, 0])  # photo pixels a pixel of the view
        number = max(0, round(math.log2(max(step, 1e-6))))
        a, b, c, d, e, f = (float(v) for v in matrix.reshape(-1) / 2**number)
        cut = self._level(number).transform(
            (size, size), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR
        )
        return np.asarray(cut)


def square_matrix(centre: tuple[float, float], side: float, angle: float, size: int) -> np.ndarray:
    """(2, 3) matrix from a view of `size` pixels to a turned square of the photo.

    Args:
        centre: of the square, photo pixels.
        side: of the square, photo pixels.
        angle: radians by which the square is turned clockwise (as seen, y points down).
        size: pixels of the view's side.
    """
    cos, sin = math.cos(angle) * side / size, math.sin(angle) * side / size
    half = size / 2
    return np.array(
        [
            [cos, -sin, centre[0] - cos * half + sin * half],
            [sin, cos, centre[1] - sin * half - cos * half],
        ]
    )
