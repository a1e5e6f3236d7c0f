"""From a photo's file to its rows: decoding, finding and cutting out faces, codes, scores."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ris.data.shards import GIVEN, FaceRow
from ris.errors import ImageError
from ris.images import from_pixels
from ris.ingest.alignment.cut import Aligner, Cut, fits
from ris.ingest.alignment.finder import Face
from ris.ingest.embedding import Embedded, Embedder
from ris.ingest.pictures.decode import Photo, PhotoFile, decode

if TYPE_CHECKING:
    from ris.ingest.inversion.optimisation import Inverter

AT_ONCE = 16
"""Faces that a device embeds at once, which bounds the memory of their activations."""


@dataclass(frozen=True)
class Task:
    """A photo to be read.

    Attributes:
        file: its file.
        path: as it is stored.
        code: its latent, if given; such a photo is taken as it is.
        kept: faces of this photo that the store has already.
    """

    file: PhotoFile
    path: str
    code: np.ndarray | None
    kept: list[FaceRow]

    def face_id(self, number: int) -> str:
        """Id of the face of that number."""
        return f"{self.file.face_id}-{number}" if number else self.file.face_id


@dataclass(frozen=True)
class CutPhoto:
    """A photo whose faces are cut out: the task, the upright photo's size, its new faces by
    number."""

    task: Task
    width: int
    height: int
    cuts: dict[int, Cut]


class PhotoReader:
    """Reads photos under one set of options. Any number of threads may use it at once.

    On a CPU every face goes alone through every network, so that a row depends neither on the
    faces that are read beside it nor on the number of threads. On a device `rows` is given many
    photos and hands them on in groups.

    Args:
        embedder: codes to sigma and scores; several threads call it at once.
        make_inverter: called once, when the first photo without a given latent is met.
        aligner: how faces are found and cut out; several threads call it at once.
    """

    def __init__(
        self, embedder: Embedder, make_inverter: Callable[[], Inverter], aligner: Aligner
    ) -> None:
        self.embedder, self.aligner = embedder, aligner
        self._make_inverter = make_inverter
        self._inverter: Inverter | None = None
        self._lock = threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """Lets every thread end soon, with `CancelledError`."""
        self._stopped = True

    @property
    def on_device(self) -> bool:
        """Whether the networks run on a device that wants many faces at once."""
        return self.embedder.generator.device.type != "cpu"

    def read(self, task: Task) -> list[FaceRow] | CutPhoto:
        """All rows of a photo, or what `rows` makes them of where that wants many photos.

        Raises:
            ImageError: it gives no face.
        """
        photo = self.cut(task)
        if self.on_device:
            return photo
        (rows,) = self.rows([photo])
        if isinstance(rows, ImageError):
            raise rows
        return rows

    def cut(self, task: Task) -> CutPhoto:
        """Decodes a photo and cuts out the faces that the store does not have.

        Raises:
            ImageError: it cannot be decoded, or shows no face.
        """
        self._go_on()
        photo = decode(task.file.path)
        if task.code is None:
            cuts = _cuts(self.aligner, photo, task.kept)
        elif task.kept:
            cuts = {}
        else:
            faces = self.aligner.finder.find(photo.picture, largest=True)
            cuts = {0: self.aligner.as_it_is(photo, faces[0] if faces else None)}
        return CutPhoto(task, photo.width, photo.height, cuts)

    def rows(self, photos: Sequence[CutPhoto]) -> list[list[FaceRow] | ImageError]:
        """For each photo all its rows, old and new, or what is wrong with it."""
        codes = self._codes([photo for photo in photos if photo.task.code is None])
        for photo in photos:
            if photo.task.code is not None:
                given = torch.from_numpy(photo.task.code), None
                codes |= {photo.task.face_id(number): given for number in photo.cuts}
        embedded = self._embedded({face: w for face, (w, _) in codes.items()})
        result: list[list[FaceRow] | ImageError] = []
        for photo in photos:
            rows = [dataclasses.replace(r, selection=self.aligner.faces) for r in photo.task.kept]
            try:
                for number in photo.cuts:
                    face = photo.task.face_id(number)
                    rows.append(self._row(photo, number, embedded[face], codes[face][1]))
            except ImageError as e:
                result.append(e)
            else:
                result.append(rows)
        return result

    def inverter(self) -> Inverter:
        """The inverter for photos, made when it is first needed."""
        with self._lock:
            if self._inverter is None:
                self._inverter = self._make_inverter()
            return self._inverter

    def _go_on(self, *_: int) -> None:
        if self._stopped:
            raise CancelledError

    def _codes(self, photos: Sequence[CutPhoto]) -> dict[str, tuple[torch.Tensor, float | None]]:
        """Codes by inversion, with the reconstruction error, by face id."""
        faces = [(p.task.face_id(n), cut.pixels) for p in photos for n, cut in p.cuts.items()]
        if not faces:
            return {}
        inverter = self.inverter()
        group = inverter.batch if self.on_device else 1
        found: dict[str, tuple[torch.Tensor, float | None]] = {}
        for start in range(0, len(faces), group):
            ids, pixels = zip(*faces[start : start + group], strict=True)
            inversion = inverter.invert(from_pixels(np.stack(list(pixels))), progress=self._go_on)
            found |= zip(ids, zip(inversion.w, inversion.errors(), strict=True), strict=True)
        return found

    def _embedded(self, codes: dict[str, torch.Tensor]) -> dict[str, Embedded]:
        """Sigma and scores by face id."""
        faces = list(codes)
        group = AT_ONCE if self.on_device else 1
        found: dict[str, Embedded] = {}
        for start in range(0, len(faces), group):
            self._go_on()
            ids = faces[start : start + group]
            found |= zip(ids, self.embedder.embed_all([codes[i] for i in ids]), strict=True)
        return found

    def _row(
        self, photo: CutPhoto, number: int, embedded: Embedded, error: float | None
    ) -> FaceRow:
        if not (torch.isfinite(embedded.sigma).all() and torch.isfinite(embedded.scores).all()):
            raise ImageError("invert", "the latent gives values that are not finite")
        task, cut = photo.task, photo.cuts[number]
        return FaceRow(
            id=task.face_id(number),
            path=task.path,
            width=photo.width,
            height=photo.height,
            file_size=task.file.size,
            file_mtime_ns=task.file.mtime_ns,
            inverter=GIVEN if task.code is not None else self.inverter().fingerprint,
            inversion_error=error,
            w=embedded.w.numpy(),
            sigma=embedded.sigma.numpy(),
            scores=embedded.scores.numpy().astype(np.float16),
            face=number,
            selection=self.aligner.faces,
            aligned=cut.aligned,
            quad=cut.quad,
            **({} if cut.face is None else _found(cut.face)),
        )


def _cuts(aligner: Aligner, photo: Photo, kept: list[FaceRow]) -> dict[int, Cut]:
    """Faces of a photo by number, without those that the store has."""
    try:
        cuts = aligner.cuts(photo)
    except ImageError:
        if not kept:
            raise
        cuts = []
    return _others(cuts, kept)


def _found(face: Face) -> dict[str, Any]:
    """What a row says about a face that was found."""
    return {name: getattr(face, name) for name in ("box", "yaw", "pitch", "roll", "blendshapes")}


def _others(cuts: list[Cut], kept: list[FaceRow]) -> dict[int, Cut]:
    """Those cuts that no row shows yet, under numbers that are free."""
    taken = {row.face for row in kept}
    quads = [row.quad for row in kept if row.quad is not None]
    fresh = [cut for cut in cuts if not any(fits(cut, quad) for quad in quads)]
    numbers = (n for n in range(len(taken) + len(fresh)) if n not in taken)
    return dict(zip(numbers, fresh, strict=False))
