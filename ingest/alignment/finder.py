"""Finding the faces of a photo."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ris.ingest.alignment import face_square as quads
from ris.ingest.alignment.detector import (
    OVERLAP,
    SCORE,
    SIZE,
    Detection,
    close_looks,
    convincing,
    detect,
    is_turned,
    overlap,
    tilings,
    turn_wins,
)
from ris.ingest.alignment.face_square import Pixels, Pyramid, square_matrix
from ris.ingest.alignment.landmarker_file import Networks, load_networks
from ris.ingest.alignment.landmarks import (
    find_blendshapes,
    head_pose,
    landmark_angle,
    landmarks_near,
    turn_between,
)
from ris.once import once

SECOND_LOOKS = ((1.6, 0), (1.0, 0), (1.2, 90), (1.2, -90), (1.2, 180))
"""Side of the square that is looked at, in sides of the photo, and its turn in degrees."""
PRESENCE = 0.5
"""Belief of the landmark network below which a detection is no face."""
SETTLED = 0.0125
"""Mean move of the landmarks from one look to the next, in sides of their box, at which they
have settled. On a face they do so at once; on what only resembles one they wander."""
STEADY = 5.0
"""Degrees of turn from one look to the next up to which a clear face need not settle: found askew,
its landmarks come upright over several looks."""
PASSES = 4
"""Further looks at a face until then."""
SAME = 0.15
"""Distance of two quads' centres, in sides of the larger, below which they show one face; the
eyes of one face are 0.25 apart."""
CLEAR = 0.75
"""Detector score at which there is a face for sure; what only resembles one stays below."""
SEEN = 0.7
"""Detector score at which a photo without landmarks is said to show something like a face."""
FAINT = 0.25
"""Detector score that is enough where nothing else was found."""


@dataclass(frozen=True)
class Face:
    """A face in a photo; all coordinates in pixels from the photo's upper left corner.

    Attributes:
        box: (4,) float64 x0, y0, x1, y1 around the landmarks.
        landmarks: (478, 3) float64, z in pixels too, away from the viewer.
        yaw, pitch, roll: degrees, see `ris.ingest.alignment.landmarks.head_pose`.
        blendshapes: (52,) float32, 0 to 1, in the order of
            `ris.data.blendshapes.BLENDSHAPES`.
        score: the landmark network's belief that this is a face, 0 to 1.
        quad: (4, 2) float64, the FFHQ square, see `ris.ingest.alignment.face_square`.
    """

    box: np.ndarray
    landmarks: np.ndarray
    yaw: float
    pitch: float
    roll: float
    blendshapes: np.ndarray
    score: float
    quad: np.ndarray


class FaceFinder:
    """Finds faces; the networks are loaded on first use. Any number of threads may share one."""

    @once
    def _networks(self) -> Networks:
        return load_networks()

    def find(self, photo: Pixels, *, largest: bool = False) -> list[Face]:
        """The faces of a photo, largest first.

        Args:
            photo: (H, W, 3) uint8, or an RGB picture; upright.
            largest: stop looking for smaller faces once a size of tiles shows one; the result
                then holds the faces of that size and above.

        Returns:
            the faces, by falling side of their quads; empty if there is none.
        """
        return self.look(photo, largest=largest)[0]

    def look(self, photo: Pixels, *, largest: bool = False) -> tuple[list[Face], bool]:
        """What `find` gives, and whether the detector sees a face of any size, be its landmarks
        found or not."""
        views = Pyramid(photo)
        faces: list[Face] = []
        seen = False
        for tiles in tilings(views.width, views.height):
            detections = self._detect(views, tiles, SCORE)
            seen |= any(detection.score >= SEEN for detection in detections)
            faces += self._confirmed(views, detections, faces)
            if largest and faces:
                break
        if not faces:
            faces = self._second_look(views)
        return _distinct(faces), seen

    def _second_look(self, photo: Pyramid) -> list[Face]:
        """A face that fills the photo, lies on its side, or is hard to see."""
        side = float(max(photo.width, photo.height))
        centre = (photo.width / 2, photo.height / 2)
        for zoom, turn in SECOND_LOOKS:
            square = square_matrix(centre, zoom * side, math.radians(turn), SIZE)
            faces = self._confirmed(photo, self._detect(photo, [square], FAINT), [])
            if faces:
                return faces
        return []

    def _detect(
        self, photo: Pyramid, squares: Iterable[np.ndarray], score: float
    ) -> list[Detection]:
        """What the detector sees in squares, all of one size: the surest first."""
        network = self._networks.detector
        found = [d for square in squares for d in detect(network, photo, square, score)]
        return sorted(found, key=lambda d: -d.score)

    def _confirmed(
        self, photo: Pyramid, detections: list[Detection], known: list[Face]
    ) -> list[Face]:
        """The faces of detections that are not among those `known`."""
        faces: list[Face] = []
        for detection in detections:
            boxes = np.array([f.box for f in (*known, *faces)]).reshape(-1, 4)
            # only what turned out to be a face may hide another detection: at a coarse look
            # the detector's boxes are often too far off for the landmarks
            if (overlap(detection.box, boxes) > OVERLAP).any():
                continue
            face = self._face(photo, detection)
            if face is not None:
                faces.append(face)
        return faces

    def _first_landmarks(
        self, photo: Pyramid, detection: Detection
    ) -> tuple[np.ndarray, float, bool]:
        """The landmarks of a detection the right way up, the belief in them, and whether that is
        another way up than the detection's."""
        network = self._networks.landmarks
        points, presence = landmarks_near(network, photo, detection)
        if convincing(detection, presence):
            return points, presence, False
        angle = math.degrees(landmark_angle(points))
        looks = close_looks(self._networks.detector, photo, detection, angle, presence)
        best = max(looks, key=lambda d: d.score, default=None)
        if best is None:
            return points, presence, False
        turned = is_turned(best, angle)
        if turned or presence < PRESENCE:  # a closer box may show landmarks where a coarse did not
            again, belief = landmarks_near(network, photo, best)
            if turn_wins(best, looks, angle, presence, belief) if turned else belief > presence:
                return again, belief, turned
        return points, presence, False

    def _face(self, photo: Pyramid, detection: Detection) -> Face | None:
        """The face of a detection if the landmark network sees it too: if its landmarks settle,
        or the detection is clear, and it believes in a face to the end."""
        network = self._networks.landmarks
        points, presence, turned = self._first_landmarks(photo, detection)
        # the detector's word counts less where it saw the face another way up
        clear = detection.score >= CLEAR and not turned
        settled = steady = False
        for _ in range(PASSES):
            if presence < PRESENCE or settled or (steady and clear):
                break
            before = points
            points, presence = landmarks_near(network, photo, before)
            move = np.linalg.norm(points - before, axis=1).mean()
            steady = turn_between(before, points) < STEADY
            settled = move < SETTLED * math.sqrt(np.prod(np.ptp(points[:, :2], axis=0)))
        if presence < PRESENCE or not (settled or clear):
            return None
        yaw, pitch, roll = head_pose(points, self._networks.canonical)
        return Face(
            box=np.concatenate([points[:, :2].min(0), points[:, :2].max(0)]),
            landmarks=points,
            yaw=yaw,
            pitch=pitch,
            roll=roll,
            blendshapes=find_blendshapes(self._networks.blendshapes, points),
            score=presence,
            quad=quads.ffhq_quad(points),
        )


def _distinct(faces: list[Face]) -> list[Face]:
    """The faces without doubles (the surer one stays), largest first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: -f.score):
        if not any(same_face(face.quad, other.quad) for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda f: (-quads.side(f.quad), *f.box))


def same_face(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two quads of one photo belong to the same face: their centres are closer than two
    heads can be."""
    apart = math.hypot(*(first.mean(0) - second.mean(0)))
    return apart < SAME * max(quads.side(first), quads.side(second))
