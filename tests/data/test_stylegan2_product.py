"""The commands on a StyleGAN2 checkpoint with random weights: sample, fit, ingest, index, query,
transfer; and no mixing with another generator."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import as_nvidia, rosinality, write_pickle
from command_line import run_ris, status_of
from PIL import Image

from ris.data.models.stylegan2_files import load_stylegan2
from ris.data.store import Store
from ris.generators.stylegan2 import StyleGAN2Config
from ris.method.catalogue_fit import DEFAULT_LAYERS, feature_layers

CONFIG = StyleGAN2Config((48, 48, 48, 48, 32, 24, 16), mapping_layers=2)  # 256 px
FACES = 24


def write(path: Path, seed: float = 0.0) -> Path:
    tensors = rosinality(CONFIG)
    tensors["input.input"] = tensors["input.input"] + seed
    torch.save({"g_ema": tensors, "latent_avg": torch.zeros(512)}, path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder where everything was done once: a checkpoint, faces, catalogue, store, indices."""
    folder = tmp_path_factory.mktemp("stylegan2")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)

        def ris(*words: object) -> None:
            assert status_of(patch, *words) == 0

        write(folder / "ours.pt")
        ris("sample", "faces", "--n", FACES, "--generator", "ours.pt", "--format", "png")
        ris("catalog", "fit", "--generator", "ours.pt", "--clusters", 24, "--faces", 16)
        ris("ingest", "faces", "--generator", "ours.pt")
        ris("index", "--all")
    return folder


@pytest.fixture
def ris(made, monkeypatch, capsys, tmp_path):
    """Commands in a copy of that folder."""
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return partial(run_ris, monkeypatch, capsys)


def test_everything_is_of_the_checkpoint(made):
    generator = load_stylegan2(made / "ours.pt")
    store = Store.open(made / ".ris")
    assert store.settings.generator == generator.fingerprint
    assert store.settings.generator_name == "stylegan2-256"
    assert store.settings.layout == generator.layout
    assert store.manifest().rows == FACES
    assert store.generator_file() == made / "ours.pt"
    assert (made / f"catalogue-{generator.fingerprint}.safetensors").is_file()
    face = store.face(store.faces_of(next(iter_ids(store)))[0].id)
    with torch.no_grad():
        sigma = generator.sigma(torch.from_numpy(face.w.copy())[None])[0].numpy()
        np.testing.assert_allclose(face.sigma, sigma, atol=1e-5)
        pixels = generator.render(torch.from_numpy(sigma)[None])[0]
    shown = np.asarray(Image.open(store.resolve(face.path)), np.float32) / 127.5 - 1
    expected = pixels.clamp(-1, 1).permute(1, 2, 0).numpy()
    assert np.abs(shown - expected).max() < 0.02


def iter_ids(store: Store):
    for batch in store.batches(["id"]):
        yield from batch.column(0).to_pylist()


def test_masks_leave_out_to_image_channels_and_early_ones(made):
    store = Store.open(made / ".ris")
    layout = store.settings.covered
    allowed = ~(layout.early | layout.to_image)
    assert allowed.sum() == 48 * 5 + 2 * 32
    dims = {
        name: json.loads((made / ".ris" / "index" / name / "meta.json").read_text())["dims"]
        for name in ("mouth", "pose", "hair")
    }
    assert dims["mouth"] == int(allowed.sum())
    assert dims["pose"] == 48 * 3  # conv1, convs.0 and convs.1; not to_rgb1
    assert dims["hair"] == dims["mouth"] + dims["pose"]


def test_query_and_transfer(ris):
    status, out, _ = ris("query", "faces/seed000003.png", "--feature", "hair", "--json")
    found = json.loads(out)
    assert status == 0
    assert len(found["nearest"]) == 5
    assert found["nearest"][0]["score"] >= found["nearest"][4]["score"]
    words = ("transfer", "faces/seed000003.png", "seed:5", "--feature", "hair")
    assert ris(*words, "--alpha", 0, "--out", "zero.png")[0] == 0
    assert ris(*words, "--alpha", 1.3, "--out", "out.png")[0] == 0
    source, zero, out = (
        np.asarray(Image.open(p).convert("RGB"), float)
        for p in ("faces/seed000003.png", "zero.png", "out.png")
    )
    assert np.abs(source - zero).max() <= 1
    assert np.abs(source - out).max() > 20


def test_transfer_without_a_store(ris):
    shutil.rmtree(".ris")
    words = ("transfer", "seed:1", "seed:2", "--feature", "hair", "--generator", "ours.pt")
    assert ris(*words)[0] == 0
    assert Image.open("transfer.png").size == (256, 256)
    shutil.copy("ours.pt", "theirs.pt")
    write(Path("theirs.pt"), 1.0)
    status, _, err = ris(*words[:-1], "theirs.pt")
    assert status == 1
    assert "no feature catalogue for generator stylegan2-" in err
    assert "ris catalogue fit --generator" in err


def test_another_generator_is_refused_everywhere(ris):
    write(Path("theirs.pt"), 1.0)
    ours, theirs = (load_stylegan2(Path(n)).fingerprint for n in ("ours.pt", "theirs.pt"))
    given = ("--generator", "theirs.pt")
    for words in (
        ("ingest", "faces", *given),
        ("query", "faces/seed000003.png", "--feature", "hair", *given),
        ("transfer", "seed:1", "seed:2", "--feature", "hair", *given),
        ("sample", "faces", *given),
        ("ingest", "faces", "--store", "new", *given),  # the latents are of the first
    ):
        status, _, err = ris(*words)
        assert status == 1, words
        assert ours in err
        assert theirs in err
        assert err.count("\n") == 1
    assert Store.open(".ris").manifest().rows == FACES
    assert not Path("new").exists()


def test_the_default_generator_is_not_mixed_in(ris, generator):
    assert ris("sample", "shipped", "--n", 2)[0] == 0
    status, _, err = ris("ingest", "shipped")
    assert status == 1  # latents of the default generator, a store of ours
    assert generator.fingerprint in err
    shutil.rmtree(".ris")
    assert ris("ingest", "shipped")[0] == 0
    status, _, err = ris("ingest", "faces", "--generator", "ours.pt")
    assert status == 1
    assert generator.fingerprint in err
    assert load_stylegan2(Path("ours.pt")).fingerprint in err


def test_a_moved_checkpoint_is_named_again(ris):
    Path("ours.pt").rename("moved.pt")
    codes = np.float32(np.random.RandomState(0).standard_normal((1, 512)))
    Path("more").mkdir()
    Image.new("RGB", (64, 64)).save("more/a.png")
    np.save("codes.npy", codes)
    words = ("ingest", "more", "--latents", "codes.npy", "--aligned", "yes")
    status, _, err = ris(*words)
    assert status == 1
    assert "ours.pt" in err
    assert "--generator" in err
    assert ris(*words, "--generator", "moved.pt")[0] == 0
    assert Store.open(".ris").generator_file() == Path("moved.pt").absolute()
    assert Store.open(".ris").manifest().rows == FACES + 1


def test_a_wplus_code_for_one_photo(ris):
    code = np.float32(np.random.RandomState(0).standard_normal((14, 512)))
    Path("more").mkdir()
    Image.new("RGB", (64, 64)).save("more/a.png")
    np.save("code.npy", code)
    np.save("other.npy", np.zeros((1, 18, 512), np.float32))
    status, _, err = ris("ingest", "more", "--latents", "other.npy")
    assert status == 1
    assert "(1, 18, 512), expected (N, 512), (14, 512) or (N, 14, 512)" in err
    assert ris("ingest", "more", "--latents", "code.npy")[0] == 0
    found = json.loads(ris("sql", "select id, path from faces", "--json")[1])
    (face,) = [row["id"] for row in found if row["path"] == "more/a.png"]
    np.testing.assert_array_equal(Store.open(".ris").face(face).w, code)


def test_info_names_the_file(ris):
    facts = json.loads(ris("info", "--json")[1])
    assert facts["generator_file"] == str(Path("ours.pt").absolute())
    assert "inverter_file" not in facts


def test_the_same_network_in_another_form_may_be_given(ris):
    tensors = rosinality(CONFIG) | {"latent_avg": torch.zeros(512)}
    write_pickle(Path("ours.pkl"), as_nvidia(tensors))
    status, out, _ = ris("models", "convert", "ours.pkl", "ours.safetensors", "--json")
    assert status == 0
    assert json.loads(out)["size"] == 256
    for name in ("ours.pkl", "ours.safetensors"):
        words = ("query", "faces/seed000003.png", "--feature", "hair", "--generator", name)
        assert ris(*words)[0] == 0
    status, _, err = ris("models", "convert", "ours.pkl")
    assert status == 1
    assert "two files" in err


def test_catalogue_is_shown(ris):
    status, out, _ = ris("catalog", "show", "--generator", "ours.pt", "--faces", 2, "--json")
    assert status == 0
    area = json.loads(out)["area"]
    assert sum(area.values()) == pytest.approx(1, abs=1e-4)
    assert min(area.values()) > 0
    status, _, err = ris("catalog", "fit", "--clusters", 24)
    assert status == 1
    assert "--out" in err


def test_feature_layers_of_both_generators(generator):
    assert feature_layers(generator.layout) == DEFAULT_LAYERS
    assert feature_layers(StyleGAN2Config.of_size(1024).layout()) == ("convs.7", "convs.8")
    assert feature_layers(StyleGAN2Config.of_size(32).layout()) == ("convs.4", "convs.5")


def test_measures_run_on_such_a_store(ris):
    status, out, err = ris("eval", "trsi", "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["faces"] == FACES
    assert (
        0 <= found["trsi_iou"]["RIS soft"]["mean"] <= found["trsi_iou"]["whole-face sigma"]["mean"]
    )
    status, out, err = ris(
        "eval", "submembership", "--features", "hair", "--clusters", "2,3", "--json"
    )
    assert status == 0, err
    assert [r["clusters"] for r in json.loads(out)["features"]["hair"]["ratios"]] == [2, 3]
