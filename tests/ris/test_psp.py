"""The encoders of pSp and e4e: reference outputs, checkpoints, and photos read by them."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checkpoints import VECTORS, encoder_rule, network, rosinality
from conftest import SHARED
from PIL import Image

from ris.data.models.psp_files import load_encoder_file
from ris.data.store import Store
from ris.errors import InputError, ModelFileError
from ris.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from ris.ingest.inversion.encoder_inverter import CheckpointInverter, load_checkpoint_inverter
from ris.ingest.inversion.inverters import make_inverter, options_of
from ris.networks.psp import PSPConfig, PSPEncoder

SMALL = PSPConfig(rows=10, latent=32, widths=(16, 16, 32, 32))
GENERATOR = StyleGAN2Config((16, 16, 16, 16, 16), latent=32, mapping_layers=1)
KINDS = {"psp": "GradualStyleEncoder", "e4e": "Encoder4Editing"}


def weights(config: PSPConfig = SMALL) -> dict[str, torch.Tensor]:
    return {n: encoder_rule(n, s) for n, s in config.expected_shapes().items()}


def photo(seed: int = 0) -> torch.Tensor:
    """(1, 3, 256, 256): a smooth picture of random colours."""
    coarse = torch.from_numpy(np.random.RandomState(seed).uniform(-1, 1, (1, 3, 8, 8))).float()
    return F.interpolate(coarse, size=256, mode="bilinear", align_corners=False)


def write(path: Path, kind: str = "psp", config: PSPConfig = SMALL, **changes) -> Path:
    """A checkpoint as the authors' programs write it: encoder and decoder, options, mean."""
    state = {f"encoder.{k}": v for k, v in weights(config).items()}
    state["encoder.input_layer.1.num_batches_tracked"] = torch.tensor(7)
    state |= {f"decoder.{k}": v for k, v in rosinality(GENERATOR).items()}
    content = {
        "state_dict": state,
        "latent_avg": torch.linspace(-1, 1, config.latent).repeat(config.rows, 1),
        "opts": {"encoder_type": KINDS[kind], "start_from_latent_avg": True, "device": "cuda:0"},
    }
    content |= changes
    torch.save({k: v for k, v in content.items() if v is not None}, path)
    return path


@pytest.fixture(scope="module")
def small_generator() -> StyleGAN2:
    return StyleGAN2(network(GENERATOR))


# -- the network -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_small_vectors(kind):
    """Computed by this implementation after it agreed with the reference below."""
    with np.load(VECTORS / "encoders_small.npz") as file, torch.no_grad():
        expected = torch.from_numpy(file[kind])
        found = PSPEncoder(weights(), kind)(photo())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_e4es_rows_are_deviations_from_the_first():
    with torch.no_grad():
        psp, e4e = (PSPEncoder(weights(), kind)(photo()) for kind in ("psp", "e4e"))
    torch.testing.assert_close(e4e[:, 0], psp[:, 0])
    torch.testing.assert_close(e4e[:, 1:], psp[:, 1:] + psp[:, :1])


def test_published_shape():
    shapes = PSPConfig().expected_shapes()
    assert sum(int(np.prod(s)) for s in shapes.values()) == 267_161_024
    assert shapes["styles.17.convs.10.weight"] == (512, 512, 3, 3)
    assert "styles.2.convs.8.weight" not in shapes
    assert "styles.3.convs.8.weight" in shapes
    listed = SHARED / "vectors" / "encoders_ffhq.names.txt"
    if listed.is_file():
        lines = listed.read_text().splitlines()
        names = dict(line.split(" ", 1) for line in lines if "num_batches" not in line)
        assert {k: str(v) for k, v in shapes.items()} == names


def test_reference_codes():
    path = SHARED / "vectors" / "encoders_ffhq.npz"
    if not path.is_file():
        pytest.skip("no reference vectors beside the checkout (../shared/vectors)")
    with np.load(path) as file:
        given = {k: torch.from_numpy(file[k]) for k in file}
    image = F.interpolate(given["image32"], size=256, mode="bilinear", align_corners=False)
    encoder = PSPEncoder(weights(PSPConfig()), "psp")
    for kind in KINDS:
        encoder.kind = kind
        with torch.no_grad():
            found = encoder(image) + given["latent_avg"]
        torch.testing.assert_close(found, given[kind], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("latlayer1.weight", "lack latlayer1.weight (32, 32, 1, 1)"),
        ("body.3.shortcut_layer.0.weight", "unknown"),
        ("styles.9.linear.bias", "lack styles.9.linear.bias (32,)"),
        ("body.23.res_layer.4.bias", "not an IR-SE50 encoder's: they lack body.23.res_layer.4.bi"),
    ],
)
def test_a_missing_tensor_is_named(name, message):
    given = weights()
    if message == "unknown":
        given[name], message = torch.zeros(1), f"unknown tensor {name}"
    else:
        del given[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        PSPEncoder(given, "psp")


def test_photos_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(B, 3, 256, 256\), not \(1, 3, 64, 64\)"):
        PSPEncoder(weights(), "psp")(torch.zeros(1, 3, 64, 64))


# -- checkpoints -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_codes_of_a_checkpoint(kind, small_generator, tmp_path):
    inverter = load_checkpoint_inverter(small_generator, write(tmp_path / "a.pt", kind))
    assert inverter.fingerprint.startswith(f"{kind}-")
    images = torch.cat([photo(1), photo(2)])
    with torch.no_grad():
        expected = PSPEncoder(weights(), kind)(images) + torch.linspace(-1, 1, 32)
    found = inverter.invert(images)
    torch.testing.assert_close(found.w, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(found.w[1:], inverter.invert(images[1:]).w)
    assert inverter.invert(images[:0]).w.shape == (0, 10, 32)


def test_the_mean_is_added_as_the_checkpoint_says(small_generator, tmp_path):
    with torch.no_grad():
        bare = PSPEncoder(weights(), "psp")(photo())

    def added(**changes) -> torch.Tensor:
        inverter = load_checkpoint_inverter(small_generator, write(tmp_path / "a.pt", **changes))
        return inverter.invert(photo()).w - bare

    one, many = torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 320).reshape(10, 32)
    near = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(added(latent_avg=one), one.expand(1, 10, 32), **near)
    torch.testing.assert_close(added(latent_avg=one[None]), one.expand(1, 10, 32), **near)
    torch.testing.assert_close(added(latent_avg=many), many[None], **near)
    mean = small_generator.mean_w()
    torch.testing.assert_close(added(latent_avg=None), mean.expand(1, 10, 32), **near)
    options = {"encoder_type": KINDS["psp"], "start_from_latent_avg": False}
    torch.testing.assert_close(added(opts=options), torch.zeros(1, 10, 32), **near)
    given = Namespace(encoder_type=KINDS["psp"])
    torch.testing.assert_close(added(opts=given), one.expand(1, 10, 32), **near)


def test_fingerprint_depends_on_kind_weights_and_mean(small_generator, tmp_path):
    state = {f"encoder.{k}": v for k, v in weights().items()}
    state["encoder.latlayer2.bias"] = state["encoder.latlayer2.bias"] + 1e-3
    files = [
        write(tmp_path / "a.pt"),
        write(tmp_path / "b.pt", "e4e"),
        write(tmp_path / "c.pt", latent_avg=torch.zeros(32)),
        write(tmp_path / "d.pt", state_dict=state),
    ]
    prints = [load_checkpoint_inverter(small_generator, f).fingerprint for f in files]
    assert len(set(prints)) == 4
    assert load_checkpoint_inverter(small_generator, files[0]).fingerprint == prints[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"opts": None}, "does not say its encoder_type"),
        ({"opts": {"encoder_type": "ResNetBackbone"}}, "has encoder_type ResNetBackbone"),
        ({"opts": {"encoder_type": KINDS["psp"], "learn_in_w": True}}, "W codes (learn_in_w)"),
        ({"latent_avg": torch.zeros(18, 32)}, "latent_avg is (18, 32), expected (32,) or (10, 32)"),
        ({"latent_avg": "none"}, "latent_avg is str, expected"),
        ({"state_dict": None}, "lacks state_dict"),
        ({"state_dict": {"decoder.x": torch.zeros(1)}}, "not an IR-SE50 encoder's"),
        ({"state_dict": {"encoder.x": torch.zeros(1).expand(1000)}}, "has fewer numbers"),
        ({"state_dict": {"encoder.x": 3}}, "encoder.x is no tensor"),
        ({"opts": Path("x")}, "more than tensors"),
    ],
)
def test_other_checkpoints_are_refused(changes, message, tmp_path):
    path = write(tmp_path / "a.pt", **changes)
    with pytest.raises(ModelFileError) as e:
        load_encoder_file(path)
    assert message in str(e.value)
    assert "\n" not in str(e.value)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ModelFileError, match=r"no encoder file .*`inverter`"):
        load_encoder_file(tmp_path / "missing.pt")
    with pytest.raises(ModelFileError, match=r"comes as \.pt or \.pth"):
        load_encoder_file(tmp_path / "a.safetensors")
    path = write(tmp_path / "a.pt")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelFileError, match="damaged"):
        load_encoder_file(path)


def test_codes_for_another_generator_are_refused(generator, tmp_path):
    with pytest.raises(InputError, match=r"codes of 10 x 32, mobilestylegan-ffhq takes 22 x 512"):
        CheckpointInverter(generator, load_encoder_file(write(tmp_path / "a.pt")))


def test_options(small_generator, tmp_path):
    with pytest.raises(InputError, match="`refine` goes with"):
        make_inverter(small_generator, refine=5, file=write(tmp_path / "a.pt"))
    with pytest.raises(ModelFileError, match=r"no encoder ships .* stylegan2-64: .*`inverter`"):
        make_inverter(small_generator)
    with pytest.raises(ModelFileError, match=r"not to stylegan2-64: .*`inverter`"):
        make_inverter(small_generator, "optimisation")
    assert options_of("e4e-0123") == ("encoder", None)


# -- photos read by them -----------------------------------------------------------------------


def picture(path: Path, seed: int) -> Path:
    pixels = photo(seed)[0].permute(1, 2, 0).add(1).mul(127.5).round().byte().numpy()
    Image.fromarray(pixels).save(path)
    return path


def test_photos_into_a_store_and_back(ris, tmp_path):
    write(tmp_path / "e4e.pt", "e4e")
    torch.save({"g_ema": rosinality(GENERATOR)}, tmp_path / "ours.pt")
    (tmp_path / "photos").mkdir()
    for seed in range(4):
        picture(tmp_path / "photos" / f"{seed}.png", seed)
    fit = ("catalog", "fit", "--clusters", 16, "--faces", 8)
    assert ris(*fit, "--generator", "ours.pt")[0] == 0
    words = ("ingest", "photos", "--aligned", "yes")
    status, _, err = ris(*words, "--generator", "ours.pt")
    assert status == 1
    assert "no encoder ships for the generator stylegan2-64" in err
    status, _, err = ris(*words, "--generator", "ours.pt", "--inverter", "e4")
    assert "--inverter is encoder, optimisation or a file (.pt), not 'e4'" in err
    # the decoder inside the encoder's checkpoint is the same generator
    assert ris(*words, "--generator", "e4e.pt", "--inverter", "e4e.pt")[0] == 0
    store = Store.open(tmp_path / ".ris")
    assert next(iter(store.inverters())).startswith("e4e-")
    assert store.inverter_file() == tmp_path / "e4e.pt"
    with torch.no_grad():
        expected = PSPEncoder(weights(), "e4e")(photo(2)) + torch.linspace(-1, 1, 32)
    ids = json.loads(ris("sql", "select id, path from faces", "--json")[1])
    (face,) = [x["id"] for x in ids if x["path"].endswith("2.png")]
    np.testing.assert_allclose(store.face(face).w, expected[0].numpy(), atol=0.05)  # 8-bit photo
    # later runs need not name them
    picture(tmp_path / "photos" / "9.png", 9)
    assert ris(*words)[0] == 0
    assert store.manifest().rows == 5
    picture(tmp_path / "new.png", 2)
    query = ("query", "new.png", "--aligned", "yes", "--feature", "hair", "--json")
    found = json.loads(ris(*query)[1])
    assert found["query"]["id"] == face  # the same bytes as photos/2.png
    picture(tmp_path / "other.png", 77)
    found = json.loads(ris("query", "other.png", *query[2:])[1])
    assert len(found["nearest"]) == 5
    # another encoder's codes do not compare
    write(tmp_path / "psp.pt", "psp")
    picture(tmp_path / "photos" / "10.png", 10)
    status, _, err = ris(*words, "--inverter", "psp.pt")
    assert status == 1
    assert "e4e-" in err
    assert "psp-" in err
    (tmp_path / "e4e.pt").rename(tmp_path / "moved.pt")
    picture(tmp_path / "other.png", 78)
    status, _, err = ris("query", "other.png", *query[2:])
    assert status == 1
    assert "e4e.pt" in err
    given = ("--generator", "ours.pt", "--inverter", "moved.pt")
    assert ris("query", "other.png", *query[2:], *given)[0] == 0
