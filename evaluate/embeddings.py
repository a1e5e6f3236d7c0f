"""Embeddings of sets of pictures: of photos, of a store's faces, or given in a file.

A file of embeddings is an ``.npz`` without pickled objects, so that opening it runs no code::

    features   (N, D) floats, one row a picture
    extractor  the name of what made them; files compare only under the same name
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from ris.data.durable import replacing
from ris.data.manifest import FILE
from ris.data.squares import square_of
from ris.data.store import Store
from ris.errors import ImageError, InputError
from ris.images import from_pixels
from ris.ingest.alignment.cut import cut_again
from ris.ingest.pictures.decode import decode
from ris.ingest.sources.sources import find_photos
from ris.networks.inception_v3 import DIM
from ris.networks.inception_v3 import SIZE as INCEPTION_SIZE

if TYPE_CHECKING:
    from ris.networks import EfficientNetLite

SIZE = 224
"""Pixels at which pictures are given to the network; it was trained at this size."""
BATCH = 16


class Extractor(Protocol):
    """A network that turns pictures into embeddings.

    Attributes:
        name: names network, layer, picture size and weights; goes with every number.
        dim: D, length of an embedding.
    """

    name: str
    dim: int

    def image(self, path: Path, quad: np.ndarray | None) -> torch.Tensor:
        """(3, S, S) in [-1, 1]: a photo's quad, or its central square, at the network's size.

        Raises:
            ImageError: see `ris.ingest.alignment.cut.cut_again`.
        """
        ...

    def __call__(self, images: torch.Tensor) -> np.ndarray:
        """(B, 3, S, S) in [-1, 1], any S -> (B, D) float32."""
        ...


class PooledHead:
    """EfficientNet-Lite0's head, averaged over the picture: 1,280 numbers of ImageNet.

    Args:
        backbone: the network; None loads it.
    """

    def __init__(self, backbone: EfficientNetLite | None = None) -> None:
        if backbone is None:
            from ris.data.models.feature_networks import load_efficientnet

            backbone = load_efficientnet()
        self._backbone = backbone
        self.dim = backbone.config.head
        weights = backbone.fingerprint.rpartition("-")[2][:8]
        self.name = f"EfficientNet-Lite0 pooled head at {SIZE} px ({weights})"

    def image(self, path: Path, quad: np.ndarray | None) -> torch.Tensor:
        """See `Extractor`."""
        return from_pixels(cut_again(path, quad, SIZE)[None])[0]

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> np.ndarray:
        """See `Extractor`."""
        if images.shape[-1] != SIZE:
            images = F.interpolate(
                images, size=(SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False
            )
        (head,) = self._backbone.features(images, [self._backbone.blocks])
        found: np.ndarray = head.mean((2, 3)).numpy()
        return found


class InceptionPool:
    """The pool of Inception-v3: 2,048 numbers.

    A whole photo's central square is taken pixel by pixel and resized as pytorch-fid does, bilinear
    without antialiasing; a quad is cut out at the network's size.

    Args:
        weights: file of the weights, see `ris.data.models.inception_files`.

    Raises:
        ModelFileError: see `ris.data.models.inception_files.load_inception`.
    """

    def __init__(self, weights: Path) -> None:
        from ris.data.models.inception_files import load_inception

        self._network, digest = load_inception(weights)
        self.dim = DIM
        self.name = f"Inception-v3 {self._network.variant} {digest[:8]}"

    def image(self, path: Path, quad: np.ndarray | None) -> torch.Tensor:
        """See `Extractor`."""
        if quad is not None:
            return from_pixels(cut_again(path, quad, INCEPTION_SIZE)[None])[0]
        photo = np.asarray(decode(path).picture)
        side = min(photo.shape[:2])
        top, left = ((length - side) // 2 for length in photo.shape[:2])
        return _resized(from_pixels(photo[None, top : top + side, left : left + side]))[0]

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> np.ndarray:
        """See `Extractor`."""
        found: np.ndarray = self._network(_resized(images)).numpy()
        return found


def _resized(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, S, S) at Inception's size, as pytorch-fid resizes."""
    if images.shape[-1] == INCEPTION_SIZE:
        return images
    size = (INCEPTION_SIZE, INCEPTION_SIZE)
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


class EmbeddedSet(Protocol):
    """A set of pictures as embeddings."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    @property
    def extractor(self) -> str:
        """Name of what makes the embeddings."""
        ...

    @property
    def dim(self) -> int:
        """Their length D."""
        ...

    @property
    def total(self) -> int:
        """Pictures in the set, those that turn out unreadable among them."""
        ...

    @property
    def unread(self) -> int:
        """Pictures that could not be read in the last pass."""
        ...

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(B,) numbers within the set and their (B, D) embeddings, again and again the same."""
        ...


@dataclass
class Embeddings:
    """Given embeddings: (N, D) `rows` made by `extractor`."""

    name: str
    extractor: str
    rows: np.ndarray
    unread: int = 0

    @property
    def dim(self) -> int:
        """Length of a row."""
        return int(self.rows.shape[1])

    @property
    def total(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `EmbeddedSet`."""
        for start in range(0, len(self.rows), 256):
            part = self.rows[start : start + 256]
            yield np.arange(start, start + len(part)), part

    def save(self, path: Path) -> None:
        """Writes the file of the module's text."""
        with replacing(path) as temporary, temporary.open("wb") as f:
            np.savez(f, features=self.rows, extractor=np.array(self.extractor))

    @classmethod
    def load(cls, path: Path) -> Embeddings:
        """Reads such a file.

        Raises:
            InputError: not such a file, or numbers in it that are not finite.
        """
        try:
            with np.load(path, allow_pickle=False) as f:
                rows, extractor = f["features"], str(f["extractor"])
        except Exception as e:  # numpy, zipfile and zlib each have their own
            reason = (str(e).splitlines() or [type(e).__name__])[0][:160]
            raise InputError(
                f"{path} is no file of features: an .npz with features (N, D) and extractor, a "
                f"name, is wanted ({reason})"
            ) from e
        if rows.ndim != 2 or 0 in rows.shape or not np.issubdtype(rows.dtype, np.floating):
            raise InputError(f"{path}: features are (N, D) floats, not {rows.shape} {rows.dtype}")
        if not np.isfinite(rows).all():
            raise InputError(f"{path} holds features that are not finite")
        return cls(str(path), extractor, rows)


@dataclass
class Pictures:
    """Pictures on disk, read and embedded anew at every pass.

    Attributes:
        name: for tables.
        places: photo, and the quad of the face in it; None for the photo's central square.
        network: makes the embeddings.
        unread: pictures that could not be read in the last pass.
    """

    name: str
    places: Sequence[tuple[Path, np.ndarray | None]]
    network: Extractor
    unread: int = field(default=0)

    @property
    def extractor(self) -> str:
        """The network's name."""
        return self.network.name

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.network.dim

    @property
    def total(self) -> int:
        """Pictures in the set."""
        return len(self.places)

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `EmbeddedSet`."""
        self.unread = 0
        for start in range(0, self.total, BATCH):
            images: dict[int, torch.Tensor] = {}
            for number, (path, quad) in enumerate(self.places[start : start + BATCH], start):
                try:
                    images[number] = self.network.image(path, quad)
                except ImageError:
                    self.unread += 1
            if images:
                rows = self.network(torch.stack(list(images.values())))
                yield np.array(list(images), dtype=np.int64), rows


def open_set(argument: str, network: Extractor) -> EmbeddedSet:
    """What an argument of `ris eval frechet` names.

    Args:
        argument: the folder of a store (its faces, cut out as they were ingested), an ``.npz``
            file of embeddings, or what `ris.ingest.sources.sources.find_photos` takes (the photos'
            central squares).
        network: embeds pictures.

    Raises:
        InputError: nothing there, or a file of another kind.
        StoreError: the store cannot be read.
    """
    path = Path(argument).expanduser()
    if path.suffix == ".npz" and path.is_file():
        return Embeddings.load(path)
    if (path / FILE).is_file():
        return Pictures(argument, _faces(Store.open(path)), network)
    return Pictures(argument, [(photo, None) for photo in find_photos(argument)], network)


def _faces(store: Store) -> list[tuple[Path, np.ndarray | None]]:
    return [
        (store.resolve(row["path"]), square_of(row["quad"], row["aligned"]))
        for batch in store.rows(["path", "aligned", "quad"])
        for row in batch.to_pylist()
    ]
