"""478 points on a face, the 52 blendshapes and the turn of the head that follow from them."""

from __future__ import annotations

import math

import numpy as np

from ris.ingest.alignment.detector import Detection
from ris.ingest.alignment.face_square import Pyramid, square_matrix
from ris.ingest.alignment.landmarker_file import CanonicalFace, Network

SIZE = 256
"""Pixels of the landmark network's input."""
POINTS = 478
ROOM = 1.5
"""Side of the square given to the network, in sides of the face's box."""
OUTER_CORNERS = (33, 263)
"""Outer corners of the eyes, which define upright."""
# The landmarks that the blendshape network looks at.
# fmt: off
_WATCHED = np.array([
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65,
    66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136,
    144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172,
    173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276,
    282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321,
    323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382,
    384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470,
    471, 472, 473, 474, 475, 476, 477,
])
# fmt: on


def landmarks_near(
    network: Network, photo: Pyramid, face: Detection | np.ndarray
) -> tuple[np.ndarray, float]:
    """`find_landmarks` in the square around a face that was detected, or around landmarks
    (478, 3) that were found before."""
    square = _known_square(face) if isinstance(face, np.ndarray) else _seen_square(face)
    return find_landmarks(network, photo, square)


def _seen_square(found: Detection) -> np.ndarray:
    across = found.eyes[1] - found.eyes[0]
    x, y = (found.box[:2] + found.box[2:]) / 2
    return square_matrix((x, y), ROOM * found.side, math.atan2(across[1], across[0]), SIZE)


def landmark_angle(points: np.ndarray) -> float:
    """Radians clockwise by which the eyes of landmarks (478, 3) are turned."""
    across = points[OUTER_CORNERS[1], :2] - points[OUTER_CORNERS[0], :2]
    return math.atan2(across[1], across[0])


def turn_between(first: np.ndarray, second: np.ndarray) -> float:
    """Degrees by which the eyes are turned between two sets of landmarks, either way."""
    turn = math.degrees(landmark_angle(second) - landmark_angle(first))
    return abs((turn + 180) % 360 - 180)


def _known_square(points: np.ndarray) -> np.ndarray:
    plane = points[:, :2]
    angle = landmark_angle(points)
    upright = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned = plane @ upright.T
    low, high = turned.min(0), turned.max(0)
    centre = upright.T @ ((low + high) / 2)
    return square_matrix((centre[0], centre[1]), ROOM * float((high - low).max()), angle, SIZE)


def find_landmarks(
    network: Network, photo: Pyramid, matrix: np.ndarray
) -> tuple[np.ndarray, float]:
    """The landmarks of the face in a square of the photo.

    Returns:
        (478, 3) float64: x, y in pixels of the photo, z in the same unit, away from the viewer,
        and the network's belief that there is a face, 0 to 1.
    """
    out = network(photo.view(matrix, SIZE)[None] / np.float32(255))
    points = out["Identity"].reshape(POINTS, 3).astype(np.float64)
    presence = 1 / (1 + math.exp(-float(np.clip(out["Identity_1"].reshape(()), -100, 100))))
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    plane = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([plane, points[:, 2:] * scale], axis=1), presence


def find_blendshapes(network: Network, points: np.ndarray) -> np.ndarray:
    """`ris.data.blendshapes.BLENDSHAPES` (52,) float32, 0 to 1, for landmarks (478, 3)."""
    (result,) = network(points[_WATCHED, :2][None]).values()
    return result.reshape(-1).astype(np.float32)


def head_pose(landmarks: np.ndarray, canonical: CanonicalFace) -> tuple[float, float, float]:
    """Yaw, pitch and roll of a head in degrees.

    The rotation that best turns the canonical face (a rigid body, scaled and moved as needed)
    into the landmarks; least squares over the points that hardly move with the expression,
    weighted as the canonical face says. The camera is taken to be far away (scaled
    orthographic), so the result depends neither on where in the photo a face is nor on its size.

    Args:
        landmarks: (>= 468, 3), pixels, y pointing down, z away from the viewer.
        canonical: the face to compare with.

    Returns:
        yaw: positive when the face looks to the right side of the picture.
        pitch: positive when it looks up.
        roll: positive when the head is tilted clockwise, as the viewer sees it.
        The head is first tilted (roll), then raised (pitch), then turned (yaw) about its own
        axes: R = R_z(-roll) R_x(-pitch) R_y(yaw) in a frame with x right, y up, z to the viewer.
    """
    rotation = _rotation(landmarks, canonical)
    # R = Rz(c) Rx(a) Ry(b) has these entries in its last row and second column
    pitch = math.asin(max(-1.0, min(1.0, rotation[2, 1])))
    yaw = math.atan2(-rotation[2, 0], rotation[2, 2])
    roll = math.atan2(-rotation[0, 1], rotation[1, 1])
    return math.degrees(yaw), -math.degrees(pitch), -math.degrees(roll)


def _rotation(landmarks: np.ndarray, canonical: CanonicalFace) -> np.ndarray:
    """(3, 3) rotation from the canonical face to the landmarks (Kabsch's algorithm)."""
    used = np.flatnonzero(canonical.weights)
    weight = canonical.weights[used] / canonical.weights[used].sum()
    source = canonical.points[used]
    target = landmarks[used].astype(np.float64) * (1, -1, -1)
    source = source - weight @ source
    target = target - weight @ target
    u, _, vt = np.linalg.svd(target.T @ (weight[:, None] * source))
    proper = np.diag([1.0, 1.0, math.copysign(1.0, float(np.linalg.det(u @ vt)))])
    result: np.ndarray = u @ proper @ vt
    return result
