"""Latents that are given for photos."""

from __future__ import annotations

import numpy as np

from ris.data.latents import Latents
from ris.errors import InputError
from ris.ingest.pictures.decode import PhotoFile


class CodeTable:
    """Given latents, looked up by the photo's content, else by its name, else by its place.

    Args:
        latents: the codes; None if none are given.
        total: number of photos, to check codes without names against; None if it is not known,
            where there are no such codes.

    Raises:
        InputError: a name stands there twice, or the numbers do not agree.

    Attributes:
        in_order: whether the codes have no names and go with the photos in their order.
    """

    def __init__(self, latents: Latents | None, total: int | None) -> None:
        self._codes = latents.codes if latents else ()
        self._hashes = {sha: i for i, sha in enumerate((latents and latents.hashes) or ())}
        names = (latents and latents.files) or []
        self._names = {name: i for i, name in enumerate(names)}
        if not self._hashes and len(self._names) < len(names):
            raise InputError("the latents file names a photo twice")
        self.in_order = latents is not None and not self._hashes and not self._names
        if self.in_order and len(self._codes) != total:
            raise InputError(
                f"{len(self._codes)} latents for {total} photos: without file names they go "
                "with the photos in order, so the numbers must agree"
            )

    def find(self, number: int, file: PhotoFile) -> np.ndarray | None:
        """The code of the `number`-th photo, or None if it has to be inverted.

        Where content hashes are known they decide: a photo that was edited since its latent
        was written is another face.
        """
        if self.in_order:
            index: int | None = number
        elif self._hashes:
            index = self._hashes.get(file.sha256)
        else:
            index = self._names.get(file.path.name)
        return None if index is None else self._codes[index]
