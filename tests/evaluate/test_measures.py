"""The benchmarks' measures: what they must and must not react to."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.inversion_fidelity import Method, measure
from benchmarks.measures.codes import Codes
from benchmarks.measures.landmark_distance import LandmarkError
from benchmarks.measures.paired_results import Results, as_table, summary
from benchmarks.measures.parsing import FaceParser, region_overlap
from benchmarks.measures.pixels import FeatureDistance, PixelError, scaled
from ris.errors import RisError


def test_region_overlap_by_hand():
    first, second = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    first[0, :2] = 4  # left eye
    second[0, 1:3] = 3  # a brow, of the eyes' region
    first[1] = second[1] = 17
    second[2] = 10
    assert region_overlap(first, second) == {
        "iou_eyes": pytest.approx(1 / 3),
        "iou_nose": 0,
        "iou_mouth": None,
        "iou_hair": 1,
    }


def test_psnr_by_hand():
    measured = PixelError()
    black = measured.describe(torch.full((1, 3, 256, 256), -1.0))
    grey = measured.describe(torch.full((1, 3, 64, 64), -0.8))
    assert measured.compare(black, grey)["psnr_128"] == pytest.approx(20)  # 10 log10(4 / 0.04)
    assert measured.compare(black, black)["psnr_128"] == pytest.approx(10 * np.log10(4e10))


@pytest.fixture(scope="module")
def pictures(generator):
    """Two faces, (1, 3, 1024, 1024) each."""
    z = torch.randn(2, generator.latent_size, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        w = generator.mapping(z) * 0.7
        return [generator.render(generator.sigma(row[None])) for row in w]


@torch.no_grad()
def test_feature_distance_grows_with_the_change(pictures):
    measured = FeatureDistance()
    photo, other = pictures
    little = photo + 0.1 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    described = [measured.describe(x) for x in (photo, little, other)]
    same, near, far = (measured.compare(described[0], d)["mobilenet_distance"] for d in described)
    assert same == pytest.approx(0, abs=1e-6)
    assert same < near < far < 2


@torch.no_grad()
def test_landmark_error_is_in_eye_distances(pictures):
    measured = LandmarkError()
    photo = pictures[0]
    before = measured.describe(photo)
    assert before is not None
    # an eye distance is a quarter of an FFHQ crop: 1/16 of the picture is a quarter of it
    moved = measured.describe(photo.roll(64, dims=-1))
    error = measured.compare(before, moved)["landmark_error"]
    assert error == pytest.approx(0.25, abs=0.05)
    assert measured.compare(before, before)["landmark_error"] == 0
    nothing = measured.describe(torch.zeros(1, 3, 64, 64))
    assert nothing is None
    assert measured.compare(before, nothing)["landmark_error"] is None


def test_identity_tells_faces_apart(pictures):
    pytest.importorskip("dlib", reason="dlib is not installed (extra `bench`)")
    from benchmarks.measures.identity import DlibIdentity

    measured = DlibIdentity()
    darker = pictures[0] * 0.8 - 0.1
    a, b, c = (measured.describe(scaled(x, 512)) for x in (pictures[0], darker, pictures[1]))
    assert measured.compare(a, b)["identity_dlib"] > 0.97
    assert measured.compare(a, c)["identity_dlib"] < 0.93


def test_a_missing_parser_says_what_to_do(tmp_path):
    with pytest.raises(RisError, match="name its folder with --models"):
        FaceParser(tmp_path)


def test_a_benchmark_goes_on_where_it_stopped(generator, faces, tmp_path):
    """A stopped run keeps what it has; another fingerprint is another method."""
    photos = []
    for name in ("seed000100.jpg", "seed000101.jpg", "seed000102.jpg"):
        photos.append(tmp_path / name)
        shutil.copy(faces / name, tmp_path)
    with torch.no_grad():
        mean = generator.mapping(torch.zeros(1, generator.latent_size))
    code = mean[:, None].expand(-1, generator.layout.rows, -1)
    calls = []

    def invert(x: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return code.expand(len(x), -1, -1)

    method = Method("mean", "a", invert)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        measure(photos, [method], lambda: [PixelError()], generator, Results(out), Codes(out), 2)
    keys = measure(photos, [method], lambda: [PixelError()], generator, Results(out), Codes(out), 2)
    assert calls == [2, 1, 1]
    measure(photos, [method], lambda: [PixelError()], generator, Results(out), Codes(out), 2)
    assert calls == [2, 1, 1]
    found = summary(keys, [method], Results(out))
    assert found["mean"]["psnr_128"]["n"] == 3
    values = json.loads((out / "values.json").read_text())
    psnr = [v["psnr_128"] for v in values.values()]
    assert found["mean"]["psnr_128"]["mean"] == pytest.approx(np.mean(psnr))
    assert "| mean | " in as_table("set", found, 3)
    with Image.open(Results(out).thumbnail(keys[0], method)) as kept:
        assert kept.size == (256, 256)
    assert Results(out).get(keys[0], Method("mean", "b", invert)) is None
