"""Native kernels against their references, as compiled for this processor and for plainer ones."""

from __future__ import annotations

import platform

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ris.ingest.sampling import sample_w
from ris.method.catalogue import FeatureCatalogue
from ris.method.contribution import EPSILON, class_energy, contribution_scores
from ris.networks.fused import network
from ris.networks.graph import Graph, GraphNetwork, Step, Value
from ris.networks.norms import with_norms
from ris.ops import native, pooling, segmentation
from ris.ops.calls import kernels

PLAINER = ["-march=x86-64-v3", "-march=x86-64"] if platform.machine() == "x86_64" else []


@pytest.fixture(scope="module", params=["-march=native", *PLAINER])
def library(request, tmp_path_factory):
    import ctypes

    try:
        native.find_compiler()
    except native.BuildError as e:
        pytest.skip(str(e))
    with pytest.MonkeyPatch.context() as patch:
        flags = tuple(request.param if f == "-march=native" else f for f in native.FLAGS)
        patch.setattr(native, "FLAGS", flags)
        return ctypes.CDLL(str(native.build(tmp_path_factory.mktemp("kernels"))))


@pytest.fixture
def use(library, monkeypatch):
    """Every caller gets this library."""
    monkeypatch.setattr("ris.ops.calls.library", lambda: library)
    return library


def activation(channels: int, size: int, seed: int = 0, batch: int = 1) -> torch.Tensor:
    """Channels of very different means and deviations."""
    draw = torch.Generator().manual_seed(seed)
    scale, mean = torch.randn(2, batch, channels, 1, 1, generator=draw)
    return torch.randn(batch, channels, size, size, generator=draw) * scale.exp() + 5 * mean


def class_masks(classes: int, size: int, seed: int = 1, batch: int = 1) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (batch, 1, 8, 8), generator=draw).float()
    labels = F.interpolate(labels, size=(size, size))[:, 0].long()
    return F.one_hot(labels, classes).permute(0, 3, 1, 2).float()


def slow_energy(a: torch.Tensor, masks: torch.Tensor, normalise: bool) -> torch.Tensor:
    """The formula as it stands, with every pixel of every class, in double precision."""
    a, masks = a.double(), masks.double()
    u = F.interpolate(masks, size=a.shape[2:], mode="bilinear", align_corners=False)
    if not normalise:
        return (a[:, None].square() * u[:, :, None]).mean((3, 4))
    a = a - a.mean((2, 3), keepdim=True)
    energy = (a[:, None].square() * u[:, :, None]).sum((3, 4))  # [B, K, C]
    pixels = a.shape[2] * a.shape[3]
    area = u.sum((2, 3))[:, :, None]
    return (energy + EPSILON * area) / (energy.sum(1, keepdim=True) + EPSILON * pixels)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("last", [True, False], ids=["NHWC", "NCHW"])
@pytest.mark.parametrize(("channels", "size"), [(512, 4), (100, 8), (64, 32), (37, 64), (5, 200)])
def test_energies_equal_the_formula(use, channels, size, last, normalise):
    masks = class_masks(11, 64, batch=2)
    a = activation(channels, size, batch=2)
    a[:, 0] = 3  # a constant channel
    if last:
        a = a.contiguous(memory_format=torch.channels_last)
    exact = slow_energy(a, masks, normalise)
    for impl in ("native", "reference"):
        found = class_energy(a, masks, normalise=normalise, impl=impl)
        torch.testing.assert_close(found, exact.float(), atol=1e-5, rtol=1e-4)


def test_energies_keep_their_digits_far_from_zero(use):
    """A mean a thousand deviations away, which squares in single precision cannot bear."""
    a, masks = activation(32, 128) + 3000, class_masks(4, 64)
    for order in (torch.channels_last, torch.contiguous_format):
        found = class_energy(a.contiguous(memory_format=order), masks, impl="native")
        torch.testing.assert_close(found, slow_energy(a, masks, True).float(), atol=1e-4, rtol=0)


def test_the_number_of_threads_changes_nothing(use, monkeypatch):
    a = activation(64, 96).contiguous(memory_format=torch.channels_last)
    masks, catalogue, layers = class_masks(6, 64), random_catalogue(), random_layers()
    found = []
    for count in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        found.append((class_energy(a, masks, impl="native"), catalogue.labels(layers, "native")))
    for scores, labels in found[1:]:
        assert torch.equal(scores, found[0][0])
        assert torch.equal(labels, found[0][1])


def random_catalogue() -> FeatureCatalogue:
    """45 clusters, which fill no whole panel, in 7 classes, of which one has none."""
    draw = torch.Generator().manual_seed(2)
    return FeatureCatalogue(
        classes=tuple("abcdefg"),
        centroids=torch.randn(45, 96, generator=draw),
        class_of_cluster=torch.randint(6, (45,), generator=draw),
        layers=("x", "y"),
        layer_indices=(3, 5),
        channels=(32, 64),
        weights=(1.0, 0.5),
        size=24,
        generator="none",
    )


def random_layers() -> dict[int, torch.Tensor]:
    made = {3: activation(32, 24, 3, batch=2), 5: activation(64, 24, 4, batch=2)}
    return {k: x.contiguous(memory_format=torch.channels_last) for k, x in made.items()}


def test_labels_of_random_layers(use):
    catalogue, layers = random_catalogue(), random_layers()
    assert segmentation.fits(use, catalogue.channels)
    found = catalogue.labels(layers, "native")
    assert torch.equal(found, catalogue.labels(layers, "reference"))
    assert len(found.unique()) == 6
    mixed = {3: layers[3], 5: layers[5].contiguous()}  # another memory order
    assert torch.equal(found, catalogue.labels(mixed, "native"))


def test_labels_where_the_best_are_close(use):
    """Pairs of centres that differ by a thousandth of their length, in different classes."""
    draw = torch.Generator().manual_seed(5)
    centres = torch.randn(16, 64, generator=draw)
    near = centres + 1e-3 * torch.randn(16, 64, generator=draw)
    catalogue = FeatureCatalogue(
        classes=("a", "b"),
        centroids=torch.cat([centres, near]),
        class_of_cluster=torch.arange(32) // 16,
        layers=("x",),
        layer_indices=(0,),
        channels=(64,),
        weights=(1.0,),
        size=48,
        generator="none",
    )
    x = {0: activation(64, 48).contiguous(memory_format=torch.channels_last)}
    differ = (catalogue.labels(x, "native") != catalogue.labels(x, "reference")).float().mean()
    assert differ < 2e-3  # eight bits alone would give one in three


def test_real_layers_and_labels(use, generator, catalogue):
    generator = generator.using("native")
    generator._packed = {}  # panels are as wide as the processor's vectors
    plain = generator.using("reference")
    w = torch.stack([sample_w(generator, s) for s in (11, 12)])
    with torch.no_grad():
        sigma = generator.sigma(w)
        pairs = list(
            zip(generator.activations(sigma, 128), plain.activations(sigma, 128), strict=True)
        )
    for ours, theirs in pairs:
        assert ours.input.shape == theirs.input.shape
        scale = theirs.input.abs().max()
        assert (ours.input - theirs.input).abs().max() < 1e-5 * scale, ours.layer
    layers = {b.layer: b.input for _, b in pairs}
    assert segmentation.fits(use, catalogue.channels)
    made = segmentation.Segmenter(
        use, catalogue.centroids, catalogue.class_of_cluster, catalogue.channels, catalogue.weights
    )
    labels = made.labels([layers[i] for i in catalogue.layer_indices])
    differ = (labels != catalogue.labels(layers, "reference")).sum()
    assert differ <= 2  # ties


def test_pictures(generator):
    sigma = generator.sigma(sample_w(generator, 3)[None])
    with torch.no_grad():
        plain = generator.using("reference").render(sigma)
        torch.testing.assert_close(generator.render(sigma), plain, atol=2e-4, rtol=0)


def test_gradients_go_through_the_reference(generator, catalogue):
    sigma = generator.sigma(sample_w(generator, 3)[None]).requires_grad_()
    *_, last = generator.activations(sigma, 8)
    last.input.sum().backward()
    assert sigma.grad is not None
    assert sigma.grad.abs().max() > 0
    with pytest.raises(ValueError, match="without gradients"):
        kernels("native", sigma)


def test_a_kernel_that_is_asked_for_and_cannot_run(monkeypatch):
    monkeypatch.setattr("ris.ops.calls.library", lambda: None)
    monkeypatch.setattr("ris.ops.calls.problem", lambda: "no ninja: `pip install ninja`")
    a, masks = activation(4, 8), class_masks(2, 8)
    with pytest.raises(ValueError, match="no native kernels here: no ninja"):
        class_energy(a, masks, impl="native")
    assert torch.equal(class_energy(a, masks), class_energy(a, masks, impl="reference"))


def test_unusual_widths_are_the_references(generator):
    """The kernels take multiples of a panel up to 512 channels; others fall back."""
    library = native.library()
    if library is None:
        pytest.skip(str(native.problem()))
    assert not segmentation.fits(library, (512, 40))
    assert not segmentation.fits(library, (1024,))
    found = pooling.class_energy(
        library, activation(3, 8), class_masks(2, 8), normalise=True, epsilon=EPSILON
    )
    assert found.shape == (1, 2, 3)


def test_scores_of_a_batch_and_of_each(generator, catalogue):
    sigma = generator.sigma(torch.stack([sample_w(generator, s) for s in (4, 5)]))
    both = contribution_scores(generator, catalogue, sigma, max_resolution=64)
    each = [contribution_scores(generator, catalogue, s[None], max_resolution=64) for s in sigma]
    torch.testing.assert_close(both, torch.cat(each), atol=1e-4, rtol=0)


# -- the networks that find faces ---------------------------------------------------------------


def graph_of_layers(channels: int, seed: int) -> Graph:
    """Every kind of layer at odd sizes: a window over the input, depthwise convolutions of either
    stride, sums with as many channels and with fewer, both activations, a maximum, two outputs."""
    draw = np.random.default_rng(seed)
    values, steps = [Value("image", (1, 20, 12, 3))], []

    def constant(*shape: int) -> int:
        numbers = draw.normal(size=shape).astype(np.float32) / np.sqrt(max(1, np.prod(shape[1:])))
        values.append(Value(f"c{len(values)}", shape, numbers.astype(np.float32)))
        return len(values) - 1

    def step(kind: str, inputs: list[int], shape: tuple[int, ...], **options: int) -> int:
        values.append(Value(f"v{len(values)}", shape))
        steps.append(Step(kind, tuple(inputs), len(values) - 1, options))
        return len(values) - 1

    def convolution(source: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0):
        _, h, w, c = values[source].shape
        depthwise = outputs == 0
        made = c if depthwise else outputs
        weight = (1, kernel, kernel, c) if depthwise else (outputs, kernel, kernel, c)
        size = [-(-n // stride) if padding == 0 else (n - kernel) // stride + 1 for n in (h, w)]
        return step(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            [source, constant(*weight), constant(made)],
            (1, *size, made),
            padding=padding, stride_w=stride, stride_h=stride, activation=0,
            dilation_w=1, dilation_h=1,
        )  # fmt: skip

    def prelu(source: int) -> int:
        shape = values[source].shape
        return step("PRELU", [source, constant(1, 1, shape[-1])], shape)

    x = prelu(convolution(0, channels, 5, 2))  # (10, 6)
    y = convolution(convolution(x, 0, 3), channels, 1)
    x = step("RELU", [step("ADD", [x, y], values[x].shape, activation=0)], values[x].shape)
    pooled = step("MAX_POOL_2D", [x], (1, 5, 3, channels), filter_h=2, filter_w=2, stride_h=2,
                  stride_w=2, padding=0, activation=0)  # fmt: skip
    wider = channels + 5
    values.append(Value("border", (4, 2), np.array([[0, 0]] * 3 + [[0, 5]], np.int32)))
    padded = step("PAD", [pooled, len(values) - 1], (1, 5, 3, wider))
    y = convolution(convolution(x, 0, 3, 2), wider, 1)
    x = prelu(step("ADD", [padded, y], values[y].shape, activation=0))
    first = convolution(x, 7, 2, 1, padding=1)
    second = step("LOGISTIC", [convolution(x, 40, 1)], (1, 5, 3, 40))
    return Graph(tuple(values), tuple(steps), 0, (first, second))


def graph_of_a_mixer(tokens: int, channels: int) -> Graph:
    """One block of an MLP mixer: a norm as its ten steps, the mixing of tokens and of channels; and
    a norm of another value, which nothing may be joined to since its mean is an output."""
    draw = np.random.default_rng(tokens)
    values, steps = [Value("tokens", (1, 1, tokens, channels))], []

    def constant(numbers) -> int:
        numbers = np.asarray(numbers)
        numbers = numbers.astype(np.int32 if numbers.dtype.kind == "i" else np.float32)
        values.append(Value(f"c{len(values)}", numbers.shape, numbers))
        return len(values) - 1

    def step(kind: str, *inputs: int, shape: tuple[int, ...], **options: int) -> int:
        values.append(Value(f"v{len(values)}", shape))
        steps.append(Step(kind, inputs, len(values) - 1, options))
        return len(values) - 1

    def norm(x: int) -> tuple[int, int]:
        one, all_ = (1, 1, tokens, 1), (1, 1, tokens, channels)
        axis, epsilon = constant([3]), constant(np.float32(1e-3))
        mean = step("MEAN", x, axis, shape=one, keep_dims=1)
        less = step("NEG", mean, shape=one)
        square = step("SQUARED_DIFFERENCE", x, mean, shape=all_)
        variance = step("MEAN", square, axis, shape=one, keep_dims=1)
        root = step("RSQRT", step("ADD", variance, epsilon, shape=one, activation=0), shape=one)
        gain = constant(draw.normal(size=channels))
        scale = step("MUL", root, gain, shape=all_, activation=0)
        high = step("MUL", x, scale, shape=all_, activation=0)
        low = step("MUL", less, scale, shape=all_, activation=0)
        return step("ADD", high, low, shape=all_, activation=0), mean

    def dense(x: int, outputs: int, activation: int) -> int:
        *front, inputs = values[x].shape
        weight = constant(draw.normal(size=(outputs, 1, 1, inputs)) / np.sqrt(inputs))
        return step(
            "CONV_2D", x, weight, constant(draw.normal(size=outputs)), shape=(*front, outputs),
            padding=1, stride_w=1, stride_h=1, dilation_w=1, dilation_h=1, activation=activation,
        )  # fmt: skip

    order = constant([0, 1, 3, 2])
    turned = step("TRANSPOSE", norm(0)[0], order, shape=(1, 1, channels, tokens))
    mixed = dense(dense(turned, 40, 1), tokens, 0)
    back = step("TRANSPOSE", mixed, order, shape=(1, 1, tokens, channels))
    x = step("ADD", back, 0, shape=(1, 1, tokens, channels), activation=0)
    y = dense(dense(norm(x)[0], 25, 1), channels, 0)
    last = step("ADD", y, x, shape=(1, 1, tokens, channels), activation=0)
    outputs = (last, *norm(last))
    return Graph(tuple(values), tuple(steps), 0, outputs)


@pytest.mark.parametrize(("tokens", "channels"), [(97, 64), (5, 16), (30, 7)])
def test_layers_of_a_mixer(use, tokens, channels):
    graph = graph_of_a_mixer(tokens, channels)
    values = torch.randn(1, 1, tokens, channels, generator=torch.Generator().manual_seed(3))
    kinds = [step.kind for step in with_norms(graph).steps]
    assert kinds.count("LAYER_NORM") == 2 and kinds.count("RSQRT") == 1
    made, expected = network(graph, "native")(values), GraphNetwork(graph)(values)
    assert list(made) == list(expected)
    for name in expected:
        assert (made[name] - expected[name]).abs().max() < 1e-5 * (1 + expected[name].abs().max())


@pytest.mark.parametrize("channels", [1, 8, 16, 24, 33, 70])
def test_layers_of_a_graph(use, channels):
    graph = graph_of_layers(channels, channels)
    image = torch.randn(1, 20, 12, 3, generator=torch.Generator().manual_seed(3))
    made, expected = network(graph, "native")(image), network(graph, "reference")(image)
    assert list(made) == list(expected)
    for name in expected:
        assert (made[name] - expected[name]).abs().max() < 1e-5 * (1 + expected[name].abs().max())
