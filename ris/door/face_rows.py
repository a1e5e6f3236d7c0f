"""The faces of a collection, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ris.places import shown

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from ris.data.store import Store

_PLAIN = ("id", "path", "width", "height", "face", "aligned", "yaw", "pitch", "roll", "inverter",
          "inversion_error", "quad", "box", "blendshapes")  # fmt: skip
_VECTORS = ("w", "sigma", "scores")


@dataclass(frozen=True)
class Face:
    """One face of a collection.

    Attributes:
        id: of the face: that of its photo, with ``-1``, ``-2``, ... for further faces of the photo.
        path: its photo.
        width, height: of the photo, pixels.
        face: number of the face in its photo, 0 for the first (the largest).
        aligned: whether the photo was taken as it is, as a face crop.
        yaw, pitch, roll: degrees, positive to the right of the picture, up, and clockwise; None
            where no face was found in the photo.
        inverter: what gave the latent, or ``given``.
        inversion_error: the inverter's reconstruction error; None for given latents.
        square: (4, 2) float32 corners of the square that was read, in pixels of the upright photo:
            upper left, lower left, lower right, upper right; None if nobody looked.
        box: (4,) float32 left, top, right, bottom of the face, likewise; None if none was found.
        blendshapes: (52,) float32 in [0, 1], see `ris.data.blendshapes.BLENDSHAPES`; or None.
        w: (L, 512) float32 latent in W+; None unless vectors were asked for.
        sigma: (C,) float32 style coefficients; likewise.
        scores: (K, C') float16 contributions of C' channels to K classes; likewise.
    """

    id: str
    path: Path
    width: int
    height: int
    face: int
    aligned: bool
    yaw: float | None
    pitch: float | None
    roll: float | None
    inverter: str
    inversion_error: float | None
    square: np.ndarray | None = field(default=None, repr=False, compare=False)
    box: np.ndarray | None = field(default=None, repr=False, compare=False)
    blendshapes: np.ndarray | None = field(default=None, repr=False, compare=False)
    w: np.ndarray | None = field(default=None, repr=False, compare=False)
    sigma: np.ndarray | None = field(default=None, repr=False, compare=False)
    scores: np.ndarray | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; without the arrays."""
        names = [name for name in _PLAIN if name not in ("quad", "box", "blendshapes")]
        return {name: getattr(self, name) for name in names} | {"path": shown(self.path)}


def faces_of(store: Store, where: str | None, *, vectors: bool) -> Iterator[Face]:
    """The faces in the order of the store; see `ris.door.collection.Collection.faces`."""
    chosen = None
    if where is not None:
        from ris.data.views import select_ids

        chosen = select_ids(store, where)
    for batch in store.batches([*_PLAIN, *(_VECTORS if vectors else ())]):
        for number, face in enumerate(batch.column("id").to_pylist()):
            if chosen is None or face in chosen:
                yield _face(store, batch.slice(number, 1), vectors=vectors)


def _face(store: Store, row: pa.RecordBatch, *, vectors: bool) -> Face:
    import numpy as np

    from ris.data import shards

    values = row.select(list(_PLAIN)).to_pylist()[0]
    values["path"] = store.resolve(values["path"])
    for name, shape in shards.SHAPES.items():
        if values[name] is not None:
            values[name] = np.array(values[name], np.float32).reshape(shape)
    values["square"] = values.pop("quad")
    if vectors:
        settings = store.settings
        shapes = {
            "w": (settings.latent_rows, settings.latent_size),
            "sigma": (-1,),
            "scores": (len(settings.classes), -1),
        }
        for name, shape in shapes.items():
            values[name] = shards.vectors(row, name).reshape(shape)
    return Face(**values)
