"""Feature catalogues: learned anew, and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ris.choices import Device
from ris.door.model_settings import PathLike, home
from ris.door.words import Progress, stage
from ris.errors import InputError


@dataclass(frozen=True)
class FittedCatalogue:
    """A catalogue that was learned and written.

    Attributes:
        file: that was written (.safetensors).
        clusters: number of clusters of activations.
        catalogue: its fingerprint.
    """

    file: Path
    clusters: int
    catalogue: str

    def __len__(self) -> int:
        return self.clusters

    def to_dict(self) -> dict[str, Any]:
        """What ``ris catalogue fit --json`` prints."""
        return {**vars(self), "file": str(self.file)}


def fit_catalogue(
    out: PathLike | None = None,
    *,
    clusters: int | None = None,
    faces: int | None = None,
    seed: int | None = None,
    generator: PathLike | None = None,
    folder: PathLike | None = None,
    device: Device = "auto",
    progress: Progress | None = None,
) -> FittedCatalogue:
    """Learns a feature catalogue anew from generated faces, without labels.

    Args:
        out: file to write (.safetensors); with a generator by default beside the collection,
            where `Collection.ingest` finds it.
        clusters: number of clusters of activations, at least 16.
        faces: number of generated faces, at least 8.
        seed: of faces and clustering.
        generator: weights of a StyleGAN2; None: the one that ships.
        folder: of the collection, for `out`; by default the nearest, or ``.ris`` here.
        device: where generator and clustering run.
        progress: called as ``progress("fitting", done, total)``.

    Raises:
        InputError: no file to write, too few faces or clusters, or another suffix.
        StoreError: the file cannot be written.
    """
    if out is None and generator is None:
        raise InputError("name the file to write with `out`")
    from ris.ingest.catalogue_fitting import refit

    file, catalogue = refit(
        None if out is None else Path(out),
        generator_file=None if generator is None else Path(generator),
        store=home(folder),
        clusters=clusters,
        faces=faces,
        seed=seed,
        device=device,
        progress=stage(progress, "fitting"),
    )
    return FittedCatalogue(file, catalogue.clusters, catalogue.fingerprint)


@dataclass(frozen=True)
class DrawnCatalogue:
    """A picture of a catalogue's classes.

    Attributes:
        file: that was written.
        area: mean share of the picture, by class.
    """

    file: Path
    area: Mapping[str, float]

    def __len__(self) -> int:
        return len(self.area)

    def to_dict(self) -> dict[str, Any]:
        """What ``ris catalogue show --json`` prints."""
        return {"file": str(self.file), "area": dict(self.area)}


def draw_catalogue(
    out: PathLike,
    catalogue: PathLike | None = None,
    *,
    faces: int = 8,
    seed: int = 0,
    generator: PathLike | None = None,
    folder: PathLike | None = None,
    device: Device = "auto",
) -> DrawnCatalogue:
    """Draws a catalogue's classes over generated faces.

    Args:
        out: picture to write (.png or .jpg).
        catalogue: its file; None: the generator's own.
        faces: number of generated faces, at least 1.
        seed: the first face's.
        generator: weights of a StyleGAN2; None: the one that ships.
        folder: of the collection beside which the catalogue of such a generator lies.
        device: where the generator runs.

    Raises:
        InputError: no faces asked for, or another suffix.
        ModelFileError: a file is missing or cannot be used.
        StoreError: the picture cannot be written.
    """
    from ris.query.catalogue_sheet import draw

    target = Path(out)
    areas = draw(
        target,
        None if catalogue is None else Path(catalogue),
        generator_file=None if generator is None else Path(generator),
        store=home(folder),
        faces=faces,
        seed=seed,
        device=device,
    )
    return DrawnCatalogue(target, areas)
