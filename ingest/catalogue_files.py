"""`ris catalog fit`: a feature catalogue learned anew, into a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from data.assets import load_catalogue, load_generator
from data.durable import disk_error, replacing
from ris.catalogue import FeatureCatalogue
from ris.catalogue_fit import CLUSTERS, FACES, SEED, fit, transfer_grouping
from ris.errors import InputError


def refit(
    out: Path,
    *,
    clusters: int | None = None,
    faces: int | None = None,
    seed: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureCatalogue:
    """Learns a catalogue anew from generated faces and writes it to `out`.

    The clustering is unsupervised; the new clusters get the class that the shipped catalogue
    gives to most of their pixels.

    Args:
        out: file to write, ``.safetensors``.
        clusters: number of clusters; None for the shipped catalogue's way.
        faces: number of generated faces; None likewise.
        seed: of faces and clustering; None likewise.
        progress: called with steps done and steps in all.

    Raises:
        InputError: too few faces or clusters, or another suffix.
        StoreError: the file cannot be written.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"{out}: a catalogue is written as .safetensors")
    if (clusters is not None and clusters < 16) or (faces is not None and faces < 8):
        raise InputError("a catalogue needs at least 16 clusters and 8 faces")
    generator = load_generator()
    with torch.no_grad():
        fitted = fit(
            generator,
            clusters=CLUSTERS if clusters is None else clusters,
            faces=FACES if faces is None else faces,
            seed=SEED if seed is None else seed,
            progress=progress,
        )
        grouped = transfer_grouping(generator, fitted, load_catalogue(generator))
    save_catalogue(out, grouped)
    return grouped


def save_catalogue(out: Path, catalogue: FeatureCatalogue) -> None:
    """Writes a catalogue as `data.assets.load_catalogue` reads it.

    Raises:
        StoreError: the file cannot be written.
    """
    from safetensors.torch import save_file

    tensors, metadata = catalogue.to_tensors()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as temporary:
            save_file(tensors, temporary, metadata)
    except OSError as e:
        raise disk_error(e, out) from e
