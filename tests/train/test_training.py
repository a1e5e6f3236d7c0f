"""Training of the encoder, on few real renders: data, augmentation, loop."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ris.ingest.inversion.optimisation import load_inverter
from ris.networks import EfficientNetLite
from train.encoder_training.augment import LIGHT, Augmentation, augment, vary
from train.encoder_training.generated_faces import (
    CodeSpread,
    draw_codes,
    make_chunk,
    read_chunk,
    torch_renderer,
)
from train.encoder_training.jpeg_damage import jpeg
from train.encoder_training.loop import FROZEN, Schedule, Trainer
from train.encoder_training.losses import CodeLoss
from train.encoder_training.probe import BLOCKS, LandmarkProbe, fit_probe
from train.encoder_training.training_photos import mirror_order, mirrored


@pytest.fixture(scope="module")
def inverter(generator):
    return load_inverter(generator, steps=0)


def test_codes_repeat_and_mix_layers(generator):
    w = draw_codes(generator, 40, seed=5)
    assert torch.equal(w, draw_codes(generator, 40, seed=5))
    assert not torch.equal(w, draw_codes(generator, 40, seed=6))
    mixed = (w != w[:, :1]).any(2).any(1)
    assert 10 < mixed.sum() < 35
    plain = draw_codes(generator, 10, 5, CodeSpread(mixed=0.0, truncation=(0.0, 0.0)))
    mean = generator.mean_w()
    torch.testing.assert_close(plain, mean.expand_as(plain))


def test_a_chunk_is_made_once_and_shows_its_codes(generator, inverter, tmp_path):
    render = torch_renderer(generator, inverter.readout)
    assert make_chunk(tmp_path, generator, render, 3, seed=7)
    assert not make_chunk(tmp_path, generator, render, 3, seed=7)
    (path,) = tmp_path.iterdir()
    w, images = read_chunk(path)
    assert w.shape == (3, generator.layout.rows, 512)
    with torch.no_grad():
        again = inverter.readout(generator.sigma(w.float())).clamp(-1, 1)
    assert (images.float() / 127.5 - 1 - again).abs().max() < 0.02


@pytest.mark.parametrize("strength", [Augmentation(), LIGHT])
def test_augmented_faces_are_still_the_faces(rendered, strength):
    images = torch.nn.functional.interpolate(rendered[1][:20], 128, mode="area")
    before = images.clone()
    rng = torch.Generator().manual_seed(0)
    altered = augment(images, rng, strength)
    assert torch.equal(images, before)
    assert altered.shape == images.shape
    assert altered.abs().max() <= 1
    assert not torch.equal(altered, images)
    again = augment(images, torch.Generator().manual_seed(0), strength)
    assert torch.equal(again, altered)
    own = (altered - images).square().mean((1, 2, 3))
    other = (altered - images.roll(1, 0)).square().mean((1, 2, 3))
    assert (own < other).float().mean() > 0.9


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_jpeg_is_what_a_file_gives_back(rendered, quality):
    images = torch.nn.functional.interpolate(rendered[1][:3], 128, mode="area")
    pixels = ((images + 1) * 127.5).round()
    found = (jpeg(pixels / 127.5 - 1, [quality] * 3) + 1) * 127.5
    for before, after in zip(pixels, found, strict=True):
        buffer = io.BytesIO()
        picture = Image.fromarray(before.permute(1, 2, 0).to(torch.uint8).numpy())
        picture.save(buffer, "JPEG", quality=quality)
        file = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).float()
        off = (after - file).abs().mean()
        assert off < 1.2
        assert off < 0.7 * (before - file).abs().mean()


def test_landmarks_go_where_varied_and_mirrored_pictures_show_them():
    """Dots on grey, at three places each, one to the left, one to the right, one between."""
    rng = torch.Generator().manual_seed(0)
    marks = torch.tensor([[0.3, 0.4], [0.7, 0.4], [0.5, 0.7]]) + 0.02 * torch.randn(
        20, 3, 2, generator=rng
    )
    centres = (torch.arange(128) + 0.5) / 128
    spots = [
        torch.exp(-((centres - x) ** 2)[None] * 3000 - ((centres - y) ** 2)[:, None] * 3000)
        for x, y in marks.reshape(-1, 2).tolist()
    ]
    images = torch.stack(spots).view(20, 3, 128, 128)  # a mark a channel
    order = mirror_order(marks)
    assert order.tolist() == [1, 0, 2]
    flipped, there = mirrored(images, marks, order)
    varied, now = vary(flipped, there, rng)
    for i in range(20):
        for mark, place in enumerate(now[i]):
            channel = order[mark]  # the dot that was there before the mirror
            y, x = divmod(varied[i, channel].argmax().item(), 128)
            assert abs((x + 0.5) / 128 - place[0]) < 0.012
            assert abs((y + 0.5) / 128 - place[1]) < 0.012
    assert (now - there).abs().max() > 0.02


def test_the_code_loss_is_a_share_of_what_the_mean_leaves(generator, inverter):
    loss = CodeLoss(generator, inverter.pspace)
    w = draw_codes(generator, 200, 1, CodeSpread(mixed=0.0, truncation=(1.0, 1.0)))
    v = inverter.pspace.from_w(w)
    zero = torch.zeros_like(v)
    assert max(x.item() for x in loss(v[:, 0], zero, w)) < 1e-4
    codes, _ = loss(zero[:, 0], zero, w)  # the mean of P space
    assert codes.item() == pytest.approx(1, abs=0.1)
    mean = inverter.pspace.from_w(generator.mean_w()).expand(len(w), -1)
    _, styles = loss(mean, zero, w)
    assert styles.item() == pytest.approx(1, abs=0.15)


def test_a_training_that_is_cut_goes_on_as_if_it_was_not(
    generator, inverter, small_encoder, rendered, tmp_path
):
    images = torch.nn.functional.interpolate(rendered[1][:8], 128, mode="area")
    w = rendered[0][:8]
    w = w[:, None].expand(-1, generator.layout.rows, -1) if w.ndim == 2 else w
    distance = CodeLoss(generator, inverter.pspace)

    def loss(net, rows):
        v, d = net(images[rows])
        codes, styles = distance(v, d, w[rows])
        return {"codes": codes, "styles": styles}

    def trainer(name):
        net = small_encoder()
        return Trainer(net, Schedule(6, warmup=2), loss, tmp_path / name, threads=2)

    threads = torch.get_num_threads()
    try:
        jobs = [[slice(0, 4), slice(4, 8)]] * 6
        whole = trainer("whole.pt")
        lines = list(whole.run(jobs, every=2))
        assert len(lines) == 3
        first = trainer("cut.pt")
        first.schedule = Schedule(6, warmup=2)
        list(first.run(jobs[:4], every=2))
        second = trainer("cut.pt")
        assert second.step == 4
        list(second.run(jobs, every=2))
        assert second.step == whole.step == 6
    finally:
        torch.set_num_threads(threads)
    start = small_encoder()
    for (name, a), b in zip(whole.net.named_parameters(), second.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        frozen = name.removeprefix("trunk.").startswith(FROZEN) and name.startswith("trunk.")
        assert torch.equal(a, start.get_parameter(name)) == frozen, name
    with torch.no_grad():
        before = sum(x.item() for x in loss(start, slice(0, 8)).values())
        after = sum(x.item() for x in loss(whole.net, slice(0, 8)).values())
    assert after < before


def test_the_probe_reads_positions(efficientnet_weights, rendered):
    backbone = EfficientNetLite(efficientnet_weights)
    images = torch.nn.functional.interpolate(rendered[1], 128, mode="area")
    pixels = ((images + 1) * 127.5).round().to(torch.uint8)
    rng = torch.Generator().manual_seed(0)
    moved, marks = [], []
    for image in pixels:  # one mark that follows a known shift of the picture
        dx, dy = (int(x) for x in torch.randint(-8, 9, (2,), generator=rng))
        moved.append(image.roll((dy, dx), (1, 2)))
        marks.append([[0.5 + dx / 128, 0.5 + dy / 128]])
    x, y = torch.stack(moved), torch.tensor(marks)
    probe = LandmarkProbe(fit_probe(backbone, x[:50], y[:50]))
    with torch.no_grad():
        found = probe(backbone.features(x[50:].float() / 127.5 - 1, BLOCKS))
    off = (found - y[50:]).norm(dim=2).mean()
    assert off < 0.6 * (y[50:] - 0.5).norm(dim=2).mean()
