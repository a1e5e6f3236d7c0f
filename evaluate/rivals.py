"""What a user would take instead: embeddings of the cropped region or of the whole face, chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ris.choices import NormMode
from ris.evaluate.recut_faces import FaceReader, faces_of
from ris.evaluate.representations import Representation, Rows
from ris.evaluate.retrieval import Collection, Ways, style_representations
from ris.images import from_pixels
from ris.ingest.alignment.cut import cut_again
from ris.networks import EfficientNetLite
from ris.networks.faceres import WIDTH, FaceRes, central_crop

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

CROP_WEIGHT = 0.3
"""Of the crop embedding's cosine beside RIS's."""


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
class EmbeddedFaces:
    """Vectors of a collection's faces, in memory.

    Attributes:
        name: what tables call it.
        embeddings: feature -> (N, D) float32, all zero for a face that could not be read; of a
            representation of the whole face one and the same for all features.
        by_feature: see `ris.evaluate.representations.Representation`.
    """

    name: str
    embeddings: Mapping[str, torch.Tensor]
    by_feature: bool = True

    def vectors(self, rows: Rows, feature: str) -> torch.Tensor:
        """See `ris.evaluate.representations.Representation.vectors`."""
        return self.embeddings[feature][rows.numbers]


@torch.no_grad()
def embed_faces(
    faces: Iterable[np.ndarray | None], backbone: EfficientNetLite, identity: FaceRes
) -> list[EmbeddedFaces]:
    """``crop embedding`` and ``identity embedding`` of FFHQ crops.

    Args:
        faces: (S, S, 3) uint8 each, None for one that could not be read; how many there were of
            those is added to the names.
        backbone: for the crops.
        identity: for the whole face.
    """
    found: dict[str, list[torch.Tensor]] = {feature: [] for feature in REGIONS}
    people: list[torch.Tensor] = []
    unread = 0
    for pixels in faces:
        if pixels is None:
            unread += 1
            for rows in found.values():
                rows.append(torch.zeros(backbone.config.head))
            people.append(torch.zeros(WIDTH))
            continue
        image = from_pixels(pixels[None])
        for feature, row in embed_regions(backbone, image).items():
            found[feature].append(row[0])
        people.append(identity(central_crop(image))[0])
    note = f" ({unread} photos unread)" if unread else ""
    whole = torch.stack(people)
    return [
        EmbeddedFaces(f"crop embedding{note}", {f: torch.stack(rows) for f, rows in found.items()}),
        EmbeddedFaces(f"identity embedding{note}", dict.fromkeys(REGIONS, whole), by_feature=False),
    ]


@dataclass(frozen=True)
class Drawn:
    """Random directions, the same for a face and feature wherever it is asked for."""

    seed: int = 0
    name: str = "random"
    by_feature: bool = True

    def vectors(self, rows: Rows, feature: str) -> torch.Tensor:
        """See `ris.evaluate.representations.Representation.vectors`."""
        stream = list(REGIONS).index(feature)
        return torch.stack(
            [
                torch.from_numpy(np.random.default_rng([self.seed, stream, n]).standard_normal(16))
                for n in rows.numbers.tolist()
            ]
        ).float()


@dataclass(frozen=True)
class Joined:
    """Two representations side by side: the cosine is the weighted mean of theirs.

    Attributes:
        name: what tables call it.
        first: the one.
        second: the other.
        weight: of the second, in (0, 1).
    """

    name: str
    first: Representation
    second: Representation
    weight: float = 0.5
    by_feature: bool = True

    def vectors(self, rows: Rows, feature: str) -> torch.Tensor:
        """See `ris.evaluate.representations.Representation.vectors`; zero where either is."""
        a, b = (F.normalize(r.vectors(rows, feature), dim=1) for r in (self.first, self.second))
        joined = torch.cat([(1 - self.weight) ** 0.5 * a, self.weight**0.5 * b], 1)
        absent = (a == 0).all(1) | (b == 0).all(1)
        return joined.masked_fill(absent[:, None], 0.0)


def photo_embeddings(
    collection: Collection,
    *,
    read: FaceReader = cut_again,
    progress: Callable[[int, int], None] | None = None,
) -> list[EmbeddedFaces]:
    """Reads every photo of a store again and embeds it (`embed_faces`); 25 kB a face stay in
    memory.

    Args:
        collection: its photos must still be where they were.
        read: cuts out a face.
        progress: called with faces done and faces in all.

    Raises:
        ModelFileError: a network's file cannot be fetched.
    """
    from ris.data.models.feature_networks import load_efficientnet, load_faceres

    return embed_faces(
        faces_of(collection.store, collection.manifest, READ_SIZE, read=read, progress=progress),
        load_efficientnet(),
        load_faceres(),
    )


def compared(
    norm: NormMode, *, rivals: bool, progress: Callable[[int, int], None] | None = None
) -> Ways:
    """RIS, EIS and whole-face sigma; with `rivals` also `photo_embeddings`, RIS joined with the
    crop embedding, and chance."""

    def ways(collection: Collection) -> list[Representation]:
        found = style_representations(collection, norm)
        if rivals:
            crops, people = photo_embeddings(collection, progress=progress)
            joined = Joined("RIS soft + crop", found[0], crops, CROP_WEIGHT)
            found += [crops, joined, people, Drawn()]
        return found

    return ways
