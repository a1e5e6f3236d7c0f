"""Image classification backbones, used as frozen feature extractors."""

from ris.backbones.efficientnet_lite import EfficientNetLite, EfficientNetLiteConfig, Stage

__all__ = ["EfficientNetLite", "EfficientNetLiteConfig", "Stage"]
