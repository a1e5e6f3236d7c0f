"""StyleGAN2 against reference vectors: mapping, styles, images, scores, masks, transfers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checkpoints import VECTORS, as_nvidia, draw, network, nvidia_shapes, rosinality, rule
from conftest import SHARED

from ris.data.models.stylegan2_files import _ours
from ris.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from ris.method.contribution import EPSILON, class_energy
from ris.method.masks import MaskOptions, feature_mask
from ris.method.transfer import direction, move

STEP = 8
"""The small vectors keep every eighth channel."""
CLASSES = ("nose", "eyes", "mouth", "hair", "background", "cheeks", "neck", "clothes")
CLUSTERS = (
    (7,), (1, 6), (4,), (0, 3, 5, 8, 10, 15, 16), (11, 13, 14), (9,), (17,), (2, 12),
)  # fmt: skip


def codes(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """z (2, 512), and what W+ codes add to w, (2, L, 512), as the vectors' rule draws them."""
    z = np.random.RandomState(0).standard_normal((2, 512))
    noise = np.random.RandomState(1).standard_normal((2, rows, 512))
    return torch.from_numpy(z).float(), torch.from_numpy(noise).float()


def block_masks() -> torch.Tensor:
    """(2, 8, 32, 32): a chequered face of eight classes."""
    grid = torch.arange(32) // 8
    labels = (grid[:, None] * 3 + grid[None]) % 8
    return F.one_hot(torch.stack([labels, labels.T]), 8).permute(0, 3, 1, 2).float()


def scores(
    generator: StyleGAN2, sigma: torch.Tensor, masks: torch.Tensor, limit: int | None = None
) -> torch.Tensor:
    steps = generator.activations(sigma, limit)
    return torch.cat([class_energy(a.input, masks) for a in steps], dim=2)


SMALL = StyleGAN2Config((64, 64, 64, 64, 32))


@pytest.fixture(scope="module")
def small() -> StyleGAN2:
    return StyleGAN2(network(SMALL))


@pytest.fixture(scope="module")
def reference():
    """The reference implementation's outputs at 1024 px."""
    path = SHARED / "vectors" / "stylegan2_1024.npz"
    if not path.is_file():
        pytest.skip("no reference vectors beside the checkout (../shared/vectors)")
    with np.load(path) as file:
        return {k: torch.from_numpy(file[k]) for k in file}


@pytest.fixture(scope="module")
def big(reference) -> StyleGAN2:
    return StyleGAN2(network(StyleGAN2Config.of_size(1024)))


@pytest.fixture(scope="module")
def sigma(big, reference) -> torch.Tensor:
    with torch.no_grad():
        return big.sigma(reference["wplus"])


@pytest.fixture(scope="module")
def masks(reference) -> torch.Tensor:
    """(2, 8, 32, 32) class masks of the reference's segmentation."""
    return F.one_hot(class_of_cluster()[reference["segmentation"].long()], 8).permute(0, 3, 1, 2)


def class_of_cluster() -> torch.Tensor:
    found = torch.zeros(18, dtype=torch.long)
    for k, members in enumerate(CLUSTERS):
        found[list(members)] = k
    return found


def close(ours: torch.Tensor, theirs: torch.Tensor, relative: float, least: float) -> None:
    """Equal within a relative tolerance; below `least` within that part of it."""
    error = (ours - theirs).abs() / theirs.abs().clamp_min(least)
    assert float(error.max()) < relative


# -- layout ------------------------------------------------------------------------------------


def test_layout_at_1024_is_the_published_one():
    layout = StyleGAN2Config.of_size(1024).layout()
    assert (len(layout), layout.channels, layout.rows) == (26, 9088, 18)
    assert [i for i, x in enumerate(layout) if x.to_image] == list(range(1, 26, 3))
    assert [x.early for x in layout] == [True] * 4 + [False] * 22
    assert layout.early.sum() == 2048
    assert [x.row for x in layout.layers[:6]] == [0, 1, 1, 2, 3, 3]
    assert layout.layers[-1].row == 17
    assert layout.up_to(64).channels == 7680


@pytest.mark.parametrize("size", [32, 64, 128, 256, 512, 1024])
@pytest.mark.parametrize("multiplier", [1, 2])
def test_shape_is_inferred(size, multiplier):
    config = StyleGAN2Config.of_size(size, multiplier, mapping_layers=3)
    assert config.image_size == size
    assert config.widths[4:5] == ((256 * multiplier,) if size >= 64 else ())
    empty = {k: torch.zeros(()).expand(v) for k, v in config.expected_shapes().items()}
    assert StyleGAN2Config.of_weights(empty) == config


def test_a_size_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="not 16"):
        StyleGAN2Config((8, 8, 8))


# -- the small copy ----------------------------------------------------------------------------


def test_small_vectors(small):
    z, noise = codes(small.layout.rows)
    with np.load(VECTORS / "stylegan2_64.npz") as file, torch.no_grad():
        w = small.mapping(z)
        sigma = small.sigma(w[:, None] + 0.3 * noise)
        close(w, torch.from_numpy(file["w"]), 1e-4, 0.1)
        close(sigma[:, ::STEP], torch.from_numpy(file["sigma"]), 1e-4, 0.1)
        image = torch.from_numpy(file["image"])
        torch.testing.assert_close(small.render(sigma[:1]), image, atol=1e-3, rtol=1e-4)
        found = scores(small, sigma, block_masks())
        close(found[:, :, ::STEP], torch.from_numpy(file["contribution"]), 1e-4, 1e-2)
        assert float((found.sum(1) - 1).abs().max()) < 1e-5


def test_nvidias_images():
    """Images of NVIDIA's own network from weights under its own names."""
    shapes = nvidia_shapes(StyleGAN2Config.of_size(64))
    tensors = {name: rule(name, shape) for name, shape in shapes.items()}
    generator = StyleGAN2(_ours(tensors, VECTORS))
    torch.testing.assert_close(generator.mean_w(), tensors["mapping.w_avg"])
    z, noise = codes(generator.layout.rows)
    with np.load(VECTORS / "nvidia_stylegan2_64.npz") as file, torch.no_grad():
        w = generator.mapping(z[:1])
        torch.testing.assert_close(w, torch.from_numpy(file["w"]), atol=1e-4, rtol=1e-4)
        for name, code in (("image", w), ("image_wplus", w[:, None] + 0.3 * noise[:1])):
            image, expected = generator.render(generator.sigma(code)), torch.from_numpy(file[name])
            torch.testing.assert_close(image, expected, atol=1e-3, rtol=1e-4)


def test_names_of_nvidia_and_of_rosinality_are_one_network(small):
    tensors = rosinality(SMALL)
    assert StyleGAN2(_ours(as_nvidia(tensors), VECTORS)).fingerprint == small.fingerprint
    tensors["noises.noise_3"] = tensors["noises.noise_3"] + 1e-3
    assert StyleGAN2(_ours(as_nvidia(tensors), VECTORS)).fingerprint != small.fingerprint


# -- behaviour ---------------------------------------------------------------------------------


def test_activations_have_the_layouts_shapes_and_stop_in_time(small):
    sigma = small.sigma(torch.from_numpy(draw("w", (2, 512))))
    with torch.no_grad():
        every = list(small.activations(sigma))
        some = list(small.activations(sigma, 16))
    assert [a.layer for a in every] == list(range(len(small.layout)))
    assert len(some) == len(small.layout.up_to(16)) == 9
    for (i, x), layer in zip(every, small.layout, strict=True):
        assert x.shape == (2, layer.channels, layer.resolution, layer.resolution)
        if i < len(some):
            assert torch.equal(x, some[i].input)


def test_nothing_above_the_resolution_is_computed(small, monkeypatch):
    applied = []
    original = StyleGAN2.apply_layer

    def counted(self, index, x, sigma):
        applied.append(index)
        return original(self, index, x, sigma)

    monkeypatch.setattr(StyleGAN2, "apply_layer", counted)
    list(small.activations(small.sigma(torch.zeros(1, 512)), 16))
    assert applied == [0, 2, 3, 5, 6]  # not the upsampling to 32 px, index 8; no to-image layer


def test_a_layers_sigma_scales_its_activation(small):
    """Doubled style, doubled input: the same, up to the demodulation that both undo."""
    sigma = small.sigma(torch.from_numpy(draw("w", (1, 512))))
    for index in (3, 4):  # a convolution, a to-image layer
        doubled = sigma.clone()
        doubled[:, small.layout.slices[index]] *= 2
        with torch.no_grad():
            x = list(small.activations(sigma, 16))[index].input
            ours = small.apply_layer(index, x, doubled)
            twice = 1 if index == 3 else 2
            expected = small.apply_layer(index, x * twice, sigma)
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_rendering_is_deterministic_and_differentiable(small):
    sigma = small.sigma(torch.from_numpy(draw("w", (1, 512)))).requires_grad_()
    image = small.render(sigma)
    assert torch.equal(image, small.render(sigma))
    (gradient,) = torch.autograd.grad(image.square().sum(), sigma)
    assert bool(gradient.isfinite().all())
    assert int((gradient != 0).sum()) > 0.9 * gradient.numel()


def test_clamp_bounds_what_convolutions_give():
    config = StyleGAN2Config((8, 8, 8, 8), mapping_layers=1, clamp=0.5)
    generator = StyleGAN2(network(config), config)
    sigma = generator.sigma(torch.zeros(1, 512))
    for i, x in generator.activations(sigma):
        assert i < 2 or float(x.abs().max()) <= 0.5
    free = StyleGAN2(network(config))
    assert free.fingerprint != generator.fingerprint
    assert float(list(free.activations(sigma))[-1].input.abs().max()) > 0.5


def test_mean_of_w_is_taken_from_the_weights_or_estimated(small):
    z = torch.randn(4096, 512, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(small.mean_w(), small.mapping(z).mean(0), atol=1e-4, rtol=1e-4)
    config = StyleGAN2Config((4, 4, 4, 4), mapping_layers=1)
    known = StyleGAN2(network(config) | {"latent_avg": torch.arange(512.0)})
    assert torch.equal(known.mean_w(), torch.arange(512.0))
    assert known.fingerprint == StyleGAN2(network(config)).fingerprint


def test_codes_of_a_wrong_shape_are_refused(small):
    with pytest.raises(ValueError, match=r"\(B, 10, 512\), not \(1, 18, 512\)"):
        small.sigma(torch.zeros(1, 18, 512))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"convs.2.noise.weight": None}, r"lack convs\.2\.noise\.weight \(1,\)"),
        (
            {"convs.2.activate.bias": torch.zeros(7)},
            r"convs\.2\.activate\.bias is \(7,\), expected \(8,\)",
        ),
        (
            {"style.2.weight": torch.zeros(512, 256)},
            r"style\.2\.weight is \(512, 256\), expected \(512, 512\)",
        ),
        ({"noises.noise_9": torch.zeros(1)}, r"unknown tensor noises\.noise_9"),
        ({"latent_avg": torch.zeros(3)}, r"latent_avg is \(3,\), expected \(512,\)"),
        ({"to_rgbs.2.bias": None}, r"lack to_rgbs\.2\.bias \(1, 3, 1, 1\)"),
        ({"convs.5.activate.bias": None}, r"lack convs\.5\.activate\.bias"),
        ({f"style.{i}.{p}": None for i in (1, 2) for p in ("weight", "bias")}, "not a StyleGAN2"),
    ],
)
def test_wrong_weights_are_named(change, message):
    weights = network(StyleGAN2Config((8, 8, 8, 8), mapping_layers=2)) | change
    weights = {k: v for k, v in weights.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        StyleGAN2(weights)


# -- the reference at 1024 px ------------------------------------------------------------------


def test_reference_codes_and_styles(big, reference, sigma):
    w = big.mapping(codes(18)[0])
    close(w, reference["w"], 1e-4, 0.1)
    close(sigma, reference["sigma"], 1e-4, 0.1)


def test_reference_image(big, reference, sigma):
    with torch.no_grad():
        for i in range(2):
            image = F.adaptive_avg_pool2d(big.render(sigma[i : i + 1]).clamp(-1, 1), 64)
            torch.testing.assert_close(image[0], reference["image64"][i], atol=1e-4, rtol=0)
        hair = big.render(reference["transfer_hair"])
        image = F.adaptive_avg_pool2d(hair.clamp(-1, 1), 64)
        torch.testing.assert_close(image, reference["image64_hair"], atol=1e-4, rtol=0)


def test_reference_segmentation(big, reference, sigma):
    """Nearest centre on the squared output of the second 32x32 convolution alone."""
    index = [x.name for x in big.layout].index("convs.6")
    with torch.no_grad():
        x = list(big.activations(sigma, 32))[index].input / 2**0.5
        before = torch.where(x > 0, x, x / 0.2)
        before = before - big._get("convs.5.bias") - big._get("convs.5.noise")
        features = F.normalize(before.square(), dim=1)
        labels = torch.einsum("bchw,nc->bnhw", features, reference["centroids"]).argmax(1)
    assert torch.equal(labels, reference["segmentation"].long())


def reference_form(
    generator: StyleGAN2, sigma: torch.Tensor, masks: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, K, S) scores, and what each class would lose of them in the reference's form.

    There the scores of a channel sum to a little less than 1 where it hardly varies; ours give
    what is missing to the classes by their area (`ris.method.contribution.class_energy`).
    """
    ours, shares = [], []
    for activation in generator.activations(sigma):
        x = activation.input
        size = x.shape[-2:]
        area = F.interpolate(masks, size=size, mode="bilinear").mean((2, 3))  # [B, K]
        variance = x.var((2, 3), correction=0)  # [B, C]
        missing = EPSILON / (variance + EPSILON)
        ours.append(class_energy(x, masks))
        shares.append(area[:, :, None] * missing[:, None])
    return torch.cat(ours, 2), torch.cat(shares, 2)


@pytest.fixture(scope="module")
def contribution(big, sigma, masks) -> torch.Tensor:
    """(2, 8, S) scores, in the reference's form."""
    with torch.no_grad():
        both = [reference_form(big, sigma[i : i + 1], masks[i : i + 1].float()) for i in range(2)]
    ours, shares = (torch.cat(part) for part in zip(*both, strict=True))
    assert float((ours.sum(1) - 1).abs().max()) < 1e-4
    assert float(shares.max()) < 0.01
    return ours - shares


def test_reference_scores(reference, contribution):
    close(contribution, reference["contribution"], 1e-4, 1e-3)


def test_reference_masks(big, reference, contribution):
    options = MaskOptions(kind="hard", tau=0.1, least=0)
    early = torch.from_numpy(big.layout.early)
    q = torch.softmax(contribution / 0.1, dim=1)
    unsure = (q - 0.8).abs() < 1e-4
    assert float(unsure.float().mean()) < 1e-4
    for k, name in enumerate(CLASSES):
        theirs = reference["mask_hard"][:, k].bool()
        if name != "hair":  # the reference leaves the early layers to hair later, for pairs
            theirs = theirs & ~early
        ours = feature_mask(contribution, big.layout, CLASSES, name, options).bool()
        assert not (ours != theirs)[~unsure[:, k]].any()


def union(contribution: torch.Tensor, big: StyleGAN2, feature: str) -> torch.Tensor:
    """(C,) mask of the pair as the reference makes it: what either face's mask has; of the pose
    what neither has of hair."""
    options = MaskOptions(kind="hard", tau=0.1, least=0)
    both = feature_mask(contribution, big.layout, CLASSES, feature, options)
    return both.amin(0) if feature == "pose" else both.amax(0)


def test_reference_masks_of_a_pair(big, reference, contribution):
    q = torch.softmax(contribution / 0.1, dim=1)
    unsure = ((q - 0.8).abs() < 1e-4).any(0)
    to_image = torch.from_numpy(big.layout.to_image)
    for k, name in enumerate((*CLASSES, "pose")):
        ours, theirs = union(contribution, big, name), reference["mask_pair_with_pose"][0, k]
        row = CLASSES.index("hair") if name == "pose" else k
        sure = ~unsure[row]
        if name == "pose":  # which in the reference has the early to-image layer too
            assert theirs[to_image & torch.from_numpy(big.layout.early)].all()
            sure &= ~to_image
        assert torch.equal(ours[sure].bool(), theirs[sure].bool())


@pytest.mark.parametrize("feature", [*CLASSES, "pose"])
def test_reference_transfers(reference, sigma, feature):
    k = (*CLASSES, "pose").index(feature)
    mask = reference["mask_pair_with_pose"][:, k].float()
    towards = direction(sigma[:1], sigma[1:], mask, "rescaled")
    moved = move(sigma[:1], towards, torch.tensor([1.3]))[:, 0]
    close(moved, reference[f"transfer_{feature}"], 1e-4, 0.1)
