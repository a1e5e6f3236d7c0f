"""The face that a search starts from: of a photo, or of an id in the store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ris.data.shards import FaceRow
from ris.data.squares import square_of
from ris.data.store import Store
from ris.errors import ImageError, InputError, QueryError

if TYPE_CHECKING:
    from ris.ingest.loaded_models import Models
    from ris.ingest.pictures.decode import Photo


TAKES = "a query takes one photo or a face id"


@dataclass(frozen=True)
class QueryFace:
    """The face that a query starts from.

    Attributes:
        id: its id in the store, or None for a photo that is not in it.
        photo: the photo that shows it.
        sigma: (C,) float32 style coefficients.
        scores: (K, C') float32 contribution scores, the query's own submembership.
        w: (L, 512) float32 code.
        error: the inverter's reconstruction error, None if the latent was given.
        quad: (4, 2) the face's square in the photo; None where the photo is taken as it is.
    """

    id: str | None
    photo: Photo
    sigma: np.ndarray
    scores: np.ndarray
    w: np.ndarray
    error: float | None
    quad: np.ndarray | None = None

    @property
    def path(self) -> Path | None:
        """The photo's file; None where the photo was given as pixels or bytes."""
        return Path(self.photo) if isinstance(self.photo, str | os.PathLike) else None

    @property
    def name(self) -> str:
        """What a message calls the photo."""
        from ris.ingest.pictures.decode import name_of

        return name_of(self.photo)


def face_of_id(store: Store, face: str) -> QueryFace:
    """The face of an id, which may be abbreviated.

    Raises:
        InputError: no id at all.
        QueryError: there is none such, or there are several.
    """
    if not face.strip():
        raise InputError(TAKES)
    return _stored(store, store.face(face))


def face_of_photo(
    photo: Photo, models: Models | None = None, store: Store | None = None, number: int = 0
) -> QueryFace:
    """A face of a photo, with scores of its own. Any number of threads may call it.

    Args:
        photo: what is given.
        models: read it; by default as the store's photos were read, or with what ships.
        store: a photo whose bytes it has is that face, and nothing is computed again; any other
            must be read as its photos were, so that they compare.
        number: of the face in the photo: 0 is the largest, 1 the next one.

    Raises:
        QueryError: there is no such file.
        InputError: the photo gives no face.
        MismatchError: the models' generator, catalogue or inverter is not the store's.
    """
    if store is not None and (known := stored_photo(store, photo, number)) is not None:
        return known
    if models is None:
        from ris.ingest.loaded_models import Models

        models = Models() if store is None else Models.of_store(store)
    return new_face(photo, models, store, number)


def stored_photo(store: Store, photo: Photo, number: int = 0) -> QueryFace | None:
    """A face of a photo, by its number, if the store has it; None for another photo, and for
    pixels, which have no bytes of a file.

    Raises:
        QueryError: there is no such file.
        InputError: the photo cannot be read.
    """
    from ris.ingest.pictures.decode import name_of, photo_id

    _check_there(photo)
    try:
        face = photo_id(photo)
    except ImageError as e:
        raise InputError(f"{name_of(photo)}: {e.reason}") from e
    if face is None:
        return None
    face += f"-{number}" if number else ""
    return _stored(store, store.face(face)) if store.has(face) else None


def new_face(
    photo: Photo, models: Models, store: Store | None = None, number: int = 0
) -> QueryFace:
    """`face_of_photo`, whether a store has the photo or not."""
    from ris.ingest.reading import FaceReader

    _check_there(photo)
    if store is not None:
        store.settings.check(models.embedder.settings(), store.folder)
    reader = FaceReader(models, store.check_inverter if store is not None else None)
    face = reader.largest(photo, number)
    return QueryFace(
        id=None,
        photo=Path(photo).absolute() if isinstance(photo, str | os.PathLike) else photo,
        sigma=face.sigma,
        scores=face.scores.astype(np.float32),
        w=face.w,
        error=face.error,
        quad=square_of(face.cut.quad, face.cut.aligned),
    )


def _check_there(photo: Photo) -> None:
    if isinstance(photo, str | os.PathLike) and not os.path.isfile(photo):
        if os.path.isdir(photo):
            raise InputError(f"{os.fspath(photo)} is a folder: {TAKES}")
        raise QueryError(f"no photo {os.fspath(photo)}")


def _stored(store: Store, row: FaceRow) -> QueryFace:
    return QueryFace(
        id=row.id,
        photo=store.resolve(row.path),
        sigma=row.sigma,
        scores=row.scores.astype(np.float32),
        w=row.w,
        error=row.inversion_error,
        quad=square_of(row.quad, row.aligned, np.float32),
    )
