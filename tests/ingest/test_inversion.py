from __future__ import annotations

import time

import pytest
import torch

from ris.errors import InputError, ModelFileError
from ris.generators.readout import ReadOut
from ris.ingest.inversion.contract import resize
from ris.ingest.inversion.optimisation import OptimisationConfig, load_inverter


@pytest.fixture(scope="module")
def inverter(generator):
    return load_inverter(generator, steps=6)


@pytest.fixture(scope="module")
def faces(generator):
    """Two generated faces at 256 px with their codes."""
    z = torch.randn(2, 512, generator=torch.Generator().manual_seed(7))
    w = generator.mapping(z)
    with torch.no_grad():
        image = torch.cat([generator.render(generator.sigma(code[None])) for code in w])
    return w, resize(image.clamp(-1, 1), 256)


@pytest.fixture(scope="module")
def inversion(inverter, faces):
    return inverter.invert(faces[1])


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return 10 * torch.log10(4 / (a - b).square().mean((1, 2, 3)))


@torch.no_grad()
def test_the_readout_shows_what_a_full_render_shows(generator, inverter, faces):
    w, images = faces
    small = resize(images, 128)
    fitted = psnr(inverter.readout(generator.sigma(w)), small)
    unfitted = psnr(ReadOut(generator, 128)(generator.sigma(w)), small)
    assert fitted.min() > 28
    assert (fitted > unfitted + 1).all()


@torch.no_grad()
def test_the_readout_depends_on_the_top_layers(generator, inverter, faces):
    sigma = generator.sigma(faces[0][:1])
    changed = sigma.clone()
    changed[:, generator.layout.slices[-1]] *= 1.5
    assert (inverter.readout(sigma) - inverter.readout(changed)).abs().mean() > 0.02


def test_a_readout_names_what_is_wrong(generator, inverter):
    with pytest.raises(ValueError, match="no block .* at 100 px"):
        ReadOut(generator, 100)
    tensors = dict(inverter.readout.tensors)
    tensors["5.conv1.gain"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"5\.conv1\.gain .* \(3,\)"):
        ReadOut(generator, 128, tensors)


def test_the_first_guess_is_nearer_than_the_mean(generator, inverter, faces):
    images = faces[1]
    mean = inverter.pspace.to_w(torch.zeros(2, generator.layout.rows, 512))
    guess = load_inverter(generator, steps=0).invert(images)
    assert guess.steps == 0
    assert (guess.error < 0.8 * inverter.error(mean, images)).all()
    assert torch.equal(guess.w[:, :1].expand_as(guess.w), guess.w)  # a code of W


def test_steps_bring_the_code_nearer(generator, inversion, faces):
    guess = load_inverter(generator, steps=0).invert(faces[1])
    assert inversion.w.shape == (2, generator.layout.rows, 512)
    assert (inversion.error < guess.error - 0.02).all()


def test_rows_stay_near_a_code_of_w(inverter, inversion):
    v = inverter.pspace.from_w(inversion.w)
    shared = v.mean(1, keepdim=True)
    assert 0 < (v - shared).square().mean() < 0.1 * shared.square().mean()


def test_the_true_code_has_almost_no_error(generator, inverter, inversion, faces):
    w, images = faces
    true = inverter.error(w[:, None].expand(-1, generator.layout.rows, -1), images)
    assert true.max() < 0.2
    assert (true < inversion.error).all()


def test_reported_errors_are_those_of_the_codes(inverter, inversion, faces):
    again = inverter.error(inversion.w, faces[1])
    assert torch.allclose(again, inversion.error, atol=1e-4)


def test_a_face_does_not_depend_on_its_neighbours_and_repeats(inverter, inversion, faces):
    alone = inverter.invert(faces[1][1:])
    assert torch.allclose(alone.w[0], inversion.w[1], atol=1e-4)
    assert torch.allclose(alone.error[0], inversion.error[1], atol=1e-4)


def test_a_face_does_not_depend_on_the_number_of_threads(generator, faces):
    inverter = load_inverter(generator, steps=3)
    threads = torch.get_num_threads()
    try:
        codes = []
        for n in (1, 2):
            torch.set_num_threads(n)
            codes.append(inverter.invert(faces[1]).w)
            assert torch.get_num_threads() == n  # given back as it was
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*codes)


def test_an_error_in_one_face_ends_the_others(generator, faces):
    inverter = load_inverter(generator, steps=200)
    begin = time.monotonic()

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inverter.invert(faces[1], progress=interrupt)
    assert time.monotonic() - begin < 30


def test_a_given_start_is_kept_without_steps(generator, faces):
    w, images = faces
    still = load_inverter(generator, steps=0)
    kept = still.invert(images, start=w)
    assert torch.allclose(kept.w, w[:, None].expand_as(kept.w), atol=1e-3)
    assert torch.allclose(still.invert(images, start=kept.w).w, kept.w, atol=1e-3)


def test_progress_counts_steps_of_all_faces(generator, faces):
    seen: list[tuple[int, int]] = []
    load_inverter(generator, steps=1).invert(faces[1], progress=lambda *a: seen.append(a))
    assert seen == [(1, 2), (2, 2)]


def test_the_fingerprint_tells_configurations_apart(generator, inverter):
    assert load_inverter(generator, steps=6).fingerprint == inverter.fingerprint
    assert load_inverter(generator, steps=7).fingerprint != inverter.fingerprint
    assert load_inverter(generator).config == OptimisationConfig()


def test_bad_input_is_refused(generator, inverter):
    with pytest.raises(InputError, match="wants"):
        inverter.invert(torch.zeros(3, 64, 64))
    with pytest.raises(InputError, match="starting codes"):
        inverter.invert(torch.zeros(1, 3, 64, 64), start=torch.zeros(2, 512))
    with pytest.raises(InputError, match="0 or more"):
        load_inverter(generator, steps=-1)
    assert len(inverter.invert(torch.zeros(0, 3, 64, 64)).w) == 0


def test_another_generator_has_no_inverter():
    class Other:
        name = "other"

    with pytest.raises(ModelFileError, match="fitted to the shipped generator, not to other"):
        load_inverter(Other())
