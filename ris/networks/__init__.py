"""Image networks, as frozen feature extractors and as the start of a training."""

from ris.networks.efficientnet_lite import (
    EfficientNetLite,
    EfficientNetLiteConfig,
    EfficientNetLiteTrunk,
    Stage,
)

__all__ = ["EfficientNetLite", "EfficientNetLiteConfig", "EfficientNetLiteTrunk", "Stage"]
