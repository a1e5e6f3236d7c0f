from __future__ import annotations

import pytest
import torch
from torch import nn

from ris.data.models.feature_networks import load_mobilenet
from ris.data.models.registry import model_file, pull
from ris.networks.mobilenet_v2 import MobileNetV2


@pytest.fixture(scope="module")
def weights():
    model = model_file("mobilenet-v2")
    pull(model)
    return torch.load(model.path(".pth"), weights_only=True)


def plain() -> nn.Module:
    """The network from torch's own modules, named as its checkpoint."""

    def conv(inp: int, out: int, kernel: int, stride: int, groups: int) -> nn.Sequential:
        layer = nn.Conv2d(inp, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        return nn.Sequential(layer, nn.BatchNorm2d(out), nn.ReLU6())

    class Block(nn.Module):
        def __init__(self, inp: int, out: int, stride: int, expand: int) -> None:
            super().__init__()
            hidden = inp * expand
            parts = [] if expand == 1 else [conv(inp, hidden, 1, 1, 1)]
            parts += [conv(hidden, hidden, 3, stride, hidden)]
            parts += [nn.Conv2d(hidden, out, 1, bias=False), nn.BatchNorm2d(out)]
            self.conv = nn.Sequential(*parts)
            self.skip = stride == 1 and inp == out

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.conv(x) if self.skip else self.conv(x)

    widths = [16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320]
    strides = [1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]
    layers: list[nn.Module] = [conv(3, 32, 3, 2, 1)]
    inp = 32
    for i, (out, stride) in enumerate(zip(widths, strides, strict=True)):
        layers.append(Block(inp, out, stride, 1 if i == 0 else 6))
        inp = out
    layers.append(conv(320, 1280, 1, 1, 1))
    net = nn.Module()
    net.features = nn.Sequential(*layers)
    net.classifier = nn.Sequential(nn.Dropout(), nn.Linear(1280, 1000))
    return net.eval()


@torch.no_grad()
def test_features_are_those_of_the_plain_network(weights):
    reference = plain()
    reference.load_state_dict(weights)
    image = torch.rand(1, 3, 75, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    x = ((image + 1) / 2 - mean) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    expected = []
    for layer in reference.features:
        x = layer(x)
        expected.append(x)
    found = load_mobilenet().features(image, range(19))
    assert len(found) == len(expected) == 19
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() < 1e-4 * b.abs().max()


def test_wrong_layers_and_weights_are_named(weights):
    net = MobileNetV2(weights)
    for layers in ([], [19], [-1]):
        with pytest.raises(ValueError, match=r"within 0\.\.18"):
            net.features(torch.zeros(1, 3, 32, 32), layers)
    del weights["features.2.conv.0.0.weight"]
    with pytest.raises(ValueError, match=r"lack features.2.conv.0.0.weight"):
        MobileNetV2(weights)
