"""Engines of the scores: the same result, named and refused as they should be."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from conftest import ROOT

from ris.errors import InputError
from ris.ingest.embedding import Embedder
from ris.ingest.sampling import sample_w
from ris.method.contribution import contribution_scores
from ris.method.masks import MaskOptions, feature_mask, features_of, membership
from ris.ops import native


@pytest.fixture(scope="module")
def codes(generator) -> list[torch.Tensor]:
    """Codes of faces in W, and some in W+ with rows of several faces."""
    w = [sample_w(generator, seed) for seed in range(30, 36)]
    rows = generator.layout.rows
    near = [
        torch.lerp(a.expand(rows, -1), b.expand(rows, -1), torch.linspace(0, 0.3, rows)[:, None])
        for a, b in itertools.pairwise(w)
    ]
    return [*w, *near]


@pytest.mark.parametrize("resolution", [32, 64, 128])
def test_engines_agree(generator, catalogue, codes, resolution):
    """Scores within a thousandth; hard masks but for channels that lie on the threshold."""
    torch_only = Embedder(generator, catalogue, resolution, engine="torch")
    auto = Embedder(generator, catalogue, resolution)
    if native.problem() is None:
        assert (auto.engine_used, torch_only.engine_used) == ("native", "torch")
    layout, options = generator.layout.up_to(resolution), MaskOptions(kind="hard")
    for w in codes if resolution == 64 else codes[:2] + codes[-1:]:
        ours, theirs = auto.embed(w), torch_only.embed(w)
        assert torch.equal(ours.w, theirs.w)
        assert torch.equal(ours.sigma, theirs.sigma)
        assert (ours.scores - theirs.scores).abs().max() < 1e-3
        both = torch.stack([ours.scores, theirs.scores])
        q = membership(both, options.tau)[1]
        for k, name in enumerate(features_of(catalogue.classes)[:-1]):
            a, b = feature_mask(both, layout, catalogue.classes, name, options)
            at_threshold = (q[k] - options.threshold).abs() < 1e-3
            least = q[k].topk(options.least).values[-1]  # the mask keeps so many, tied or not
            assert torch.equal(a == b, (a == b) | at_threshold | ((q[k] - least).abs() < 1e-3))
            assert (a != b).sum() <= 2


def test_torch_engine_runs_no_kernel(generator, catalogue, codes, monkeypatch):
    expected = Embedder(generator, catalogue, 32, engine="torch").embed(codes[0]).scores

    def fail() -> None:
        raise AssertionError("a kernel was asked for")

    monkeypatch.setattr("ris.ops.calls.library", fail)
    found = Embedder(generator, catalogue, 32, engine="torch").embed(codes[0]).scores
    assert torch.equal(found, expected)
    with pytest.raises(AssertionError, match="a kernel was asked for"):
        Embedder(generator, catalogue, 32).embed(codes[0])


def test_threads_at_once(generator, catalogue, codes):
    """What several threads get, each undivided, is what one gets."""
    fresh = dataclasses.replace(catalogue)  # nothing is made yet that the threads share
    embedder = Embedder(generator.using("auto"), fresh, 64)
    with ThreadPoolExecutor(4, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        found = list(pool.map(embedder.embed, codes))
    for one, w in zip(found, codes, strict=True):
        again = embedder.embed(w)
        torch.testing.assert_close(one.scores, again.scores, atol=1e-6, rtol=0)


def test_an_engine_that_cannot_run(generator, catalogue, monkeypatch):
    monkeypatch.setattr(
        "ris.ingest.embedding.problem", lambda: "no C++ compiler (c++, g++, clang++)"
    )
    assert Embedder(generator, catalogue).engine_used == "torch"
    with pytest.raises(InputError) as error:
        Embedder(generator, catalogue, engine="native").settings()
    assert str(error.value) == (
        "the native engine cannot run: no C++ compiler (c++, g++, clang++): install a C++ "
        "compiler (as g++) and ninja, or take `engine='torch'`"
    )


def test_the_engine_is_no_part_of_a_store(generator, catalogue):
    plain = Embedder(generator, catalogue, engine="torch").settings()
    assert Embedder(generator, catalogue).settings() == plain


def test_a_generator_without_kernels_of_its_own():
    """StyleGAN2: convolutions by torch, segmentation and sums by kernels."""
    from ris.generators.stylegan2 import StyleGAN2, StyleGAN2Config
    from ris.method.catalogue_fit import feature_layers
    from tests.checkpoints import network

    config = StyleGAN2Config((64, 64, 32, 32, 32))
    generator = StyleGAN2(network(config))
    names = [layer.name for layer in generator.layout]
    layers = feature_layers(generator.layout)
    indices = tuple(names.index(name) for name in layers)
    channels = tuple(generator.layout.layers[i].channels for i in indices)
    from ris.method.catalogue import FeatureCatalogue

    catalogue = FeatureCatalogue(
        classes=("eyes", "hair", "skin"),
        centroids=torch.randn(40, sum(channels), generator=torch.Generator().manual_seed(0)),
        class_of_cluster=torch.arange(40) % 3,
        layers=layers,
        layer_indices=indices,
        channels=channels,
        weights=(1.0, 1.0),
        size=64,
        generator=generator.fingerprint,
    )
    sigma = generator.sigma(generator.mapping(torch.randn(2, 512)))
    found = contribution_scores(generator, catalogue, sigma)
    plain = contribution_scores(generator.using("reference"), catalogue, sigma, impl="reference")
    assert found.shape == (2, 3, generator.layout.channels)
    torch.testing.assert_close(found, plain, atol=1e-4, rtol=0)


def test_the_command_names_an_engine_that_cannot_run(tmp_path):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "a.png")
    done = subprocess.run(
        [
            *[sys.executable, "-m", "ris", "ingest", str(tmp_path / "photos")],
            *["--engine", "native", "--store", str(tmp_path / ".ris")],
        ],
        cwd=ROOT,
        env=os.environ | {"RIS_NATIVE": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "ris: the native engine cannot run: RIS_NATIVE=0 turns the kernels off: install a "
        "C++ compiler (as g++) and ninja, or take --engine torch"
    ]
    assert not (tmp_path / ".ris").exists()
