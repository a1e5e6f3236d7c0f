"""`ris catalog fit`: a feature catalogue learned anew, into a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from ris.choices import Device
from ris.data.durable import disk_error, replacing
from ris.data.models.shipped import catalogue_beside, load_catalogue, load_generator
from ris.errors import InputError
from ris.generators.generator import Generator
from ris.method.catalogue import FeatureCatalogue
from ris.method.catalogue_fit import (
    CLUSTERS,
    FACES,
    SEED,
    TRUNCATION,
    Progress,
    fit,
    group_like,
    sample_sigma,
    transfer_grouping,
)

GROUPING_FACES = 60
"""At most so many are rendered and read back to group the clusters of a generator that does not
ship."""


def refit(
    out: Path | None,
    *,
    generator_file: Path | None = None,
    store: Path | None = None,
    clusters: int | None = None,
    faces: int | None = None,
    seed: int | None = None,
    device: Device = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, FeatureCatalogue]:
    """Learns a catalogue anew from generated faces and writes it.

    The clustering is unsupervised; the new clusters get the class that the shipped catalogue
    gives to most of their pixels: see `transfer_grouping`, and for another generator than the
    shipped one `group_by_pictures`.

    Args:
        out: file to write, ``.safetensors``; None: beside the store, named by the generator's
            fingerprint, where `ris ingest` finds it.
        generator_file: weights of another generator, see `ris.data.models.stylegan2_files`.
        store: the store's folder, for `out`.
        clusters: number of clusters; None for the shipped catalogue's way.
        faces: number of generated faces; None likewise.
        seed: of faces and clustering; None likewise.
        device: where the generator and the clustering run.
        progress: called with steps done and steps in all.

    Raises:
        InputError: too few faces or clusters, or another suffix.
        StoreError: the file cannot be written.
    """
    if out is None and (generator_file is None or store is None):
        raise InputError("name the file to write with `out`")
    if out is not None and out.suffix != ".safetensors":
        raise InputError(f"{out}: a catalogue is written as .safetensors")
    if (clusters is not None and clusters < 16) or (faces is not None and faces < 8):
        raise InputError("a catalogue needs at least 16 `clusters` and 8 `faces`")
    generator = load_generator(generator_file, device=device)
    if out is None:
        assert store is not None
        out = catalogue_beside(store, generator)
    with torch.no_grad():
        fitted = fit(
            generator,
            clusters=CLUSTERS if clusters is None else clusters,
            faces=FACES if faces is None else faces,
            seed=SEED if seed is None else seed,
            progress=progress,
        )
        if generator_file:
            few = min(GROUPING_FACES, faces or GROUPING_FACES)
            grouped = group_by_pictures(generator, fitted, faces=few, progress=progress)
        else:
            grouped = transfer_grouping(generator, fitted, load_catalogue(generator))
    save_catalogue(out, grouped)
    return out, grouped


@torch.no_grad()
def group_by_pictures(
    generator: Generator,
    fitted: FeatureCatalogue,
    *,
    faces: int = GROUPING_FACES,
    seed: int = 12,
    progress: Progress | None = None,
) -> FeatureCatalogue:
    """Groups the clusters of any generator of FFHQ-aligned faces into the shipped classes.

    Its faces are rendered and read back by the shipped encoder; the shipped catalogue then says
    which class each pixel is of. A face read back is not the same in detail, but its features
    are where they were.

    Args:
        generator: draws the faces.
        fitted: clusters of its activations.
        faces: number of faces.
        seed: of the faces.
        progress: called with (done, total).
    """
    from ris.ingest.inversion.encoder_inverter import load_encoder_inverter

    shipped = load_generator(device=generator.device)
    teacher = load_catalogue(shipped)
    encoder = load_encoder_inverter(shipped)
    fitted.check(generator)
    depth = fitted.needed_resolution(generator.layout)

    def labels(
        of: Generator, catalogue: FeatureCatalogue, sigma: torch.Tensor, depth: int
    ) -> torch.Tensor:
        return catalogue.labels({a.layer: a.input for a in of.activations(sigma, depth)})

    def pairs() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        teacher_depth = teacher.needed_resolution(shipped.layout)
        for sigma in sample_sigma(generator, faces, TRUNCATION, seed):
            picture = generator.render(sigma).clamp(-1, 1)
            again = shipped.sigma(encoder.invert(picture).w.to(shipped.device))
            yield (
                labels(generator, fitted, sigma, depth),
                labels(shipped, teacher, again, teacher_depth),
            )

    def report(done: int) -> None:
        if progress is not None:
            progress(done, faces)

    return group_like(fitted, teacher.classes, pairs(), report)


def save_catalogue(out: Path, catalogue: FeatureCatalogue) -> None:
    """Writes a catalogue as `ris.data.models.shipped.load_catalogue` reads it.

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
