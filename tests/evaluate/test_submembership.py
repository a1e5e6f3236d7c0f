from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ris.data.shards import vectors
from ris.errors import InputError
from ris.evaluate.cluster_sheet import draw_sheet, find_clusters
from ris.evaluate.submembership import (
    common_ratio,
    draw_faces,
    evaluate_submembership,
    feature_rows,
    group_means,
    intersection_ratio,
    ratio_of,
    top_channels,
)
from ris.ingest.run import ingest_collection
from ris.method.masks import eligible_channels


def test_top_channels_by_hand():
    centres = torch.tensor([[0.1, 0.9, 0.5, 0.5], [0.7, 0.0, 0.2, 0.1]])
    assert top_channels(centres, 2).tolist() == [[1, 2], [0, 2]]
    with pytest.raises(ValueError, match="top 5 of 4 channels"):
        top_channels(centres, 5)


def test_intersection_ratio_by_hand():
    # shared: {1, 2} and {2, 3} one of two, {1, 2} and {8, 1} one, {2, 3} and {8, 1} none
    tops = torch.tensor([[1, 2], [2, 3], [8, 1]])
    assert intersection_ratio(tops) == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert intersection_ratio(torch.tensor([[4, 7], [7, 4]])) == 1
    assert intersection_ratio(torch.tensor([[0, 1], [2, 3]])) == 0
    assert common_ratio(tops) == 0
    # 3 is in all, 5 in two of three
    assert common_ratio(torch.tensor([[3, 5], [5, 3], [3, 0]])) == 0.5
    for ratio in (intersection_ratio, common_ratio):
        with pytest.raises(ValueError, match="two groups at least"):
            ratio(tops[:1])


def test_group_means_by_hand():
    rows = torch.tensor([[3.0, 4.0], [10.0, 0.0], [0.0, 0.5]]).half()
    found = group_means(rows, torch.tensor([0, 0, 2]), 3, batch=2)
    length = np.hypot(1.6, 0.8)
    expected = torch.tensor([[1.6 / length, 0.8 / length], [0, 0], [0, 1]], dtype=torch.float32)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


def test_faces_that_use_other_channels_share_fewer_than_random_groups():
    """Three kinds of face, one common, each with four channels of its own and two that all have."""
    rng = np.random.default_rng(0)
    rows = rng.random((90, 14)).astype(np.float32) * 0.1
    rows[:, :2] = 0.9
    for kind, part in enumerate((slice(0, 60), slice(60, 80), slice(80, 90))):
        rows[part, 2 + 4 * kind : 6 + 4 * kind] += 0.6
    scores = torch.from_numpy(rows).half()
    found = ratio_of(scores, 3, 6, seed=0)
    assert found.ratio == found.common == pytest.approx(2 / 6)
    assert found.random > 0.8  # random groups are led by the common kind
    assert (found.clusters, found.smallest) == (3, 10)
    assert ratio_of(scores, 3, 6, seed=0) == found


def test_equal_rows_make_no_groups():
    with pytest.raises(InputError, match="they make one group"):
        ratio_of(torch.ones(5, 4), 2, 2, seed=0)


def test_drawn_faces():
    assert draw_faces(5, 0, 0).tolist() == draw_faces(5, 9, 0).tolist() == [0, 1, 2, 3, 4]
    drawn = draw_faces(100, 10, 3)
    assert len(drawn) == 10 and (np.diff(drawn) > 0).all()
    assert (draw_faces(100, 10, 3) == drawn).all()
    assert (draw_faces(100, 10, 4) != drawn).any()


@pytest.mark.parametrize(("feature", "row"), [("mouth", 2), ("hair", 3)])
def test_rows_are_the_stores_scores(filled, feature, row):
    manifest = filled.manifest()
    chosen = np.array([0, 7, 8, 59])
    found = feature_rows(filled, manifest, feature, chosen)
    whole = np.concatenate([vectors(b, "scores") for b in filled.batches(["scores"])])
    layout = manifest.settings.covered
    assert manifest.settings.classes[row] == feature
    own = whole.reshape(60, -1, layout.channels)[chosen, row]
    expected = own[:, eligible_channels(layout, feature).numpy()]
    assert found.scores.dtype == torch.float16
    assert (found.scores.numpy() == expected).all()
    assert found.numbers.tolist() == chosen.tolist()
    assert expected.shape[1] == {"mouth": 3968, "hair": 5632}[feature]


def test_ratios_of_a_store(filled):
    result = evaluate_submembership(filled, clusters=(12, 2, 4))
    assert set(result.ratios) == {"eyes", "nose", "mouth", "hair"}
    for feature, found in result.ratios.items():
        assert [r.clusters for r in found] == [2, 4, 12]
        assert 1 > found[0].common > found[1].common > found[2].common, feature
        for r in found:
            assert r.common <= r.ratio < r.random <= 1, feature
        assert found[0].common == found[0].ratio  # of two clusters there is one pair
    assert evaluate_submembership(filled, clusters=(2, 4, 12)) == result
    table = result.table()
    assert "| feature | faces | K = 2 | K = 4 | K = 12 |" in table
    assert f"| mouth | 60 | {result.ratios['mouth'][0].ratio:.3f} (" in table


def test_clusters_and_their_nearest_faces(filled):
    found = find_clusters(filled, "hair", filled.manifest(), clusters=3, columns=4)
    assert sum(c.size for c in found) == 60
    assert [c.size for c in found] == sorted((c.size for c in found), reverse=True)
    numbers = [n for c in found for n in c.faces]
    assert len(set(numbers)) == len(numbers)
    # by hand: the face nearest to the mean of one cluster of all
    (only,) = find_clusters(filled, "hair", filled.manifest(), clusters=1, columns=60)
    rows = feature_rows(filled, filled.manifest(), "hair", np.arange(60)).scores.float().numpy()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert only.faces == np.argsort(-(unit @ unit.mean(0)), kind="stable").tolist()


def test_a_sheet_of_photos_and_of_codes(faces, models, tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    for i in range(100, 106):
        shutil.copy(faces / f"seed{i:06d}.jpg", folder)
    shutil.copy(faces / "latents.parquet", folder)
    store = ingest_collection(str(folder), tmp_path / ".ris", models).store
    clusters = find_clusters(store, "mouth", store.manifest(), clusters=2, columns=2)
    assert draw_sheet(store, "mouth", store.manifest(), clusters, tmp_path / "photos.png") == 0
    shutil.rmtree(folder)
    shown = sum(len(c.faces) for c in clusters)
    assert draw_sheet(store, "mouth", store.manifest(), clusters, tmp_path / "codes.png") == shown
    with Image.open(tmp_path / "photos.png") as a, Image.open(tmp_path / "codes.png") as b:
        assert a.size == b.size
        # the same faces: the photos were renders of the codes, but for JPEG and size
        assert np.abs(np.asarray(a, float) - np.asarray(b, float)).mean() < 4


def test_the_command(filled, tmp_path, ris):
    line = ("eval", "submembership", "--store", filled.folder)
    words = ("--features", "mouth,eyes", "--clusters", "2,5", "--top", 50)
    out = ris(*line, *words, "--json", "--plot", "a.svg").out
    found = json.loads(out)
    assert found["top"] == 50 and list(found["features"]) == ["mouth", "eyes"]
    assert [r["clusters"] for r in found["features"]["eyes"]["ratios"]] == [2, 5]
    plot = (tmp_path / "a.svg").read_bytes()
    assert ris(*line, *words, "--json", "--plot", "a.svg").out == out
    assert (tmp_path / "a.svg").read_bytes() == plot
    printed = ris(*line, "--features", "nose", "--clusters", 3, "--sheet", "s.png").out
    assert printed == "s.png: 3 clusters of faces by nose\n"
    assert (tmp_path / "s.png").exists()
    for words, message in [
        (("--features", "pose"), "the pose has no scores of its own"),
        (("--features", "ears"), "unknown feature 'ears'; known: eyes, nose, mouth, hair"),
        (("--clusters", 1), "2 at least, not 1"),
        (("--clusters", "2,x"), "--clusters takes whole numbers with commas, not '2,x'"),
        (("--clusters", ","), "name a feature and a number of clusters"),
        (("--clusters", 61), "60 faces that show eyes are too few for 61 groups"),
        (("--clusters", 2, "--top", 5000), "eyes has 3968 channels: cannot take the top 5000"),
        (("--plot", "a.pdf"), "a.pdf: a plot is written as .png or .svg"),
        (("--sheet", "s.png"), "a sheet shows one feature and one number of clusters"),
        (("--features", "nose", "--clusters", 3, "--sheet", "s.gif"), "s.gif: a picture is"),
    ]:
        err = ris(*line, *words).err
        assert message in err and err.count("\n") == 1
