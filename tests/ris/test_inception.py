from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from ris.data.durable import file_sha256
from ris.data.models.inception_files import load_inception
from ris.errors import ModelFileError
from ris.evaluate.embeddings import InceptionPool
from ris.evaluate.frechet import frechet_distance
from ris.evaluate.moments import Moments
from ris.networks.inception_v3 import InceptionV3, expected_shapes, pool

AUXILIARY = (128 * 768 + 2 * 128) + (768 * 128 * 25 + 2 * 768) + (1000 * 768 + 1000)
"""Two convolutions with their normalisations, and an output."""


def made(outputs: int) -> dict[str, torch.Tensor]:
    """Random weights under which activations neither vanish nor explode."""
    rng = np.random.RandomState(0)  # its stream never changes
    weights = {}
    for name, shape in sorted(expected_shapes(outputs).items()):
        x = rng.standard_normal(shape)
        if name.endswith("conv.weight"):
            x *= np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            x = 0.5 + np.abs(x)
        elif name.endswith("bn.weight"):
            x = 1 + 0.1 * x
        else:
            x *= 0.1
        weights[name] = torch.from_numpy(x.astype(np.float32))
    return weights


@pytest.fixture(scope="module")
def fid():
    return made(1008)


@pytest.fixture(scope="module")
def fid_file(fid, tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "fid.pth"
    torch.save(fid, path)
    return path


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        # corner: the mean of 1, 2, 4, 5; edge: of 1 to 6 or of two columns
        ("average", [[3, 3.5, 4], [4.5, 5, 5.5], [6, 6.5, 7]]),
        # the same sums over nine
        ("average with padding",
         [[12 / 9, 21 / 9, 16 / 9], [27 / 9, 45 / 9, 33 / 9], [24 / 9, 39 / 9, 28 / 9]]),
        ("max", [[5, 6, 6], [8, 9, 9], [8, 9, 9]]),
        ("halve", [[9]]),
    ],
)  # fmt: skip
def test_pools_at_the_edge_by_hand(kind, rows):
    x = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    torch.testing.assert_close(pool(x, kind)[0, 0], torch.tensor(rows, dtype=torch.float32))
    low = pool(x - 20, kind)[0, 0]  # zeros at the edge would win here
    assert kind == "average with padding" or low.max() < 0


def test_tensors_are_as_many_as_published():
    """23,850,960 has pytorch-fid's network, 27,161,264 torchvision's with its auxiliary head."""
    for outputs, published in ((1008, 23_850_960), (1000, 27_161_264 - AUXILIARY)):
        shapes = expected_shapes(outputs)
        learnt = [s for k, s in shapes.items() if not k.endswith(("running_mean", "running_var"))]
        assert sum(int(np.prod(shape)) for shape in learnt) == published
        assert sum(k.endswith("conv.weight") for k in shapes) == 94


REFERENCE = {
    # columns of the last block's six outputs, their values, mean and deviation of all
    1008: ([9, 326, 709, 1098, 1486, 1862],
           [1.773887, 0.538907, 0.214553, 0.3843, 0.269171, 0.841826], 0.212896, 0.295181),
    1000: ([9, 326, 709, 1098, 1486, 1865],
           [1.576917, 0.343642, 0.250628, 0.330178, 0.249204, 0.215419], 0.166815, 0.211771),
}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("outputs", [1008, 1000])
def test_features_are_those_of_the_reference_programs(outputs):
    """1008: pytorch-fid 0.3.0's InceptionV3, not resizing, on (x + 1) / 2. 1000: torchvision
    0.29.1's inception_v3 with transform_input, its fc left out, on ImageNet's normalisation of
    (x + 1) / 2. Both with `made`'s weights in evaluation mode on torch 2.13.0's CPU."""
    pixels = np.random.RandomState(1).uniform(-1, 1, (1, 3, 107, 139)).astype(np.float32)
    found = InceptionV3(made(outputs))(torch.from_numpy(pixels))
    columns, values, mean, deviation = REFERENCE[outputs]
    assert found.shape == (1, 2048)
    np.testing.assert_allclose(found[0, columns], values, rtol=2e-5)
    assert float(found.mean()) == pytest.approx(mean, rel=1e-5)
    assert float(found.std(correction=0)) == pytest.approx(deviation, rel=1e-5)


def test_a_file_is_read_as_pytorch_fid_reads_it(fid_file, tmp_path):
    """Numbers of pytorch-fid 0.3.0's get_activations on the same PNG under the same weights."""
    pixels = np.random.RandomState(4).randint(0, 256, (400, 400, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    network = InceptionPool(fid_file)
    picture = network.image(tmp_path / "a.png", None)
    found = network(picture[None])
    assert picture.shape == (3, 299, 299) and found.shape == (1, 2048)
    expected = [1.718744, 0.504073, 0.260611, 0.405343, 0.510986, 0.524497]
    np.testing.assert_allclose(found[0, [9, 326, 710, 1095, 1478, 1862]], expected, rtol=2e-5)
    assert float(found.mean()) == pytest.approx(0.300974, rel=1e-5)
    # the same square in the middle of a wider photo, and cut out as a quad
    wide = np.pad(pixels, ((0, 0), (30, 31), (0, 0)))
    Image.fromarray(wide).save(tmp_path / "b.png")
    torch.testing.assert_close(network.image(tmp_path / "b.png", None), picture)
    quad = np.array([[0, 0], [0, 400], [400, 400], [400, 0]], np.float64)
    assert network.image(tmp_path / "a.png", quad).shape == (3, 299, 299)


def test_wrong_weights_are_named(fid):
    name = "Mixed_6c.branch7x7dbl_4.conv.weight"
    for changes, message in [
        ({name: None}, rf"lack {name} \(160, 160, 7, 1\)"),
        ({name: torch.zeros(160, 160, 1, 7)}, rf"{name} is \(160, 160, 1, 7\), expected"),
        ({"Mixed_8a.conv": torch.zeros(1)}, "unknown tensor Mixed_8a.conv"),
        ({"Conv2d_1a_3x3.bn.num_batches_tracked": torch.zeros(2)}, r"tracked is \(2,\), expected"),
        ({"fc.weight": torch.zeros(10, 2048)}, "has 10 rows; FID's has 1008, torchvision's 1000"),
        ({"fc.weight": torch.zeros(())}, "has 0 rows"),
        ({"fc.weight": None}, r"lack fc.weight \(1008, 2048\)"),
        ({"fc.weight": torch.zeros(1000, 2048)}, r"fc.bias is \(1008,\), expected \(1000,\)"),
    ]:
        wrong = {k: v for k, v in (fid | changes).items() if v is not None}
        with pytest.raises(ValueError, match=message):
            InceptionV3(wrong)


@torch.no_grad()
def test_what_files_may_hold_besides(fid):
    """Counters of batches are in newer files, the auxiliary head in torchvision's."""
    more = {f"{k[:-12]}num_batches_tracked": torch.tensor(3) for k in fid if "running_mean" in k}
    more["AuxLogits.conv0.conv.weight"] = torch.zeros(128, 768, 1, 1)
    assert sum(k.endswith("num_batches_tracked") for k in more) == 94
    x = torch.zeros(1, 3, 75, 75)
    torch.testing.assert_close(InceptionV3(fid | more)(x), InceptionV3(fid)(x))


def test_names_tell_the_weights(fid, fid_file, tmp_path):
    assert InceptionPool(fid_file).name == f"Inception-v3 FID {file_sha256(fid_file)[:8]}"
    imagenet = fid | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    save_file(imagenet, path := tmp_path / "i.safetensors")
    assert InceptionPool(path).name == f"Inception-v3 ImageNet {file_sha256(path)[:8]}"


def test_files_that_are_no_weights(fid, fid_file, tmp_path):
    def refusal(name: str) -> str:
        with pytest.raises(ModelFileError) as e:
            load_inception(tmp_path / name)
        assert "\n" not in str(e.value)
        return str(e.value).replace(str(tmp_path), "")

    half = fid_file.read_bytes()[: fid_file.stat().st_size // 2]
    for name in ("a.pth", "a.pt", "a.safetensors"):
        (tmp_path / name).write_bytes(half)
        assert "damaged" in refusal(name) or "not a readable safetensors file" in refusal(name)
    assert "no file /missing.pth: name Inception's weights with `weights`" in refusal("missing.pth")
    (tmp_path / "a.onnx").write_bytes(b"x")
    assert "come as .pth, .pt, .safetensors" in refusal("a.onnx")
    for content, message in [
        ([1, 2], "holds no table of tensors"),
        ({"state_dict": fid}, "state_dict is no tensor"),
        ({"fc.weight": torch.zeros(1008, 2048, dtype=torch.int8)}, "holds torch.int8, not floats"),
        (fid | {"fc.bias": torch.zeros(1).expand(1008)}, "has fewer numbers"),
        (fid | {"Conv2d_1a_3x3.bn.running_var": torch.full((32,), -1.0)}, "not finite"),
        ({"x": test_files_that_are_no_weights}, "more than tensors"),
    ]:
        torch.save(content, tmp_path / "b.pth")
        assert message in refusal("b.pth")


@torch.no_grad()
def test_the_command(faces, rendered, fid, fid_file, tmp_path, ris):
    files = sorted(faces.glob("*.jpg"))[:8]
    for i, file in enumerate(files):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        (tmp_path / "ab"[i % 2] / file.name).write_bytes(file.read_bytes())
    line = ("eval", "frechet")
    result = json.loads(ris(*line, "a", "b", "--weights", fid_file, "--sizes", 2, "--json").out)
    assert result["extractor"] == f"Inception-v3 FID {file_sha256(fid_file)[:8]}"
    assert (result["pictures"], result["unread"]) == ([4, 4], 0)
    # the same from the pictures at hand, the features taken one by one
    network = InceptionV3(fid)
    sets = Moments(2048), Moments(2048)
    for i, picture in enumerate(rendered[1][:8]):
        wide = F.interpolate(picture[None], (299, 299), mode="bilinear", align_corners=False)
        sets[i % 2].add(network(wide).numpy())
    assert result["plain"] == pytest.approx(frechet_distance(*sets), rel=1e-3)
    assert result["plain"] > 0
    np.savez("c.npz", features=np.ones((4, 2048)), extractor="another")
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    for words, message in [
        (("a", "c.npz", "--weights", fid_file), "take the same extractor for both"),
        (("a", "b", "--weights", "bad.pth"), "bad.pth is no torch file"),
        (("a", "b", "--weights", "none.pth"), "no file none.pth"),
    ]:
        err = ris(*line, *words).err
        assert message in err and err.count("\n") == 1 and "Traceback" not in err
