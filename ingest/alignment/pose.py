"""Which way a head is turned."""

from __future__ import annotations

import math

import numpy as np

from ris.ingest.alignment.landmarker_file import CanonicalFace


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
