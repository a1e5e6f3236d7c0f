from __future__ import annotations

import numpy as np
import pytest
import torch

from ris.data.models.openvino_ir import mobilestylegan_weights
from ris.data.models.registry import model_file
from ris.generators.mobilestylegan import MobileStyleGAN, inverse_haar


def read_weights() -> dict[str, torch.Tensor]:
    model = model_file("mobilestylegan-ffhq")
    return mobilestylegan_weights(
        model.path("MappingNetwork.xml"), model.path("SynthesisNetwork.xml")
    )


@pytest.fixture(scope="module")
def codes(generator):
    """Three W codes, and two W+ codes mixed of them layer by layer."""
    z = torch.randn(3, 512, generator=torch.Generator().manual_seed(7))
    w = generator.mean_w() + 0.8 * (generator.mapping(z) - generator.mean_w())
    mixed = w[:2, None].repeat(1, generator.layout.rows, 1)
    mixed[0, 7:] = w[1]
    mixed[1, ::2] = w[2]
    return w, mixed


@pytest.fixture(scope="module")
def openvino_render():
    """The wheel's own network, run by OpenVINO, with one code per style layer."""
    ov = pytest.importorskip("openvino")
    from openvino import opset13 as ops

    model_path = model_file("mobilestylegan-ffhq").path("SynthesisNetwork.xml")
    core = ov.Core()
    model = core.read_model(model_path)
    (style,) = model.inputs
    users = [t.get_node() for t in style.get_target_inputs()]
    affine = [node for node in users if node.get_type_name() == "MatMul"]
    parameter = ops.parameter([len(affine), 1, 512], np.float32)
    names = {}
    for i, node in enumerate(affine):
        row = ops.gather(parameter, np.int64(i), np.int64(0))
        node.input(0).replace_source_output(row.output(0))
        names[i] = node.input(1).get_source_output().get_node().get_friendly_name()
    model.add_parameters([parameter])
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def render(generator, code: torch.Tensor) -> np.ndarray:
        wplus = code.expand(generator.layout.rows, -1) if code.ndim == 1 else code
        rows = {}
        for layer in generator.layout:
            stored = "m.conv1." if layer.name == "conv1" else f"m.layers.{layer.name}."
            rows[stored.replace("m.layers.to_img", "m.layers.6.to_img")] = layer.row
        picked = [
            next(row for stored, row in rows.items() if names[i].startswith(stored))
            for i in range(len(affine))
        ]
        given = wplus[picked].numpy()[:, None]
        return compiled([np.zeros((1, 512), np.float32), given])[0]

    return render


@pytest.mark.parametrize("kind", ["w", "mixed"])
def test_render_equals_the_network_run_by_openvino(generator, codes, openvino_render, kind):
    for code in codes[0][:2] if kind == "w" else codes[1]:
        with torch.no_grad():
            ours = generator.render(generator.sigma(code[None])).numpy()
        assert ours.shape == (1, 3, 1024, 1024)
        np.testing.assert_allclose(ours, openvino_render(generator, code), atol=1e-3)


def test_mapping_equals_the_network_run_by_openvino(generator):
    ov = pytest.importorskip("openvino")
    path = model_file("mobilestylegan-ffhq").path("MappingNetwork.xml")
    network = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    z = torch.randn(1, 512, generator=torch.Generator().manual_seed(3))
    np.testing.assert_allclose(generator.mapping(z).numpy(), network(z.numpy())[0], atol=1e-4)


def test_layout_is_the_published_one(generator):
    layout = generator.layout
    assert (len(layout), layout.channels, layout.rows) == (23, 6752, 22)
    assert [layer.channels for layer in layout.layers[:4]] == [512, 512, 128, 512]
    assert [layer.row for layer in layout.layers[:5]] == [0, 1, 1, 2, 4]
    assert layout.layers[-1].row == 21
    assert layout.early.sum() == 1664
    assert layout.to_image.sum() == 64


def test_activations_have_the_layouts_shapes_and_stop_in_time(generator, codes):
    sigma = generator.sigma(codes[0][:1])
    with torch.no_grad():
        steps = list(generator.activations(sigma, max_resolution=64))
    layers = generator.layout.up_to(64).layers
    assert [s.layer for s in steps] == list(range(len(layers)))
    for step, layer in zip(steps, layers, strict=True):
        assert step.input.shape == (1, layer.channels, layer.resolution, layer.resolution)


def test_a_layers_sigma_scales_its_activation(generator, codes):
    """Doubling sigma of a layer must equal doubling that layer's input: what sigma means."""
    sigma = generator.sigma(codes[0][:1])
    index = 9
    doubled = sigma.clone()
    doubled[:, generator.layout.slices[index]] *= 2
    with torch.no_grad():
        inputs = {s.layer: s.input for s in generator.activations(sigma, 32)}
        direct = generator.apply_layer(index, inputs[index] * 2, sigma)
        scaled = generator.apply_layer(index, inputs[index], doubled)
    torch.testing.assert_close(direct, scaled)


def test_inverse_haar_of_known_bands():
    bands = torch.tensor([4.0, 2.0, 1.0, 0.5]).reshape(1, 4, 1, 1)  # LL, LH, HL, HH
    expected = torch.tensor([[7.5, 4.5], [2.5, 1.5]]) / 2
    torch.testing.assert_close(inverse_haar(bands)[0, 0], expected)


def test_wrong_weights_are_named():
    paths = [
        model_file("mobilestylegan-ffhq").path(f"{n}Network.xml") for n in ("Mapping", "Synthesis")
    ]
    weights = mobilestylegan_weights(*paths)
    missing = {k: v for k, v in weights.items() if k != "2.conv1.noise"}
    with pytest.raises(ValueError, match=r"lack 2\.conv1\.noise"):
        MobileStyleGAN(missing)
    with pytest.raises(ValueError, match=r"const is \(1, 512, 4, 5\), expected \(1, 512, 4, 4\)"):
        MobileStyleGAN(weights | {"const": torch.zeros(1, 512, 4, 5)})
    with pytest.raises(ValueError, match="unknown tensor extra"):
        MobileStyleGAN(weights | {"extra": torch.zeros(1)})


def test_fingerprint_depends_on_every_weight(generator):
    paths = [
        model_file("mobilestylegan-ffhq").path(f"{n}Network.xml") for n in ("Mapping", "Synthesis")
    ]
    weights = mobilestylegan_weights(*paths)
    assert MobileStyleGAN(weights).fingerprint == generator.fingerprint
    changed = dict(weights)
    changed["to_img.bias"] = changed["to_img.bias"] + 1e-3
    assert MobileStyleGAN(changed).fingerprint != generator.fingerprint


def test_codes_of_a_wrong_shape_are_refused(generator):
    with pytest.raises(ValueError, match=r"not \(1, 18, 512\)"):
        generator.sigma(torch.zeros(1, 18, 512))
