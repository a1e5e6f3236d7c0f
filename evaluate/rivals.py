"""What a user would take instead: an embedding of the cropped region, compared by cosine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from data.manifest import Manifest
from data.store import Store
from evaluate.representations import Rows
from ingest.alignment.cut import cut_again
from ris.backbones import EfficientNetLite
from ris.errors import ImageError

REGIONS: dict[str, tuple[float, float, float, float]] = {
    "eyes": (0.22, 0.36, 0.78, 0.56),
    "nose": (0.36, 0.44, 0.64, 0.68),
    "mouth": (0.30, 0.62, 0.70, 0.86),
    "hair": (0.0, 0.0, 1.0, 1.0),
}
"""Left, top, right, bottom of each feature in an FFHQ crop, in parts of its side: the eyes are
at (.38, .47) and (.62, .47), the mouth at (.5, .73). Hair is all around the face."""
SIZE = 128
"""Pixels at which a region is given to the backbone, whatever its shape."""
READ_SIZE = 256
"""Pixels at which a face is read."""

FaceReader = Callable[[Path, np.ndarray | None, int], np.ndarray]
"""Photo, its face's quad (None: the photo is the face) and a size S -> the face's FFHQ crop,
(S, S, 3) uint8; raises ImageError."""


def embed_regions(backbone: EfficientNetLite, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The backbone's pooled head for each region: ImageNet features, as a classifier sees them.

    Args:
        backbone: EfficientNet-Lite0.
        images: (B, 3, S, S) FFHQ crops in [-1, 1].

    Returns:
        (B, 1280) for each feature of `REGIONS`.
    """
    size = images.shape[-1]
    found = {}
    for feature, region in REGIONS.items():
        left, top, right, bottom = (round(part * size) for part in region)
        crop = F.interpolate(
            images[..., top:bottom, left:right],
            size=(SIZE, SIZE),
            mode="bilinear",
            antialias=True,
            align_corners=False,
        )
        (head,) = backbone.features(crop, [backbone.blocks])
        found[feature] = head.mean((2, 3))
    return found


@dataclass(frozen=True)
class CropEmbedding:
    """Embeddings of the cropped regions of a collection, in memory.

    Attributes:
        embeddings: feature -> (N, 1280) float32, all zero for a face that could not be read.
        name: what tables call it, with the number of faces that could not be read.
    """

    embeddings: dict[str, torch.Tensor]
    name: str = "crop embedding"
    by_feature: bool = True

    def vectors(self, rows: Rows, feature: str) -> torch.Tensor:
        """See `evaluate.representations.Representation.vectors`."""
        return self.embeddings[feature][rows.numbers]

    @classmethod
    @torch.no_grad()
    def of_faces(
        cls, backbone: EfficientNetLite, faces: Iterable[np.ndarray | None]
    ) -> CropEmbedding:
        """Embeds FFHQ crops, (S, S, 3) uint8 each; None for one that could not be read."""
        found: dict[str, list[torch.Tensor]] = {feature: [] for feature in REGIONS}
        unread = 0
        for pixels in faces:
            if pixels is None:
                unread += 1
                for rows in found.values():
                    rows.append(torch.zeros(backbone.config.head))
                continue
            image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
            for feature, row in embed_regions(backbone, image).items():
                found[feature].append(row[0])
        embeddings = {feature: torch.stack(rows) for feature, rows in found.items()}
        return cls(embeddings, f"{cls.name} ({unread} photos unread)" if unread else cls.name)


def crop_embedding(
    store: Store,
    manifest: Manifest,
    *,
    read: FaceReader = cut_again,
    progress: Callable[[int, int], None] | None = None,
) -> CropEmbedding:
    """Reads every photo of a store again and embeds its regions; 20 kB a face stay in memory.

    Args:
        store: its photos must still be where they were.
        manifest: the state whose rows are meant.
        read: cuts out a face.
        progress: called with faces done and faces in all.

    Raises:
        ModelFileError: the backbone's file cannot be fetched.
    """
    from data.backbones import load_efficientnet

    def faces() -> Iterable[np.ndarray | None]:
        done = 0
        for batch in store.batches(["path", "aligned", "quad"], manifest):
            for row in batch.to_pylist():
                known = row["quad"] is not None and not row["aligned"]
                quad = np.array(row["quad"], dtype=np.float64).reshape(4, 2) if known else None
                try:
                    yield read(store.resolve(row["path"]), quad, READ_SIZE)
                except ImageError:
                    yield None
                done += 1
                if progress:
                    progress(done, manifest.rows)

    return CropEmbedding.of_faces(load_efficientnet(), faces())
