"""The attribute classifier: which of CelebA's 40 attributes a face has (paper, supplement).

EfficientNet-Lite0 with its last convolution, then a pooling of its own for every attribute: faces
are aligned, so a place in the map is a part of the face, and an attribute learns where to look.

    weight_a(p) = softmax over the places p of s_a(p)
    logit_a     = W_a . sum_p weight_a(p) h(p) + b_a
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ris.fingerprints import tensor_digest
from ris.networks import EfficientNetLite, EfficientNetLiteTrunk

CELEBA_ATTRIBUTES = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)
"""As CelebA names and orders them."""


@dataclass(frozen=True)
class AttributeConfig:
    """Sizes of a classifier.

    Attributes:
        attributes: A names, one a logit.
        size: pixels of the face crop that it sees; a multiple of 32.
        dropout: share of the pooled features that a training step leaves out.
    """

    attributes: tuple[str, ...] = CELEBA_ATTRIBUTES
    size: int = 128
    dropout: float = 0.2


class AttributeNet(torch.nn.Module):
    """FFHQ crops to one logit an attribute.

    Args:
        trunk: the image network.
        head: weight (H, C, 1, 1) and bias (H,) of the convolution after the trunk's last block.
        config: sizes.
    """

    def __init__(
        self,
        trunk: EfficientNetLiteTrunk,
        head: tuple[torch.Tensor, torch.Tensor],
        config: AttributeConfig | None = None,
    ) -> None:
        super().__init__()
        cfg = self.config = config or AttributeConfig()
        self.trunk = trunk
        weight, bias = (t.detach().float().clone() for t in head)
        hidden, channels = weight.shape[:2]
        self.lift = torch.nn.Conv2d(channels, hidden, 1)
        self.lift.weight, self.lift.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)
        # zeros: a training starts with the mean over all places
        self.places = torch.nn.Parameter(torch.zeros(len(cfg.attributes), (cfg.size // 32) ** 2))
        self.weight = torch.nn.Parameter(torch.zeros(len(cfg.attributes), hidden))
        self.bias = torch.nn.Parameter(torch.zeros(len(cfg.attributes)))

    @classmethod
    def untrained(
        cls, backbone: EfficientNetLite, config: AttributeConfig | None = None
    ) -> AttributeNet:
        """A classifier to be trained that starts from an ImageNet network."""
        trunk = EfficientNetLiteTrunk(backbone.trunk_tensors(), backbone.config, trainable=True)
        return cls(trunk, backbone.head_tensors(), config)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, size, size) in [-1, 1] -> (B, A) logits."""
        (x,) = self.trunk.features(images, [self.trunk.blocks - 1])
        h = F.relu6(self.lift(x)).flatten(2)  # [B, H, P]
        pooled = torch.einsum("bhp,ap->bah", h, self.places.softmax(1))
        pooled = F.dropout(pooled, self.config.dropout, self.training)
        return torch.einsum("bah,ah->ba", pooled, self.weight) + self.bias

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that `load_attribute_net` needs."""
        own = {k: v for k, v in self.state_dict().items() if not k.startswith("trunk.")}
        return own | {f"trunk.{k}": v for k, v in self.trunk.trunk_tensors().items()}


def load_attribute_net(
    tensors: Mapping[str, torch.Tensor], config: AttributeConfig | None = None
) -> AttributeNet:
    """A classifier for use, from the tensors of `AttributeNet.tensors`, of any floating type.

    Raises:
        ValueError: a tensor is missing, left over or of another shape.
    """
    trunk = {k.removeprefix("trunk."): v for k, v in tensors.items() if k.startswith("trunk.")}
    own = {k: v.float() for k, v in tensors.items() if not k.startswith("trunk.")}
    if missing := {"lift.weight", "lift.bias"} - set(own):
        raise ValueError(f"missing tensor {min(missing)}")
    net = AttributeNet(EfficientNetLiteTrunk(trunk), (own["lift.weight"], own["lift.bias"]), config)
    state = {k: v for k, v in net.state_dict().items() if k.startswith("trunk.")}
    try:
        net.load_state_dict(own | state)
    except RuntimeError as e:
        raise ValueError(str(e).split("\n")[1].strip() if "\n" in str(e) else str(e)) from e
    return net.eval().requires_grad_(False)


@torch.inference_mode()
def attribute_logits(net: AttributeNet, images: torch.Tensor) -> torch.Tensor:
    """(B, 3, size, size) in [-1, 1] -> (B, A): the mean of the logits of a face and its mirror
    image, which has the same attributes."""
    images = images.contiguous(memory_format=torch.channels_last)
    logits: torch.Tensor = net(images) + net(images.flip(3))
    return logits / 2


@dataclass(frozen=True)
class AttributeClassifier:
    """A trained network and where its logits become labels.

    Attributes:
        net: the network, in evaluation mode.
        thresholds: (A,) logits from which on a face has the attribute.
        fingerprint: of both.
    """

    net: AttributeNet
    thresholds: torch.Tensor
    fingerprint: str

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names, in the order of the logits."""
        return self.net.config.attributes

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """See `attribute_logits`."""
        return attribute_logits(self.net, images)

    def labels(self, logits: torch.Tensor) -> torch.Tensor:
        """(B, A) logits -> (B, A) int8 of 1 and -1."""
        return torch.where(logits >= self.thresholds, 1, -1).to(torch.int8)


def weights_fingerprint(tensors: Mapping[str, torch.Tensor]) -> str:
    """A short digest of names and values, the same on every machine."""
    return f"attributes-{tensor_digest(tensors)}"
