"""What a query names: a photo, or the id of a face in the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ris.cores import usable_cores
from ris.data.shards import FaceRow
from ris.data.store import Store
from ris.errors import ImageError, InputError, QueryError

if TYPE_CHECKING:
    from ris.ingest.alignment.cut import Aligner
    from ris.ingest.embedding import Embedder
    from ris.ingest.inversion.optimisation import Inverter

_READERS = BoundedSemaphore(usable_cores())
"""Photos that are read at the same time, each on one core and with its own activations in memory;
further threads wait."""


@dataclass(frozen=True)
class QueryFace:
    """The face that a query starts from.

    Attributes:
        id: its id in the store, or None for a photo that is not in it.
        path: the photo's file.
        sigma: (C,) float32 style coefficients.
        scores: (K, C') float32 contribution scores, the query's own submembership.
        w: (L, 512) float32 code.
        error: the inverter's reconstruction error, None if the latent was given.
        quad: (4, 2) the face's square in the photo; None where the photo is taken as it is.
    """

    id: str | None
    path: Path
    sigma: np.ndarray
    scores: np.ndarray
    w: np.ndarray
    error: float | None
    quad: np.ndarray | None = None


class FaceReader(Protocol):
    """What turns a photo into a face; loaded only when a photo has to be inverted."""

    def aligner(self) -> Aligner:
        """How the face is found in the photo and cut out."""
        ...

    def embedder(self) -> Embedder:
        """Generator, catalogue and options, those of the store."""
        ...

    def inverter(self) -> Inverter:
        """The inverter for photos."""
        ...


def query_face(store: Store, argument: str, reader: FaceReader | None = None) -> QueryFace:
    """The face of a photo's path or of an id in the store (which may be abbreviated).

    A photo whose bytes are in the store is that face: nothing is computed again. Of any other
    photo the largest face is cut out and inverted, and its own contribution scores are computed
    through the generator.

    Args:
        store: where ids are looked up.
        argument: a path or an id.
        reader: reads a photo that is not in the store; by default as the store's were read.

    Raises:
        QueryError: neither a file nor an id.
        InputError: the photo gives no face.
        MismatchError: the reader's generator, catalogue or inverter is not the store's.
    """
    face = stored_face(store, argument)
    if face is not None:
        return face
    if reader is None:
        from ris.ingest.session import Session

        reader = Session.of_store(store)
    return new_face(store, argument, reader)


def stored_face(store: Store, argument: str) -> QueryFace | None:
    """The face of an id, or of a photo whose bytes are in the store; None for another photo.

    Raises:
        QueryError: neither a file nor an id.
        InputError: the photo cannot be read.
    """
    if not argument.strip():
        raise InputError("a query takes one photo or a face id")
    path = Path(argument).expanduser()
    if not os.path.isfile(path):  # unlike Path's, these take names longer than the system's
        if os.path.isdir(path):
            raise InputError(f"{argument} is a folder: a query takes one photo or a face id")
        if path.suffix or len(path.parts) > 1:
            raise QueryError(f"no photo {argument}")
        return _stored(store, store.face(argument))
    from ris.ingest.pictures.decode import hash_photo

    try:
        file = hash_photo(path)
    except ImageError as e:
        raise InputError(f"{argument}: {e.reason}") from e
    return _stored(store, store.face(file.face_id)) if store.has(file.face_id) else None


def new_face(store: Store, argument: str, reader: FaceReader) -> QueryFace:
    """The face of a photo that is not in the store, to be compared with those that are.

    Raises:
        InputError: the photo gives no face.
        MismatchError: the reader's generator, catalogue or inverter is not the store's.
    """
    store.settings.check(reader.embedder().settings(), store.folder)
    path = Path(argument).expanduser()
    return read_face(path, reader, lambda inverter: store.check_inverter(inverter.fingerprint))


def read_face(
    path: Path, reader: FaceReader, check: Callable[[Inverter], None] | None = None
) -> QueryFace:
    """The largest face of a photo, cut out, inverted and scored. Threads may call it at once: as
    many photos are read at a time as there are cores.

    Args:
        path: the photo.
        reader: does it.
        check: called with the inverter before it is used.

    Raises:
        InputError: the photo gives no face.
    """
    from ris.ingest.threads import one_thread

    with _READERS, one_thread():
        return _read_face(path, reader, check)


def _read_face(
    path: Path, reader: FaceReader, check: Callable[[Inverter], None] | None
) -> QueryFace:
    from ris.ingest.pictures.decode import decode

    try:
        cut = reader.aligner().cuts(decode(path))[0]
    except ImageError as e:
        raise InputError(f"{path}: {e.reason}") from e
    from ris.images import from_pixels

    inverter = reader.inverter()
    if check:
        check(inverter)
    inversion = inverter.invert(from_pixels(cut.pixels[None]))
    face = reader.embedder().embed(inversion.w[0])
    return QueryFace(
        id=None,
        path=path.absolute(),
        sigma=face.sigma.numpy(),
        # made and rounded as rows of the store are, so that a photo's answer does not depend on
        # whether it has been ingested
        scores=face.scores.numpy().astype(np.float16).astype(np.float32),
        w=face.w.numpy(),
        error=inversion.errors()[0],
        quad=None if cut.aligned else cut.quad,
    )


def _stored(store: Store, row: FaceRow) -> QueryFace:
    return QueryFace(
        id=row.id,
        path=store.resolve(row.path),
        sigma=row.sigma,
        scores=row.scores.astype(np.float32),
        w=row.w,
        error=row.inversion_error,
        quad=None if row.aligned else row.quad,
    )
