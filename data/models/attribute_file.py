"""The attribute classifier's file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ris.data.models.asset_files import asset_path, load_tensors
from ris.errors import ModelFileError

if TYPE_CHECKING:
    import torch

    from ris.networks.attribute_classifier import AttributeClassifier, AttributeNet

CLASSIFIER = "attributes-celeba.safetensors"
THRESHOLDS = "thresholds"


def pack_classifier(
    net: AttributeNet, thresholds: torch.Tensor
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Half-precision tensors and metadata of a classifier's file, what `unpack_classifier` takes.

    Args:
        net: the trained network.
        thresholds: (A,) logits from which on a face has the attribute.
    """
    from ris.networks.attribute_classifier import weights_fingerprint

    tensors = {k: v.detach().cpu().half().contiguous() for k, v in net.tensors().items()}
    tensors[THRESHOLDS] = thresholds.detach().cpu().float()
    config = json.dumps(dataclasses.asdict(net.config))
    return tensors, {"config": config, "fingerprint": weights_fingerprint(tensors)}


def unpack_classifier(
    tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> AttributeClassifier:
    """The classifier of a file.

    Raises:
        ModelFileError: metadata or tensors do not describe a classifier, or not this one.
    """
    from ris.networks.attribute_classifier import (
        AttributeClassifier,
        AttributeConfig,
        load_attribute_net,
        weights_fingerprint,
    )

    try:
        sizes = json.loads(metadata["config"])
        config = AttributeConfig(**sizes | {"attributes": tuple(sizes["attributes"])})
        net = load_attribute_net({k: v for k, v in tensors.items() if k != THRESHOLDS}, config)
        thresholds = tensors[THRESHOLDS].float()
    except (KeyError, ValueError, TypeError) as e:
        raise ModelFileError(f"not an attribute classifier of this program: {e}") from e
    fingerprint = weights_fingerprint(tensors)
    if thresholds.shape != (len(config.attributes),) or metadata.get("fingerprint") != fingerprint:
        raise ModelFileError("the attribute classifier's weights are not those of its metadata")
    return AttributeClassifier(net, thresholds, fingerprint)


def load_classifier(path: Path | None = None) -> AttributeClassifier:
    """The classifier at `path`, by default the shipped one.

    Raises:
        ModelFileError: missing or damaged.
    """
    return unpack_classifier(*load_tensors(path or asset_path(CLASSIFIER)))
