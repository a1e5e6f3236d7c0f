"""The identity embedding, from its real file; and the reader of its format."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ris.data.models.feature_networks import load_faceres
from ris.data.models.tfjs import read_tfjs_weights
from ris.errors import ModelFileError
from ris.networks.faceres import FaceRes, central_crop, weight_names


@pytest.fixture(scope="module")
def faceres():
    try:
        return load_faceres()
    except ModelFileError as e:
        pytest.skip(f"no file of the identity embedding: {e}")


def pattern(size: int) -> torch.Tensor:
    """(1, 3, size, size) in [-1, 1], the same on every machine and torch version."""
    return (torch.arange(3 * size * size) % 257 / 128 - 1).reshape(1, 3, size, size)


def slow(weights: dict[str, np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """The graph node by node in numpy, (224, 224, 3) RGB in 0..255 -> (1024,)."""

    def padded(x: np.ndarray, kernel: int, stride: int) -> np.ndarray:
        total = max((-(-len(x) // stride) - 1) * stride + kernel - len(x), 0)
        lead, trail = total // 2, total - total // 2
        return np.pad(x, ((lead, trail), (lead, trail), (0, 0)))

    def windows(x: np.ndarray, kernel: int, stride: int) -> np.ndarray:
        view = np.lib.stride_tricks.sliding_window_view(
            padded(x, kernel, stride), (kernel,) * 2, (0, 1)
        )
        return view[::stride, ::stride]  # [H, W, C, k, k]

    x = pixels[..., ::-1] - np.array([103.94, 116.78, 123.68])
    x = np.einsum("hwcij,ijco->hwo", windows(x, 3, 2), weights["conv1/convolution/merged_input"])
    x = np.clip(x + weights["conv1_bn/batchnorm_1/sub"], 0, 6)
    for i in range(1, 14):
        stride = 2 if i in (2, 4, 6, 12) else 1
        kernel = weights[f"conv_dw_{i}/depthwise_kernel"][..., 0]
        x = np.einsum("hwcij,ijc->hwc", windows(x, 3, stride), kernel)
        norm = f"conv_dw_{i}_bn/batchnorm_1"
        x = np.clip(x * weights[f"{norm}/mul"] + weights[f"{norm}/sub"], 0, 6)
        x = x @ weights[f"conv_pw_{i}/convolution/merged_input"][0, 0]
        x = np.clip(x + weights[f"conv_pw_{i}_bn/batchnorm_1/sub"], 0, 6)
    return x.mean((0, 1))


@torch.no_grad()
def test_it_computes_its_graph(faceres):
    from ris.data.models.registry import model_file

    weights = read_tfjs_weights(model_file("faceres").path(".json"))
    for i in range(1, 14):  # the graph clips at these
        assert weights[f"conv_dw_{i}_relu/Cast"] == 6
        assert weights[f"conv_pw_{i}_relu/Const_1"] == 0
    image = pattern(224)
    expected = slow(weights, (image[0].permute(1, 2, 0).double().numpy() + 1) * 127.5)
    assert faceres(image)[0].numpy() == pytest.approx(expected, abs=2e-3)


def test_it_is_differentiable_at_any_size(faceres):
    image = pattern(96).requires_grad_()
    embedding = faceres(image)
    assert embedding.shape == (1, 1024)
    (gradient,) = torch.autograd.grad(embedding.square().sum(), image)
    assert torch.isfinite(gradient).all()
    assert (gradient.abs().sum((0, 1)) > 0).float().mean() > 0.9
    with pytest.raises(ValueError, match=r"\(B, 3, S, S\)"):
        faceres(torch.zeros(3, 8, 8))


@torch.no_grad()
def test_a_face_is_more_like_itself_than_like_others(faceres, generator):
    z = torch.randn(3, generator.latent_size, generator=torch.Generator().manual_seed(0))
    images = torch.cat(
        [generator.render(generator.sigma(generator.mapping(z[i : i + 1]))) for i in range(3)]
    )
    changed = (images * 0.8 - 0.1).roll(8, dims=-1)  # darker, and 8 of 1024 px to the right
    a, b = (
        torch.nn.functional.normalize(faceres(central_crop(x)), dim=1) for x in (images, changed)
    )
    cosine = a @ b.T
    others = cosine[~torch.eye(3, dtype=torch.bool)]
    assert cosine.diagonal().min() > 0.9
    assert others.max() < 0.75


def test_the_central_crop():
    image = torch.arange(100.0).reshape(1, 1, 10, 10)
    crop = central_crop(image, share=0.6, centre=(0.5, 0.5))
    assert crop[0, 0, 0, 0] == 22
    assert crop.shape[-2:] == (6, 6)
    moved_in = central_crop(image, share=0.6, centre=(0.5, 0.9))
    assert moved_in[0, 0, -1, 0] == 92


def test_the_first_wrong_tensor_is_named():
    weights = {name: torch.zeros(shape) for name, shape in weight_names().items()}
    FaceRes(weights)
    del weights["conv_pw_3_bn/batchnorm_1/sub"]
    with pytest.raises(ValueError, match="lack conv_pw_3_bn/batchnorm_1/sub"):
        FaceRes(weights)


def written(folder, entries, blob, paths=("model.bin",)):
    manifest = [{"paths": list(paths), "weights": entries}]
    (folder / "model.json").write_text(json.dumps({"weightsManifest": manifest}))
    half = len(blob) // 2
    parts = [blob] if len(paths) == 1 else [blob[:half], blob[half:]]
    for name, part in zip(paths, parts, strict=True):
        (folder / name).write_bytes(part)
    return folder / "model.json"


HALF = {"dtype": "float16", "original_dtype": "float32"}


def test_tensors_of_a_tfjs_file(tmp_path):
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([0.5, -2], dtype=np.float16)
    n = np.array([7], dtype=np.int32)
    entries = [
        {"name": "a", "shape": [2, 3], "dtype": "float32"},
        {"name": "n", "shape": [1], "dtype": "int32"},
        {"name": "b", "shape": [2], "dtype": "float32", "quantization": HALF},
        {"name": "scalar", "shape": [], "dtype": "float32"},
    ]
    blob = a.tobytes() + n.tobytes() + b.tobytes() + np.float32(6).tobytes()
    found = read_tfjs_weights(written(tmp_path, entries, blob, ("x.bin", "y.bin")))
    assert set(found) == {"a", "b", "scalar"}
    assert np.array_equal(found["a"], a)
    assert found["b"].dtype == np.float32
    assert found["b"].tolist() == [0.5, -2]
    assert found["scalar"] == 6


@pytest.mark.parametrize(
    ("entry", "size", "message"),
    [
        ({"shape": [2], "dtype": "float32"}, 12, "has 12 bytes, its manifest 8"),
        ({"shape": [4], "dtype": "float32"}, 8, "not a readable TensorFlow.js model"),
        ({"shape": [2], "dtype": "float32", "quantization": {"dtype": "uint8"}}, 2, "uint8"),
        ({"dtype": "float32"}, 8, "not a readable TensorFlow.js model"),
    ],
)
def test_files_that_are_no_model(tmp_path, entry, size, message):
    path = written(tmp_path, [{"name": "a", **entry}], bytes(size))
    with pytest.raises(ModelFileError, match=message):
        read_tfjs_weights(path)


def test_binaries_elsewhere_are_refused(tmp_path):
    (tmp_path / "model.json").write_text(
        json.dumps({"weightsManifest": [{"paths": ["../x.bin"], "weights": []}]})
    )
    with pytest.raises(ModelFileError, match="other folders"):
        read_tfjs_weights(tmp_path / "model.json")
