"""Feature catalogue: grouping, segmentation, storage, checks and the shipped asset."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest import ROOT
from safetensors import safe_open

from ris.errors import MismatchError
from ris.method.catalogue import CLASSES, FeatureCatalogue
from ris.method.catalogue_fit import (
    fit,
    group_by_overlap,
    sample_activations,
    sample_sigma,
    transfer_grouping,
)
from ris.method.layout import StyleLayer, StyleLayout

ASSET = ROOT / "data/models/assets/catalogue-mobilestylegan-ffhq.safetensors"


def shipped() -> FeatureCatalogue:
    with safe_open(ASSET, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return FeatureCatalogue.from_tensors(tensors, file.metadata())


def small(**changes: object) -> FeatureCatalogue:
    """Three clusters over a 2-channel layer 0 and a 1-channel layer 2, in two classes."""
    values: dict = {
        "classes": ("a", "b"),
        "centroids": torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]),
        "class_of_cluster": torch.tensor([0, 1, 0]),
        "layers": ("x", "y"),
        "layer_indices": (0, 2),
        "channels": (2, 1),
        "weights": (1.0, 0.5),
        "size": 4,
        "generator": "gen-1",
    }
    return FeatureCatalogue(**(values | changes))


def activations(batch: int = 2) -> dict[int, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        0: torch.randn(batch, 2, 2, 2, generator=draw),
        2: torch.randn(batch, 1, 4, 4, generator=draw),
    }


def test_grouping_by_hand() -> None:
    """Clusters 0, 1 and 2 cover classes 0, 1 and 2; cluster 3 is mostly class 0."""
    reference = torch.tensor([[[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]]])
    clusters = torch.tensor([[[0, 0, 3, 3], [1, 1, 1, 3], [2, 2, 2, 2]]])
    assert group_by_overlap(clusters, reference, 5, 3).tolist()[:4] == [0, 1, 2, 0]


def test_grouping_prefers_iou_over_majority() -> None:
    """A small class wins a cluster in which it is the minority when its IoU gains more.

    Cluster 0: 90 pixels of class 0. Cluster 1: 6 of class 0 and 4 of class 1, which is all of
    class 1. By majority class 1 gets nothing (IoU 96/100 and 0); with cluster 1 in class 1 the
    IoUs are 90/96 and 4/10.
    """
    reference = torch.tensor([0] * 96 + [1] * 4).reshape(1, 10, 10)
    clusters = torch.tensor([0] * 90 + [1] * 10).reshape(1, 10, 10)
    assert group_by_overlap(clusters, reference, 2, 2).tolist() == [0, 1]


def test_grouping_rejects_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 2\), reference labels \(1, 4, 4\)"):
        group_by_overlap(
            torch.zeros(1, 2, 2, dtype=torch.long), torch.zeros(1, 4, 4, dtype=torch.long), 1, 1
        )


def test_segment_is_one_hot() -> None:
    masks = small().segment(activations())
    assert masks.shape == (2, 2, 4, 4)
    assert masks.dtype == torch.float32
    assert torch.equal(masks.sum(1), torch.ones(2, 4, 4))
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(masks.argmax(1), small().labels(activations()))


def test_nearest_centre_is_that_of_the_concatenated_feature() -> None:
    """Scores resized per layer agree with features that are resized, joined and compared."""
    acts = activations(1)
    clusters = small().cluster_labels(acts)
    parts = []
    for index, weight in ((0, 1.0), (2, 0.5)):
        x = acts[index]
        mean = x.mean((2, 3), keepdim=True)
        x = (x - mean) / x.std((2, 3), keepdim=True, unbiased=False)
        x = weight * x / x.norm(dim=1, keepdim=True)
        parts.append(torch.nn.functional.interpolate(x, size=(4, 4), mode="bilinear"))
    feature = torch.cat(parts, 1)[0].flatten(1).T  # [16, 3]
    slow = torch.cosine_similarity(feature[:, None], small().centroids[None], dim=2).argmax(1)
    assert len(slow.unique()) > 1
    assert torch.equal(clusters.flatten(), slow)


def test_missing_activation_is_named() -> None:
    with pytest.raises(ValueError, match="style layer 2 is missing"):
        small().segment({0: torch.randn(1, 2, 2, 2)})


def test_round_trip_keeps_fingerprint() -> None:
    tensors, metadata = small().to_tensors()
    again = FeatureCatalogue.from_tensors(tensors, metadata | {"fitted": "unrelated"})
    assert again.fingerprint == small().fingerprint
    assert again.classes == ("a", "b")
    assert torch.equal(again.segment(activations()), small().segment(activations()))


@pytest.mark.parametrize(
    "change",
    [
        {"centroids": torch.eye(3) * 2},
        {"class_of_cluster": torch.tensor([1, 1, 0])},
        {"classes": ("a", "c")},
        {"weights": (1.0, 0.25)},
        {"size": 8},
        {"generator": "gen-2"},
        {"layer_indices": (0, 3)},
    ],
)
def test_fingerprint_covers_everything(change: dict) -> None:
    assert dataclasses.replace(small(), **change).fingerprint != small().fingerprint


def test_unreadable_metadata_is_a_mismatch() -> None:
    tensors, metadata = small().to_tensors()
    with pytest.raises(MismatchError, match=r"format 9.*ris.fit_catalogue"):
        FeatureCatalogue.from_tensors(tensors, metadata | {"format": "9"})
    with pytest.raises(MismatchError, match=r"ris.fit_catalogue"):
        FeatureCatalogue.from_tensors({"centroids": tensors["centroids"]}, metadata)


def test_other_layout_is_a_mismatch() -> None:
    layers = [StyleLayer("x", 2, 2, 0), StyleLayer("between", 2, 2, 0), StyleLayer("y", 1, 4, 0)]
    assert small().needed_layers(StyleLayout(tuple(layers), 1)) == (0, 2)
    assert small().needed_resolution(StyleLayout(tuple(layers), 1)) == 4
    with pytest.raises(MismatchError, match=r"'y' with 1 channels.*ris.fit_catalogue"):
        small().needed_layers(StyleLayout(tuple(layers[:2]), 1))


def test_other_generator_is_a_mismatch(generator) -> None:
    catalogue = small()
    with pytest.raises(MismatchError) as error:
        catalogue.check(generator)
    for part in ("gen-1", generator.fingerprint, "ris.fit_catalogue"):
        assert part in str(error.value)


def test_sampled_faces_do_not_depend_on_their_number(generator) -> None:
    three, two = (list(sample_sigma(generator, n, 0.7, 5)) for n in (3, 2))
    assert torch.equal(three[1], two[1])
    assert not torch.equal(three[1], three[2])


def test_shipped_catalogue_segments_a_face(generator) -> None:
    """Areas and places that any upright, centred face has."""
    catalogue = shipped()
    catalogue.check(generator)
    assert catalogue.classes == CLASSES
    layers = catalogue.needed_layers(generator.layout)
    sampled = sample_activations(generator, layers, 6, 0.6, 99)
    masks = torch.cat([catalogue.segment(found) for _, found in sampled])
    area = masks.mean((0, 2, 3))
    bounds = {
        "eyes": (0.01, 0.06), "nose": (0.008, 0.05), "mouth": (0.006, 0.04),
        "hair": (0.08, 0.5), "skin": (0.1, 0.35), "neck": (0.01, 0.15),
        "clothes": (0.0, 0.2), "background": (0.1, 0.6),
    }  # fmt: skip
    for k, name in enumerate(CLASSES):
        low, high = bounds[name]
        assert low <= float(area[k]) <= high, f"{name} covers {float(area[k]):.4f}"
    rows = torch.linspace(0, 1, catalogue.size)
    height = (masks.sum(3) * rows).sum((0, 2)) / masks.sum((0, 2, 3))  # mean row, 0 is the top
    eyes, nose, mouth, neck = (
        float(height[CLASSES.index(c)]) for c in ("eyes", "nose", "mouth", "neck")
    )
    assert eyes < nose < mouth < neck
    assert 0.4 < eyes < 0.52
    assert 0.62 < mouth < 0.75


def test_fit_is_deterministic_and_takes_the_shipped_classes(generator) -> None:
    settings = {"faces": 12, "clusters": 24, "pixels": 200, "iterations": 4, "seed": 3}
    seen: list[tuple[int, int]] = []
    first = fit(generator, **settings, progress=lambda *step: seen.append(step))
    assert first.fingerprint == fit(generator, **settings).fingerprint
    assert seen[0] == (1, 16)
    assert seen[11] == (12, 16)
    assert first.class_of_cluster.tolist() == list(range(24))
    teacher = shipped()
    grouped = transfer_grouping(generator, first, teacher, faces=8)
    assert grouped.classes == CLASSES
    layers = (*first.layer_indices, *teacher.layer_indices)
    agreement = [
        (grouped.labels(found) == teacher.labels(found)).float().mean()
        for _, found in sample_activations(generator, layers, 4, 0.7, 77)
    ]
    assert float(torch.stack(agreement).mean()) > 0.7


def test_fit_names_an_unknown_layer(generator) -> None:
    with pytest.raises(ValueError, match=r"no style layer '9\.up'"):
        fit(generator, faces=1, clusters=2, layers=("9.up",))
