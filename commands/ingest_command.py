"""`ris sample` and `ris ingest`: faces in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ris
from ris.choices import MAX_RESOLUTION, Aligned, Engine, Faces, PictureFormat
from ris.commands.ingest_report import print_joined, print_report, why_nothing
from ris.commands.options import (
    CatalogueOption,
    DeviceOption,
    GeneratorOption,
    JsonOption,
    StoreOption,
)
from ris.commands.terminal import notify, plain, print_json, progress_bar
from ris.commands.wording import worded
from ris.errors import InputError
from ris.places import shown


def sample(
    folder: Annotated[Path, typer.Argument(help="Folder for the faces.")],
    n: Annotated[int, typer.Option("--n", help="Number of faces.")] = 100,
    seed: Annotated[int, typer.Option(help="First seed.")] = 0,
    truncation: Annotated[float, typer.Option(help="0 (mean face) to 1 (full variety).")] = 0.7,
    size: Annotated[
        int | None,
        typer.Option(help="Pixels (default: the generator's)."),
    ] = None,
    form: Annotated[PictureFormat, typer.Option("--format", help="Picture format.")] = "jpg",
    generator: GeneratorOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Render faces and write their latents beside them, so that ingesting them is quick.

    Example: ris sample faces/ --n 200 --seed 0
    """
    with progress_bar("rendering", as_json) as progress:
        report = ris.sample(
            folder,
            n,
            seed=seed,
            truncation=truncation,
            size=size,
            format=form,
            generator=generator,
            device=device,
            progress=progress,
        )
    if as_json:
        print_json(report.to_dict())
    else:
        done = f"{report.rendered} faces rendered, {report.kept} were there"
        print(f"{done}; now: ris ingest {folder}")


InverterOption = Annotated[
    str | None,
    typer.Option(
        "--inverter",
        help="From photo to code: encoder, optimisation, or a pSp or e4e checkpoint (.pt) "
        "(default: as the store's faces, else encoder).",
    ),
]


def ingest(
    photos: Annotated[
        list[str],
        typer.Argument(
            help="Folders, photos, patterns, or lists of paths (.txt, .lst, a column of .csv or "
            ".tsv; - for standard input)."
        ),
    ],
    store: StoreOption = None,
    latents: Annotated[
        Path | None, typer.Option(help="Codes (N,512) or (N,L,512): .parquet, .npy, .npz, .pt.")
    ] = None,
    metadata: Annotated[
        Path | None, typer.Option(help="CSV or Parquet joined by file name.")
    ] = None,
    metadata_key: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column with the file names (default: the one that holds the photos').",
        ),
    ] = None,
    aligned: Annotated[
        Aligned, typer.Option(help="Photos are face crops: find out, yes or no.")
    ] = "auto",
    faces: Annotated[
        Faces, typer.Option(help="Take the largest face of a photo, or all.")
    ] = "largest",
    inverter: InverterOption = None,
    refine: Annotated[
        int | None,
        typer.Option(help="Steps of optimisation: none after the encoder, 60 without, by default."),
    ] = None,
    max_resolution: Annotated[
        int, typer.Option(help="Widest activation in the scores; 0 for all.")
    ] = MAX_RESOLUTION,
    engine: Annotated[
        Engine,
        typer.Option(help="What computes the scores: kernels compiled here, or torch alone."),
    ] = "auto",
    raw: Annotated[bool, typer.Option("--raw", help="No instance norm in the scores.")] = False,
    prune: Annotated[bool, typer.Option(help="Remove faces whose photo is gone.")] = False,
    catalogue: CatalogueOption = None,
    generator: GeneratorOption = None,
    device: DeviceOption = "auto",
    index: Annotated[
        bool, typer.Option("--index/--no-index", help="Bring indices that exist up to date.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Find the faces in photos and add them; run it again to resume or to add what is new.

    Every file is counted: its faces ingested, skipped, failed, not a picture, or left out. The
    exit status is 1 if none of the photos is in the store afterwards.

    Example: ris ingest celebahq/ --metadata labels.csv
    """
    faces_of = ris.Collection.at(
        store,
        generator=generator,
        catalogue=catalogue,
        max_resolution=max_resolution or None,
        instance_norm=not raw,
        inverter=inverter,
        refine=refine,
        engine=engine,
        aligned=aligned,
        faces=faces,
        device=device,
    )
    with progress_bar("ingesting", as_json) as progress:
        report = faces_of.ingest(
            photos,
            latents=latents,
            metadata=metadata,
            metadata_key=metadata_key,
            prune=prune,
            index=index,
            progress=progress,
        )
    for done in report.indices.values():
        if done.error is not None:
            notify(f"the faces are in the store, but an index is not up to date: {done.error}")
    if as_json:
        facts = report.to_dict()
        for index_facts in facts["indices"].values():
            if "error" in index_facts:
                index_facts["error"] = worded(index_facts["error"])
        print_json(facts)
    else:
        print_report(report)
        if report.pruned:
            print(f"{report.pruned} faces removed, their photos are gone")
        if report.metadata:
            print_joined(report.metadata)
        fresh = [feature for feature, done in report.indices.items() if done.error is None]
        ready = f"indices up to date: {', '.join(fresh)}" if fresh else "now: ris index --all"
        held = f"{plain(shown(report.folder))} holds {report.faces} faces"
        print(f"{held}; {ready}" if report.faces else held)
    if not report.held:
        raise InputError(why_nothing(report))
