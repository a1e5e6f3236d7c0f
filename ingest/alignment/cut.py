"""Which squares of a photo become faces of the store, and their pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageOps

from ris.choices import Aligned, Faces
from ris.errors import ImageError
from ris.ingest.alignment.face_square import crop, is_aligned, side, whole
from ris.ingest.alignment.finder import Face, FaceFinder, same_face
from ris.ingest.pictures.decode import PHOTO_SIZE, Decoded, Photo, decode, decode_aligned
from ris.once import once

UNCLEAR = "what looks like a face is too far in profile or too covered for landmarks"


@dataclass(frozen=True)
class Cut:
    """One face of a photo, cut out for an inverter.

    Attributes:
        pixels: (S, S, 3) uint8.
        quad: (4, 2) float64, the square that was cut out, in pixels of the photo's file.
        aligned: whether the photo was taken as it is: its central square.
        face: what was found there, in pixels of the photo's file; None where a photo was taken
            as it is and no face could be found.
    """

    pixels: np.ndarray
    quad: np.ndarray
    aligned: bool
    face: Face | None


@dataclass(frozen=True)
class Aligner:
    """Photos to face crops, under one set of options. Any number of threads may share one.

    Attributes:
        aligned: ``yes``: photos are face crops, take their central squares; ``no``: find the
            faces and cut them out; ``auto``: find them, but leave a photo alone if it is a
            face crop already.
        faces: take the largest face of a photo, or all.
        size: pixels of the crops.
    """

    aligned: Aligned = "auto"
    faces: Faces = "largest"
    size: int = PHOTO_SIZE

    @once
    def finder(self) -> FaceFinder:
        """The finder behind it."""
        return FaceFinder()

    def cuts(self, photo: Decoded) -> list[Cut]:
        """The faces of a photo, the largest (or the aligned one) first.

        Raises:
            ImageError: (stage ``align``) none found.
        """
        found, seen = self.finder.look(photo.picture, largest=self.faces == "largest")
        if self.aligned == "yes" or (found and self._is_aligned(found[0], photo)):
            main = found[0] if found else None
            rest = [f for f in found[1:] if not same_face(f.quad, self._frame(photo))]
            result = [self.as_it_is(photo, main)]
        else:
            rest, result = found, []
        if self.faces == "largest":
            rest = rest[: 1 - len(result)]
        result += [self._cut(photo, face) for face in rest]
        if not result:
            raise ImageError("align", UNCLEAR if seen else "no face found")
        return result

    def for_all(self) -> Aligner:
        """One that takes all faces, with the same finder."""
        other = replace(self, faces="all")
        vars(other)["finder"] = self.finder
        return other

    def as_it_is(self, photo: Decoded, face: Face | None) -> Cut:
        """A photo's central square, with the face found in it."""
        pixels = ImageOps.fit(photo.picture, (self.size, self.size), Image.Resampling.LANCZOS)
        quad = self._frame(photo) * photo.scale
        return Cut(np.asarray(pixels), quad, True, _scaled(face, photo.scale) if face else None)

    def _is_aligned(self, face: Face, photo: Decoded) -> bool:
        return self.aligned == "auto" and is_aligned(face.quad, photo.picture.size[::-1])

    def _frame(self, photo: Decoded) -> np.ndarray:
        return whole(*photo.picture.size)

    def _cut(self, photo: Decoded, face: Face) -> Cut:
        pixels = crop(photo.picture, face.quad, self.size)
        return Cut(pixels, face.quad * photo.scale, False, _scaled(face, photo.scale))


def _scaled(face: Face, scale: float) -> Face:
    if scale == 1:
        return face
    return replace(
        face, box=face.box * scale, landmarks=face.landmarks * scale, quad=face.quad * scale
    )


def cut_again(photo: Photo, quad: np.ndarray | None, size: int) -> np.ndarray:
    """The face of a stored quad (None: of a photo that is a face crop), as (size, size, 3) uint8.

    Raises:
        ImageError: (stage ``read`` or ``decode``) the photo is gone or damaged; (stage ``align``)
            the quad lies outside it: it was replaced by a smaller one.
    """
    if quad is None:
        return decode_aligned(photo, size).pixels
    decoded = decode(photo)
    try:
        return crop(decoded.picture, quad / decoded.scale, size)
    except ValueError as e:
        raise ImageError("align", str(e)) from e


def fits(cut: Cut, quad: np.ndarray) -> bool:
    """Whether a cut shows the face of a quad that was cut out of the same photo before."""
    return same_face(cut.quad, quad) and 0.5 < side(cut.quad) / side(quad) < 2
