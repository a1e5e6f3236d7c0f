"""Collections opened and made."""

from __future__ import annotations

from pathlib import Path

from ris.choices import MAX_RESOLUTION, Aligned, Device, Engine, Faces
from ris.door.collection import Collection
from ris.door.model_settings import ModelSettings, PathLike


def open(
    folder: PathLike | None = None,
    *,
    generator: PathLike | None = None,
    inverter: PathLike | None = None,
    refine: int | None = None,
    engine: Engine = "auto",
    aligned: Aligned = "auto",
    faces: Faces = "largest",
    device: Device = "auto",
) -> Collection:
    """Opens a collection. Photos are read as its faces were, unless told otherwise.

    Args:
        folder: where it is kept; by default the nearest ``.ris`` from the working directory upward.
        generator: the file of its generator, where it is not found any more.
        inverter: the checkpoint by which its faces were read, likewise; or, for photos to come,
            ``encoder``, ``optimisation`` or a pSp or e4e checkpoint (.pt).
        refine: steps of optimisation.
        engine: what computes contribution scores: ``native`` kernels, ``torch``, or ``auto``.
        aligned: whether photos are face crops as in FFHQ: ``yes``, ``no``, or ``auto`` to find out.
        faces: whether the ``largest`` face of an ingested photo is taken, or ``all``.
        device: where networks run: ``cpu``, ``cuda``, or ``auto``.

    Raises:
        StoreError: there is none, or it is damaged.

    Example:
        >>> ris.open(".ris")
        <Collection .../.ris>
    """
    from ris.data.store import Store

    settings = ModelSettings(
        generator=generator,
        inverter=inverter,
        refine=refine,
        engine=engine,
        aligned=aligned,
        faces=faces,
        device=device,
    )
    named = None if folder is None else Path(folder)
    return Collection(Store.open(named).folder, settings)


def create(
    folder: PathLike,
    *,
    generator: PathLike | None = None,
    catalogue: PathLike | None = None,
    max_resolution: int | None = MAX_RESOLUTION,
    instance_norm: bool = True,
    inverter: PathLike | None = None,
    refine: int | None = None,
    engine: Engine = "auto",
    aligned: Aligned = "auto",
    faces: Faces = "largest",
    device: Device = "auto",
) -> Collection:
    """Makes an empty collection, or opens one that was made with the same settings.

    Args:
        folder: where it is kept.
        generator: weights of a StyleGAN2 (.pt, .pkl, .safetensors); None: the one that ships.
        catalogue: a feature catalogue's file (.safetensors); None: the generator's own.
        max_resolution: widest activation in the contribution scores, pixels; None for all.
        instance_norm: whether activations are normalised before they are scored.
        inverter: how a photo becomes a latent: ``encoder``, ``optimisation``, or a pSp or e4e
            checkpoint (.pt).
        refine: steps of optimisation; None: none after the encoder, 60 without.
        engine: see `open`, like all that follows.
        aligned: likewise.
        faces: likewise.
        device: likewise.

    Raises:
        MismatchError: there is one with other settings.
        StoreError: something else is in the folder, or it cannot be written.
        ModelFileError: a model's file is missing or cannot be fetched.

    Example:
        >>> others = ris.create("others/.ris")
        >>> len(others), others.ingest("celebahq/seed000100.jpg").ingested
        (0, 1)
    """
    from ris.ingest.run import create_store

    made = Collection.at(
        folder,
        generator=generator,
        catalogue=catalogue,
        max_resolution=max_resolution,
        instance_norm=instance_norm,
        inverter=inverter,
        refine=refine,
        engine=engine,
        aligned=aligned,
        faces=faces,
        device=device,
    )
    create_store(made.folder, made.settings.models())
    return made
