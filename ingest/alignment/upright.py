"""Which way up a face is.

The detector sees faces in any turn, upright ones best: in a close look it gives .93 (median) to an
upright face, .8 to one on its side, .67 to one upside down. The landmark network never corrects a
turn of 90° or more: it settles on an upright face that is not there, though with less belief. So a
turn is decided before the landmarks are, by scores of looks that differ in nothing but their turn.
"""

from __future__ import annotations

import math

from ris.ingest.alignment.detector import OVERLAP, SIZE, Detection, detect, overlap
from ris.ingest.alignment.landmarker_file import Network
from ris.ingest.alignment.pyramid import Pyramid, square_matrix

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
