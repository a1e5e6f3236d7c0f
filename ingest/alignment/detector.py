"""Where faces may be, and which way up they are: BlazeFace over the whole photo, over overlapping
tiles of it, and in close looks.

The detector sees faces in any turn, upright ones best: in a close look it gives .93 (median) to an
upright face, .8 to one on its side, .67 to one upside down. The landmark network never corrects a
turn of 90° or more: it settles on an upright face that is not there, though with less belief. So a
turn is decided before the landmarks are, by scores of looks that differ in nothing but their turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ris.ingest.alignment.face_square import Pyramid, square_matrix
from ris.ingest.alignment.landmarker_file import Network

SIZE = 128
"""Pixels of the detector's input."""
SCORE = 0.5
OVERLAP = 0.3
"""Intersection over union from which two boxes are the same face."""
KEYPOINTS = 6
FINEST = 384
"""Pixels of the smallest tiles, whatever the photo's size; each larger size is twice the one
before. The detector sees most faces whose FFHQ square is a fifth of a tile and nearly all from a
quarter, so they are found down to 20 to 24 px between the eyes."""
STEP = 2 / 3
"""Distance of two tiles' centres, in their sides. Up to the size at which the next larger tiles
show it well, a face of 0.3 tiles, it lies whole in one of these."""
CLOSE = 2.5
"""Side of the square of a close look, in sides of the face's box."""
FAR = 4.0
"""Side from which a look is one from afar: there the detector's eyes often do not tell an upright
face from one on its side. From nearer they do, but for upside down."""
FAINTEST = 0.05
"""Score below which a close look shows nothing."""
UPRIGHT, LIKELY = 0.85, 0.75
"""Scores that one and about ten of a hundred faces reach which are upside down."""
BELIEF, CONVICTION = 10.0, 17.0
"""Log odds of the landmark network that few and hardly any of a hundred faces reach in a wrong
turn, but 97 and 75 in the right one."""
WEIGHT = 4.0
"""What the detector's log odds count when those of the landmark network count one; its right and
wrong turns are much better apart."""


@dataclass(frozen=True)
class Detection:
    """A face that the detector saw.

    Attributes:
        score: 0 to 1.
        box: (4,) x0, y0, x1, y1 in pixels of the photo.
        eyes: (2, 2) centres of the eyes, the one at the left of an upright face first.
        looked_at: side in pixels of the square that the detector looked at.
    """

    score: float
    box: np.ndarray
    eyes: np.ndarray
    looked_at: float

    @property
    def side(self) -> float:
        """The longer side of the box, pixels."""
        return float((self.box[2:] - self.box[:2]).max())


def _anchors() -> np.ndarray:
    """(896, 2) centres of the detector's cells in its input, 0 to 1: two for each of 16x16
    cells, six for each of 8x8."""
    result = []
    for cells, each in ((16, 2), (8, 6)):
        centre = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(centre, centre, indexing="ij")
        result.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), each, axis=0))
    return np.concatenate(result)


ANCHORS = _anchors()


def detect(network: Network, photo: Pyramid, matrix: np.ndarray, score: float) -> list[Detection]:
    """Faces in the square that `matrix` cuts out of the photo, in coordinates of the photo."""
    out = network(photo.view(matrix, SIZE)[None] / np.float32(127.5) - np.float32(1))
    logits = np.clip(out["classificators"].reshape(-1), -100, 100)
    threshold = math.log(score / (1 - score))
    kept = np.flatnonzero(logits >= threshold)
    if not len(kept):
        return []
    scores = 1 / (1 + np.exp(-logits[kept].astype(np.float64)))
    raw = out["regressors"].reshape(len(ANCHORS), 2 + KEYPOINTS, 2)[kept].astype(np.float64)
    centre = raw[:, 0] + ANCHORS[kept] * SIZE
    keypoints = raw[:, 2:] + ANCHORS[kept, None] * SIZE
    boxes = np.concatenate([centre - raw[:, 1] / 2, centre + raw[:, 1] / 2], axis=1)
    found = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        same = overlap(boxes[left[0]], boxes[left]) > OVERLAP
        same[0] = True
        group, left = left[same], left[~same]
        weight = scores[group] / scores[group].sum()  # all that agree, by score
        corners = (weight[:, None] * boxes[group]).sum(0)
        eyes = (weight[:, None, None] * keypoints[group, :2]).sum(0)
        found.append(_in_photo(float(scores[group[0]]), corners, eyes, matrix))
    return found


def _in_photo(score: float, box: np.ndarray, eyes: np.ndarray, matrix: np.ndarray) -> Detection:
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    centre = matrix[:, :2] @ ((box[:2] + box[2:]) / 2) + matrix[:, 2]
    half = scale * np.abs(box[2:] - box[:2]) / 2
    return Detection(
        score=score,
        box=np.concatenate([centre - half, centre + half]),
        eyes=eyes @ matrix[:, :2].T + matrix[:, 2],
        looked_at=scale * SIZE,
    )


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,) intersection over union of one box (4,) with boxes (N, 4)."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    union = area + np.prod(box[2:] - box[:2]) - common
    result: np.ndarray = common / np.maximum(union, 1e-9)
    return result


def tilings(width: int, height: int) -> Iterator[list[np.ndarray]]:
    """Matrices of the squares to look into, from the whole photo to ever smaller tiles.

    The sizes of tiles are the same in all photos, so that a face is found or missed for its own
    size, not for the photo's.
    """
    whole = float(max(width, height))
    yield [square_matrix((width / 2, height / 2), whole, 0.0, SIZE)]
    side = float(FINEST)
    while 2 * side < whole:
        side *= 2
    while FINEST <= side < whole:
        yield [
            square_matrix((x, y), side, 0.0, SIZE)
            for y in _centres(height, side)
            for x in _centres(width, side)
        ]
        side /= 2


def _centres(length: int, side: float) -> np.ndarray:
    if length <= side:
        return np.array([length / 2])
    number = math.ceil((length - side) / (STEP * side)) + 1
    return np.linspace(side / 2, length - side / 2, number)


def log_odds(probability: float) -> float:
    """Of a probability, within 40."""
    return math.log(max(probability, 4e-18) / max(1 - probability, 4e-18))


def eye_angle(found: Detection) -> float:
    """Degrees clockwise by which the detector says that a face is turned."""
    across = found.eyes[1] - found.eyes[0]
    return math.degrees(math.atan2(across[1], across[0]))


def is_turned(found: Detection, angle: float) -> bool:
    """Whether the detector says another way up than `angle`, degrees clockwise."""
    return abs((eye_angle(found) - angle + 180) % 360 - 180) > 45


def convincing(found: Detection, presence: float) -> bool:
    """Whether a face is surely the way up that the detector says, without closer looks.

    Args:
        found: what the detector saw.
        presence: the landmark network's belief in a face that way up, 0 to 1.
    """
    belief = log_odds(presence)
    if _is_far(found):
        return found.score >= UPRIGHT and belief >= CONVICTION
    return (found.score >= UPRIGHT and belief >= BELIEF) or (
        found.score >= LIKELY and belief >= CONVICTION
    )


def close_looks(
    network: Network, photo: Pyramid, found: Detection, angle: float, presence: float
) -> list[Detection]:
    """The same face in close looks of equal size, one for each turn that shows it.

    A face seen from afar is looked at in four turns, the photo's own first; one seen from nearer as
    it seems to stand, and upside down. If the first look convinces there are no further ones.

    Args:
        network: the detector.
        photo: where the face is.
        found: what the detector saw.
        angle: of the landmarks found from there, degrees clockwise.
        presence: the landmark network's belief in them, 0 to 1.
    """
    looks: list[Detection] = []
    x, y = (found.box[:2] + found.box[2:]) / 2
    first = 0.0 if _is_far(found) else eye_angle(found)
    for turn in (0, 180, 90, 270) if _is_far(found) else (0, 180):
        across = math.radians(first + turn)
        square = square_matrix((x, y), CLOSE * found.side, across, SIZE)
        seen = [
            d
            for d in detect(network, photo, square, FAINTEST)
            if overlap(found.box, d.box[None])[0] > OVERLAP
        ]
        if seen:
            looks.append(max(seen, key=lambda d: d.score))
        if turn == 0 and seen and convincing(looks[0], presence) and not is_turned(looks[0], angle):
            break
    return looks


def _is_far(found: Detection) -> bool:
    return found.looked_at > FAR * found.side


def turn_wins(
    best: Detection, looks: list[Detection], angle: float, presence: float, belief: float
) -> bool:
    """Whether a face is the way up that its best close look says, rather than that of landmarks
    found before.

    Args:
        best: of the close looks.
        looks: all of them.
        angle: of those landmarks, degrees clockwise.
        presence: the landmark network's belief in them, 0 to 1.
        belief: and that in the landmarks found from `best`.
    """
    score = max((d.score for d in looks if not is_turned(d, angle)), default=FAINTEST)
    gain = WEIGHT * (log_odds(best.score) - log_odds(score))
    return gain + log_odds(belief) - log_odds(presence) > 0
