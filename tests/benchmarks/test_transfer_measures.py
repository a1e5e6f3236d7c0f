"""The measures of `benchmarks.transfer_quality`, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.measures.transfer_effect import (
    LANDMARKS,
    SHAPES,
    Looked,
    locality,
    movements,
    overlaps,
)
from benchmarks.transfer_quality import summary
from ris.data.blendshapes import BLENDSHAPES


def looked(
    mouth: slice = slice(0, 0),
    *,
    hair: slice = slice(0, 0),
    value: float = 0.0,
    landmarks: np.ndarray | None = None,
    smile: float = 0.0,
    yaw: float = 0.0,
) -> Looked:
    """A picture of 448 rows of which some are mouth and some are hair."""
    pixels, classes = torch.zeros(3, 448, 448), np.zeros((448, 448), np.uint8)
    classes[mouth], classes[hair] = 12, 17
    pixels[:, mouth] = value
    shapes = np.zeros(52, np.float32)
    shapes[BLENDSHAPES.index("mouth_smile_left")] = smile
    found = landmarks is not None
    return Looked(
        pixels,
        classes,
        landmarks,
        shapes if found else None,
        np.array([yaw, 0.0]) if found else None,
        torch.ones(4) / 2,
    )


def test_locality_counts_the_region_of_either_face():
    before, reference = looked(slice(0, 10)), looked(slice(20, 30))
    after = looked(slice(0, 10))
    after.pixels[:, 5:10] = 1  # inside the source's mouth: 5 rows of 1
    after.pixels[:, 25:30] = 1  # inside the reference's
    after.pixels[:, 100:110] = 2  # outside: 10 rows of 4
    assert locality(before, after, reference, "mouth") == pytest.approx(10 / 50)
    assert locality(before, before, reference, "mouth") == 0


def test_movement_is_measured_along_the_way_to_the_reference():
    rest = np.random.default_rng(0).random((478, 2))
    lips = list(LANDMARKS["mouth"])
    wide = rest.copy()
    wide[lips] = rest[lips].mean(0) + 2 * (rest[lips] - rest[lips].mean(0))
    half = rest.copy()
    half[lips] = 0.5 * (rest + wide)[lips]
    half += 0.3  # a shift of the whole face is not the mouth's
    before, after, reference = (
        looked(landmarks=marks, smile=smile, yaw=yaw)
        for marks, smile, yaw in ((rest, 0.2, 10), (half, 0.4, -10), (wide, 1.0, -30))
    )
    mouth = movements(before, after, reference, "mouth")
    assert set(mouth) == {"landmarks", "blendshapes"}
    assert mouth["landmarks"][0] / mouth["landmarks"][1] == pytest.approx(0.5)
    assert mouth["blendshapes"][0] / mouth["blendshapes"][1] == pytest.approx(0.25)
    along, square = movements(before, after, reference, "pose")["angles"]
    assert (along, square) == (800, 1600)
    assert set(movements(before, after, reference, "nose")) == {"landmarks"}
    assert movements(before, looked(), reference, "mouth") == {}
    assert len(set(lips)) == len(lips) == 40
    assert all(BLENDSHAPES[i].startswith(("eye_", "brow_")) for i in SHAPES["eyes"])


def test_overlaps_of_hair():
    before, after, reference = (looked(hair=slice(*rows)) for rows in ((0, 10), (0, 20), (10, 20)))
    assert overlaps(before, after, reference) == {"before": 0, "after": 0.5, "kept": 0.5}
    assert overlaps(looked(), looked(), reference)["kept"] is None


def row(method: str, feature: str, **given) -> dict:
    rest = {
        "moved": {},
        "identity": 0.5,
        "hair": {"before": 0.2, "after": 0.6, "kept": 0.8},
        "yaw_source": 0.0,
        "yaw_after": None,
        "yaw_reference": None,
    }
    return {"method": method, "feature": feature} | rest | given


def test_summaries_are_ratios_of_sums():
    rows = [
        row("a", "eyes", locality=0.2, moved={"landmarks": [1.0, 1.0]}),
        row("a", "eyes", locality=0.4, moved={"landmarks": [0.0, 3.0]}, identity=0.7),
        row("b", "eyes", locality=0.9),
        row("a", "hair", locality=0.5),
        *(row("a", "pose", yaw_after=2.0 * y, yaw_reference=1.0 * y) for y in (-3, 0, 5)),
    ]
    found = summary(rows)
    assert found["eyes"]["a"] == pytest.approx(
        {"pairs": 2, "locality": 0.3, "landmarks": 0.25, "identity": 0.6}
    )
    assert "landmarks" not in found["eyes"]["b"]
    assert found["hair"]["a"]["hair IoU"] == pytest.approx(0.5)
    assert found["pose"]["a"]["yaw correlation"] == pytest.approx(1)
    assert found["pose"]["a"]["hair kept"] == pytest.approx(0.8)
