"""What every inverter takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F

from ris.errors import InputError

Progress = Callable[[int, int], None]


class Inversion(NamedTuple):
    """Codes of a batch of photos.

    Attributes:
        w: (B, L, 512) W+ codes.
        error: (B,) feature distance between the photo and the code's small picture, or None where
            it was not measured: the mean over the backbone's blocks of the squared difference in
            standard deviations of generated faces, weighted towards the face. 0: the same
            picture; about 0.5: a clear likeness; 1.2 to 1.9: photos of different people.
        steps: optimisation steps taken for each face.
    """

    w: torch.Tensor
    error: torch.Tensor | None
    steps: int

    def errors(self) -> list[float | None]:
        """The error of each face."""
        return [None] * len(self.w) if self.error is None else self.error.tolist()


class Inverter(Protocol):
    """Turns aligned photos into codes of the generator."""

    name: str
    fingerprint: str
    """Name, steps and hash of everything that changes a code; stored with every face."""
    batch: int
    """Photos to give at once."""

    def invert(self, images: torch.Tensor, *, progress: Progress | None = None) -> Inversion:
        """(B, 3, S, S) aligned photos in [-1, 1] -> codes.

        A photo's code does not depend on the photos beside it.

        Args:
            images: cropped as FFHQ's are, any S.
            progress: called with steps done and steps in all.
        """
        ...


def resize(images: torch.Tensor, size: int) -> torch.Tensor:
    """(B, 3, S, S) -> (B, 3, size, size), antialiased."""
    return F.interpolate(
        images, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )


def check_photos(images: torch.Tensor) -> None:
    """Raises InputError unless images are (B, 3, S, S)."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise InputError(f"an inversion wants (B, 3, S, S) photos, not {tuple(images.shape)}")
