"""Which models a collection is read with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ris.choices import MAX_RESOLUTION, Aligned, Device, Engine, Faces
from ris.errors import InputError

if TYPE_CHECKING:
    from ris.data.store import Store
    from ris.ingest.loaded_models import Models

PathLike: TypeAlias = "str | os.PathLike[str]"
INVERTERS = ("encoder", "optimisation")


@dataclass(frozen=True)
class ModelSettings:
    """Settings of the networks that turn photos into faces.

    Attributes:
        generator: weights of a StyleGAN2 (.pt, .pkl, .safetensors); None: the collection's own, or
            the one that ships.
        catalogue: a feature catalogue's file (.safetensors); None: the collection's own, or the
            generator's.
        max_resolution: widest activation in the contribution scores, pixels; None for all.
        instance_norm: whether the activations are normalised before they are scored.
        inverter: how a photo becomes a latent: ``encoder``, ``optimisation``, or a pSp or e4e
            checkpoint (.pt); None: as most faces of the collection, or else by the encoder.
        refine: steps of optimisation; None: none after the encoder, 60 without.
        engine: what computes the scores: ``native`` kernels, ``torch``, or ``auto``.
        aligned: whether photos are face crops as in FFHQ: ``yes``, ``no``, or ``auto`` to find out.
        faces: whether the ``largest`` face of a photo is taken, or ``all``.
        device: where networks run: ``cpu``, ``cuda``, or ``auto``.
    """

    generator: PathLike | None = None
    catalogue: PathLike | None = None
    max_resolution: int | None = MAX_RESOLUTION
    instance_norm: bool = True
    inverter: PathLike | None = None
    refine: int | None = None
    engine: Engine = "auto"
    aligned: Aligned = "auto"
    faces: Faces = "largest"
    device: Device = "auto"

    def models(self, store: Store | None = None) -> Models:
        """The models, of which nothing is loaded yet.

        Args:
            store: the collection's, whose faces say what is not given; None for a new one.

        Raises:
            InputError: an inverter that is neither known nor a file's name.
        """
        from ris.ingest.loaded_models import Models

        if store is None:
            return Models(
                **self._given(),
                max_resolution=self.max_resolution,
                instance_norm=self.instance_norm,
            )
        return Models(
            **self._given(),
            generator_name=store.settings.generator_name,
            max_resolution=store.settings.max_resolution,
            instance_norm=store.settings.instance_norm,
        )

    def _given(self) -> dict[str, Any]:
        kind, file = _inverter(self.inverter)
        return {
            "generator_file": _path(self.generator),
            "catalogue_path": _path(self.catalogue),
            "inverter_kind": kind,
            "inverter_file": file,
            "refine": self.refine,
            "engine": self.engine,
            "aligned": self.aligned,
            "faces": self.faces,
            "device": self.device,
        }


def home(folder: PathLike | None) -> Path:
    """The folder that was named, that of the nearest collection, or of one to be made here."""
    from ris.data.store import FOLDER, Store

    return Path(folder) if folder is not None else Store.nearest() or Path(FOLDER)


def _path(given: PathLike | None) -> Path | None:
    return None if given is None else Path(given)


def _inverter(given: PathLike | None) -> tuple[str | None, Path | None]:
    """Kind or file."""
    if given is None or given in INVERTERS:
        return (None if given is None else str(given)), None
    path = Path(given)
    if isinstance(given, str) and not path.suffix:
        raise InputError(f"`inverter` is encoder, optimisation or a file (.pt), not {given!r}")
    return None, path
