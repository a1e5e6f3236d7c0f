"""The encoder: network, file, inverter, refinement."""

import dataclasses
import shutil

import pytest
import torch

from ris.data.inspect import summary
from ris.errors import InputError, MismatchError, ModelFileError
from ris.ingest.inversion.encoder_inverter import (
    EncoderInverter,
    load_encoder_inverter,
    pack,
    unpack,
)
from ris.ingest.inversion.inverters import RefinedInverter, make_inverter, options_of
from ris.ingest.inversion.optimisation import load_inverter
from ris.ingest.loaded_models import Models
from ris.ingest.run import ingest_collection
from ris.networks.encoder import EncoderConfig, EncoderNet, load_encoder
from ris.query.query_face import face_of_photo


@pytest.fixture(scope="module")
def encoder(generator):
    return load_encoder_inverter(generator)


@pytest.fixture(scope="module")
def untrained(small_encoder):
    return small_encoder()


def test_training_starts_in_w(untrained):
    v, d = untrained(torch.rand(2, 3, 128, 128) * 2 - 1)
    assert v.shape == (2, 512)
    assert d.shape == (2, 22, 512)
    assert not d.any()
    assert (v[0] - v[1]).abs().max() > 1e-3


def test_a_file_gives_the_network_again_but_for_half_precision(untrained):
    tensors, metadata = pack(untrained)
    assert {t.dtype for t in tensors.values()} == {torch.float16}
    again = unpack(tensors, metadata)
    images = torch.rand(2, 3, 128, 128) * 2 - 1
    assert again.config == untrained.config
    torch.testing.assert_close(again(images)[0], untrained(images)[0], rtol=0.05, atol=0.02)
    twice, _ = pack(again)
    for name, tensor in tensors.items():
        assert torch.equal(twice[name], tensor), name
    assert not any(p.requires_grad for p in again.parameters())
    assert any(p.requires_grad for p in unpack(tensors, metadata, train=True).parameters())


def test_a_wrong_file_is_refused(untrained):
    tensors, metadata = pack(untrained)
    with pytest.raises(ModelFileError, match="not an encoder"):
        unpack(tensors, {})
    with pytest.raises(ModelFileError, match="not an encoder"):
        unpack(tensors, {"config": '{"maps": [], "teeth": 32}'})
    less = {k: v for k, v in tensors.items() if k != "code.weight"}
    with pytest.raises(ModelFileError, match="code.weight"):
        unpack(less, metadata)
    with pytest.raises(ValueError, match="_conv_stem"):
        load_encoder({k: v for k, v in tensors.items() if "_conv_stem.weight" not in k})


def test_codes_of_another_generator_are_refused(generator, untrained, encoder):
    config = EncoderConfig(hidden=64, rank=4, rows=18)
    other = EncoderNet(untrained.trunk, config)
    with pytest.raises(InputError, match="18 x 512"):
        EncoderInverter(generator, other, encoder.pspace, "x")


def test_an_encoder_of_other_weights_is_refused(generator, monkeypatch):
    monkeypatch.setattr(generator, "fingerprint", "mobilestylegan-0000")
    with pytest.raises(MismatchError, match="mobilestylegan-0000"):
        load_encoder_inverter(generator)


def test_a_face_does_not_depend_on_its_neighbours(encoder, rendered):
    images = rendered[1][:5]
    codes = encoder.invert(images)
    assert codes.error is None
    assert codes.errors() == [None] * 5
    assert torch.equal(encoder.invert(images[3:4]).w, codes.w[3:4])


def test_the_encoder_is_nearer_than_the_first_guess(generator, encoder, rendered):
    w, images = rendered
    inverter = load_inverter(generator, steps=0)
    truth = generator.sigma(w)

    def off(codes):
        return (generator.sigma(codes) - truth).square().mean()

    images = images[:30]
    truth = truth[:30]
    assert off(encoder.invert(images).w) < 0.8 * off(inverter.invert(images).w)
    assert inverter.error(encoder.invert(images).w, images).mean() < (
        inverter.invert(images).error.mean()
    )


def test_rows_stay_near_w(encoder, rendered):
    codes = encoder.pspace.from_w(encoder.invert(rendered[1][:8]).w)
    spread = (codes - codes.mean(1, keepdim=True)).square().mean()
    assert spread < 0.3 * codes.square().mean()


def test_refinement_starts_at_the_encoders_code(generator, encoder, rendered):
    images = rendered[1][:2]
    refined = make_inverter(generator, "encoder", 8)
    assert isinstance(refined, RefinedInverter)
    start = load_inverter(generator, steps=0).invert(images, start=encoder.invert(images).w)
    done = refined.invert(images)
    assert (done.error <= start.error).all()
    assert done.error.mean() < 0.9 * start.error.mean()
    kept = done.error == start.error
    assert torch.equal(done.w[kept], encoder.invert(images).w[kept])
    assert refined.fingerprint != encoder.fingerprint
    assert refined.fingerprint != make_inverter(generator, "encoder", 4).fingerprint


def test_the_choice_of_inverter(generator):
    assert make_inverter(generator).name == "encoder"
    assert make_inverter(generator, refine=0).name == "encoder"
    assert make_inverter(generator, "optimisation", 5).config.steps == 5
    assert make_inverter(generator, "optimisation").config.steps == 60
    with pytest.raises(InputError, match="`refine`"):
        make_inverter(generator, refine=-1)


def test_bad_photos_are_refused(encoder):
    with pytest.raises(InputError, match="photos"):
        encoder.invert(torch.zeros(3, 64, 64))
    assert len(encoder.invert(torch.zeros(0, 3, 64, 64)).w) == 0


def test_sizes_follow_from_the_file(encoder):
    assert dataclasses.asdict(encoder.net.config)["latent"] == encoder.generator.latent_size


@pytest.mark.parametrize(
    ("kind", "refine"), [("encoder", None), ("encoder", 7), ("optimisation", 9)]
)
def test_a_fingerprint_says_how_a_photo_was_inverted(generator, kind, refine):
    assert options_of(make_inverter(generator, kind, refine).fingerprint) == (kind, refine)


def test_an_unknown_fingerprint_means_the_default():
    assert options_of("") == options_of("given") == ("encoder", None)


def test_photos_are_read_as_the_stores_were(faces, models, tmp_path):
    paths = sorted(faces.glob("*.jpg"))[:2]
    photo, other = tmp_path / "photos" / "a.jpg", tmp_path / "b.jpg"
    photo.parent.mkdir()
    shutil.copy(paths[0], photo)
    shutil.copy(paths[1], other)
    refined = models.with_settings(refine=1)
    done = ingest_collection(str(photo.parent), tmp_path / ".ris", refined)
    assert summary(done.store)["inverters"] == {refined.inverter.fingerprint: 1}
    assert Models.of_store(done.store).refine == 1
    assert face_of_photo(other, refined, done.store).error is not None
    with pytest.raises(MismatchError, match="refined1-.*encoder-"):
        face_of_photo(other, models, done.store)
