"""From a photo to its faces: decoding, finding and cutting out, codes, scores.

`FaceReader` is the one way there: what is ingested, what is searched for and what is edited are
read by it, so that a photo's face is the same in all three, to the last bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import TypeVar

import numpy as np
import torch

from ris.cores import usable_cores
from ris.data.shards import GIVEN, FaceRow
from ris.errors import ImageError, InputError
from ris.images import from_pixels
from ris.ingest.alignment.cut import Aligner, Cut, fits
from ris.ingest.embedding import Embedded
from ris.ingest.loaded_models import Models
from ris.ingest.pictures.decode import Decoded, Photo, PhotoFile, decode, name_of
from ris.ingest.threads import one_thread

T = TypeVar("T")

AT_ONCE = 16
"""Faces that a device embeds at once, which bounds the memory of their activations."""
_AT_A_TIME = BoundedSemaphore(usable_cores())
"""Photos of which `FaceReader.largest` reads the face at the same time, each on one core and with
its own activations in memory; further threads wait."""


@dataclass(frozen=True)
class ReadFace:
    """A face as it was read from a photo.

    Attributes:
        cut: where it lies, and what was found there.
        w: (L, 512) float32 code.
        sigma: (C,) float32 style coefficients.
        scores: (K, C') float16 contribution scores, rounded as the store keeps them.
        error: the inverter's reconstruction error; None where it measures none, or for a code
            that was given.
        inverter: fingerprint of what gave the code.
    """

    cut: Cut
    w: np.ndarray
    sigma: np.ndarray
    scores: np.ndarray
    error: float | None
    inverter: str


class FaceReader:
    """Reads faces with some models. Any number of threads may use it at once.

    On a CPU every face goes alone through every network, so that what is read depends neither on
    the faces that are read beside it nor on the number of threads. On a device faces go in groups.

    Args:
        models: what it is done with.
        check: called with the inverter's fingerprint before it inverts.
    """

    def __init__(self, models: Models, check: Callable[[str], None] | None = None) -> None:
        self.models = models
        self._check = check
        self._stopped = False

    def stop(self) -> None:
        """Lets every thread end soon, with `CancelledError`."""
        self._stopped = True

    @property
    def on_device(self) -> bool:
        """Whether the networks run on a device that wants many faces at once."""
        return self.models.embedder.generator.device.type != "cpu"

    def largest(self, photo: Photo, number: int = 0) -> ReadFace:
        """The largest face of a photo, or the one of a number, by size. Threads may call this at
        once: as many photos are read at a time as there are cores.

        Raises:
            InputError: the photo gives no face; the message names it.
        """
        with _AT_A_TIME, one_thread():
            try:
                return self._largest(photo, number)
            except ImageError as e:
                raise InputError(f"{name_of(photo)}: {e.reason}") from e

    def _largest(self, photo: Photo, number: int) -> ReadFace:
        aligner = self.models.aligner
        cuts = (aligner.for_all() if number else aligner).cuts(decode(photo))
        if len(cuts) <= number:
            raise ImageError("align", f"it has no face {number}, the last one is {len(cuts) - 1}")
        (face,) = self.read([cuts[number]])
        if isinstance(face, ImageError):
            raise face
        return face

    def read(
        self, cuts: Sequence[Cut], given: Sequence[np.ndarray | None] | None = None
    ) -> list[ReadFace | ImageError]:
        """What is read of each cut face, or what is wrong with it.

        Args:
            cuts: the faces.
            given: for each its code, (512,) or (L, 512), or None to invert it; None: invert all.
        """
        codes = [None if w is None else torch.from_numpy(w) for w in given or [None] * len(cuts)]
        errors: list[float | None] = [None] * len(cuts)
        inverters = [GIVEN] * len(cuts)
        unknown = [i for i, code in enumerate(codes) if code is None]
        if unknown:
            inverter = self.models.inverter
            if self._check:
                self._check(inverter.fingerprint)
            group = inverter.batch if self.on_device else 1
            for part in _parts(unknown, group):
                images = from_pixels(np.stack([cuts[i].pixels for i in part]))
                inversion = inverter.invert(images, progress=self._go_on)
                for i, w, error in zip(part, inversion.w, inversion.errors(), strict=True):
                    codes[i], errors[i], inverters[i] = w, error, inverter.fingerprint
        embedded: list[Embedded] = []
        for some in _parts(codes, AT_ONCE if self.on_device else 1):
            self._go_on()
            embedded += self.models.embedder.embed_all([w for w in some if w is not None])
        return [_read(*face) for face in zip(cuts, embedded, errors, inverters, strict=True)]

    def _go_on(self, *_: int) -> None:
        if self._stopped:
            raise CancelledError


def _parts(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _read(
    cut: Cut, embedded: Embedded, error: float | None, inverter: str
) -> ReadFace | ImageError:
    w, sigma, scores = (part.numpy() for part in (embedded.w, embedded.sigma, embedded.scores))
    if not (np.isfinite(sigma).all() and np.isfinite(scores).all()):
        return ImageError("invert", "the latent gives values that are not finite")
    return ReadFace(cut, w, sigma, scores.astype(np.float16), error, inverter)


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


class RowReader(FaceReader):
    """Reads photos to rows of a store; on a device `rows` is given many photos."""

    def read_photo(self, task: Task) -> list[FaceRow] | CutPhoto:
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
        photo, aligner = decode(task.file.path), self.models.aligner
        if task.code is None:
            cuts = _cuts(aligner, photo, task.kept)
        elif task.kept:
            cuts = {}
        else:
            faces = aligner.finder.find(photo.picture, largest=True)
            cuts = {0: aligner.as_it_is(photo, faces[0] if faces else None)}
        return CutPhoto(task, photo.width, photo.height, cuts)

    def rows(self, photos: Sequence[CutPhoto]) -> list[list[FaceRow] | ImageError]:
        """For each photo all its rows, old and new, or what is wrong with it."""
        cuts = [cut for photo in photos for cut in photo.cuts.values()]
        faces = iter(self.read(cuts, [p.task.code for p in photos for _ in p.cuts]))
        selection = self.models.aligner.faces
        result: list[list[FaceRow] | ImageError] = []
        for photo in photos:
            rows = [dataclasses.replace(row, selection=selection) for row in photo.task.kept]
            error: ImageError | None = None
            for number in photo.cuts:
                face = next(faces)
                if isinstance(face, ImageError):
                    error = face
                else:
                    rows.append(_row(photo, number, face, selection))
            result.append(error or rows)
        return result


def _cuts(aligner: Aligner, photo: Decoded, kept: list[FaceRow]) -> dict[int, Cut]:
    """Faces of a photo that no row shows yet, under numbers that are free."""
    try:
        cuts = aligner.cuts(photo)
    except ImageError:
        if not kept:
            raise
        cuts = []
    taken = {row.face for row in kept}
    quads = [row.quad for row in kept if row.quad is not None]
    fresh = [cut for cut in cuts if not any(fits(cut, quad) for quad in quads)]
    numbers = (n for n in range(len(taken) + len(fresh)) if n not in taken)
    return dict(zip(numbers, fresh, strict=False))


def _row(photo: CutPhoto, number: int, read: ReadFace, selection: str) -> FaceRow:
    task, cut, face = photo.task, read.cut, read.cut.face
    found = ("box", "yaw", "pitch", "roll", "blendshapes") if face else ()
    return FaceRow(
        id=task.face_id(number),
        path=task.path,
        width=photo.width,
        height=photo.height,
        file_size=task.file.size,
        file_mtime_ns=task.file.mtime_ns,
        inverter=read.inverter,
        inversion_error=read.error,
        w=read.w,
        sigma=read.sigma,
        scores=read.scores,
        face=number,
        selection=selection,
        aligned=cut.aligned,
        quad=cut.quad,
        **{name: getattr(face, name) for name in found},
    )
