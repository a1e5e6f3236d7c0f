"""What an index is made by."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from ris.data.manifest import Manifest, StoreSettings
from ris.fingerprints import text_digest
from ris.index.contents import Contents


@dataclass(frozen=True)
class Recipe:
    """What an index is made by; indices of equal recipes may share rows.

    Attributes:
        feature: name.
        mask: `ris.method.masks.MaskOptions` as a dict.
        norm: normalisation of sigma.
        settings: hash of the store's settings.
    """

    feature: str
    mask: dict[str, Any]
    norm: str
    settings: str

    @classmethod
    def of(cls, feature: str, mask: dict[str, Any], norm: str, settings: StoreSettings) -> Recipe:
        """With the hash of the settings."""
        return cls(feature, mask, norm, settings_hash(settings))

    def extra(
        self, manifest: Manifest, contents: Contents, rows: int, **more: Any
    ) -> dict[str, Any]:
        """What `IndexMeta.extra` says of an index.

        Args:
            manifest: the state of the store that it was brought to.
            contents: the faces that it looked at.
            rows: how many of them are rows.
            more: further values.
        """
        return {
            **dataclasses.asdict(self),
            "without_feature": len(contents.keys) - rows,
            "store_content": manifest.content,
            "store_faces": manifest.rows,
            **more,
        }


def settings_hash(settings: StoreSettings) -> str:
    """Hash of everything that changes the vectors of a store's rows."""
    text = json.dumps(dataclasses.asdict(settings), sort_keys=True)
    return text_digest(text)
