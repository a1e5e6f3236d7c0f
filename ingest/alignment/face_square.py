"""The square that FFHQ's recipe cuts around a face, and views of a photo through squares.

A quad is (4, 2) float64: the corners of a (turned) square in pixels of the photo, in the order
upper left, lower left, lower right, upper right of the upright face. It may leave the photo.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageFilter

Pixels: TypeAlias = np.ndarray | Image.Image
"""A photo: (H, W, 3) uint8, or an RGB picture of Pillow's, which is not copied."""
LEFT_EYE = (33, 160, 158, 133, 153, 144)
"""The eye at the left of the picture: the landmarks nearest to dlib's 36-41."""
RIGHT_EYE = (362, 385, 387, 263, 373, 380)
MOUTH_CORNERS = (61, 291)
SCALE = 1.01
"""FFHQ was cropped by dlib's landmarks; quads from these ones come out 1% smaller."""
ALIGNED_CORNER = 0.1
"""How far each corner may be off in an aligned photo, in sides of the photo."""


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


def ffhq_quad(landmarks: np.ndarray) -> np.ndarray:
    """The quad of FFHQ's recipe for (478, 2 or 3) landmarks.

    The square stands upright on the mean of the line between the eyes and the normal of the
    line from eyes to mouth; its half side is the larger of 2.0 eye distances and 1.8 distances
    from eyes to mouth; its centre lies 0.1 of the latter below the eyes.
    """
    points = landmarks[:, :2].astype(np.float64)
    left, right = points[list(LEFT_EYE)].mean(0), points[list(RIGHT_EYE)].mean(0)
    eyes = (left + right) / 2
    eye_to_eye = right - left
    eye_to_mouth = points[list(MOUTH_CORNERS)].mean(0) - eyes
    x = eye_to_eye + np.array([eye_to_mouth[1], -eye_to_mouth[0]])
    x /= max(math.hypot(*x), 1e-9)
    x *= SCALE * max(math.hypot(*eye_to_eye) * 2.0, math.hypot(*eye_to_mouth) * 1.8)
    y = np.array([-x[1], x[0]])
    centre = eyes + eye_to_mouth * 0.1
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def side(quad: np.ndarray) -> float:
    """Length of a quad's side, pixels of the photo."""
    return math.hypot(*(quad[3] - quad[0]))


def crop_matrix(quad: np.ndarray, size: int) -> np.ndarray:
    """(2, 3) matrix from coordinates of a crop of `size` pixels to those of the photo.

    Its inverse takes points of the photo into the crop; both count from the upper left corner
    of the picture, a pixel's centre lies at .5.
    """
    return np.stack([quad[3] - quad[0], quad[1] - quad[0], quad[0] * size], axis=1) / size


def whole(width: int, height: int) -> np.ndarray:
    """The quad of a photo's own central square."""
    half = min(width, height) / 2
    x, y = width / 2, height / 2
    return np.array(
        [[x - half, y - half], [x - half, y + half], [x + half, y + half], [x + half, y - half]]
    )


def is_aligned(quad: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether a photo (H, W, ...) is a face crop already: square, and its quad is its frame."""
    height, width = shape[:2]
    if abs(width - height) > 0.01 * max(width, height):
        return False
    off = np.abs(quad - whole(width, height)).max()
    return bool(off <= ALIGNED_CORNER * min(width, height))


def crop(photo: Pixels, quad: np.ndarray, size: int) -> np.ndarray:
    """The face inside `quad`, upright.

    Where the quad leaves the photo the photo is mirrored and, away from it, blurred and faded
    to its median colour, as in FFHQ.

    Args:
        photo: (H, W, 3) uint8, or an RGB picture.
        quad: see the module's text.
        size: pixels of the result's side.

    Returns:
        (size, size, 3) uint8.
    """
    edge = side(quad)
    border = max(round(edge * 0.1), 3)  # more than is shown, to mirror and to resample from
    low = np.floor(quad.min(0)).astype(int) - border
    high = np.ceil(quad.max(0)).astype(int) + border
    picture = as_picture(photo)
    start, stop = np.maximum(low, 0), np.minimum(high, picture.size)
    if (stop - start).min() < 2:
        raise ValueError("the quad lies outside the photo")
    image = picture.crop((int(start[0]), int(start[1]), int(stop[0]), int(stop[1])))
    corners = quad - start
    shrink = math.floor(edge / size)
    if shrink > 1:  # averaged down, so that the resampling below does not alias
        image = image.reduce(shrink)
        corners, edge = corners / shrink, edge / shrink
    lack = np.concatenate([-corners.min(0), corners.max(0) - image.size])
    if lack.max() > 0:
        image = _extended(image, np.ceil(lack + 4).astype(int).clip(0), edge)
        corners = corners + np.ceil(lack[:2] + 4).clip(0)
    times = 2 if edge > size else 1  # drawn larger and averaged, where there is more to see
    a, b, c, d, e, f = (float(v) for v in crop_matrix(corners, times * size).reshape(-1))
    drawn = image.transform(
        (times * size,) * 2, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BICUBIC
    )
    return np.asarray(drawn.reduce(times))


def _extended(image: Image.Image, pad: np.ndarray, edge: float) -> Image.Image:
    """`image` with FFHQ's margins.

    Args:
        image: what there is of the photo.
        pad: (4,) pixels to add at the left, top, right and bottom.
        edge: side of the quad in pixels, which the blur and the fading go by.
    """
    left, top, right, bottom = (int(p) for p in pad)
    given = np.asarray(image)
    mirrored = np.pad(given, ((top, bottom), (left, right), (0, 0)), "reflect")
    # how far out: 0 at the photo's edge, 1 at the end of the margin, negative inside
    reach = np.where(pad > 0, np.maximum(pad, round(edge * 0.3)), np.inf)
    x = np.arange(mirrored.shape[1], dtype=np.float32) - left
    y = np.arange(mirrored.shape[0], dtype=np.float32) - top
    out_x = np.maximum(-x / reach[0], (x - image.width + 1) / reach[2])
    out_y = np.maximum(-y / reach[1], (y - image.height + 1) / reach[3])
    out = np.maximum(out_x[None], out_y[:, None]).astype(np.float32)[..., None]
    soft = Image.fromarray(mirrored).filter(ImageFilter.GaussianBlur(edge * 0.02))
    result = mirrored.astype(np.float32)
    result += (np.asarray(soft) - result) * np.clip(out * 3 + 1, 0, 1)
    result += (_median(given) - result) * np.clip(out, 0, 1)
    return Image.fromarray(np.clip(result.round(), 0, 255).astype(np.uint8))


def _median(pixels: np.ndarray) -> np.ndarray:
    """(3,) float32 median colour of (H, W, 3) uint8, each channel by itself."""
    counts = [np.bincount(pixels[..., c].reshape(-1), minlength=256).cumsum() for c in range(3)]
    return np.array([np.searchsorted(c, c[-1] / 2) for c in counts], dtype=np.float32)
