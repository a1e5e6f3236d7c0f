"""`ris sample` and `ris ingest`: faces in."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from ris.commands.ingest_report import print_joined, print_report, why_nothing
from ris.commands.options import (
    AlignedInput,
    CatalogOption,
    DeviceName,
    DeviceOption,
    GeneratorOption,
    JsonOption,
    StoreOption,
)
from ris.commands.stores import bring_up_to_date, home
from ris.commands.terminal import plain, print_json, progress_bar, shown
from ris.errors import InputError


class Format(str, Enum):
    """Picture formats."""

    jpg = "jpg"
    png = "png"


def sample(
    folder: Annotated[Path, typer.Argument(help="Folder for the faces.")],
    n: Annotated[int, typer.Option("--n", help="Number of faces.")] = 100,
    seed: Annotated[int, typer.Option(help="First seed.")] = 0,
    truncation: Annotated[float, typer.Option(help="0 (mean face) to 1 (full variety).")] = 0.7,
    size: Annotated[
        int | None,
        typer.Option(help="Pixels (default: the generator's)."),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="Picture format.")] = Format.jpg,
    generator: GeneratorOption = None,
    device: DeviceOption = DeviceName.auto,
    as_json: JsonOption = False,
) -> None:
    """Render faces and write their latents beside them, so that ingesting them is quick.

    Example: ris sample faces/ --n 200 --seed 0
    """
    from ris.data.models.shipped import load_generator
    from ris.ingest import sampling

    with progress_bar("rendering", as_json) as progress:
        rendered = sampling.sample(
            folder,
            load_generator(generator, device=device.value),
            n=n,
            seed=seed,
            truncation=truncation,
            size=size,
            suffix=f".{form.value}",
            progress=(lambda done: progress(done, n)) if progress else None,
        )
    if as_json:
        print_json({"folder": folder, "rendered": rendered, "kept": n - rendered})
    else:
        print(f"{rendered} faces rendered, {n - rendered} were there; now: ris ingest {folder}")


class FaceChoice(str, Enum):
    """Which faces of a photo become rows."""

    largest = "largest"
    all = "all"


class EngineKind(str, Enum):
    """See `ris.ingest.embedding.Engine`."""

    auto = "auto"
    native = "native"
    torch = "torch"


class InverterKind(str, Enum):
    """How a photo becomes a code, without a file."""

    encoder = "encoder"
    optimisation = "optimisation"


InverterOption = Annotated[
    str | None,
    typer.Option(
        "--inverter",
        help="From photo to code: encoder, optimisation, or a pSp or e4e checkpoint (.pt) "
        "(default: as the store's faces, else encoder).",
    ),
]


def _inverter(given: str | None) -> dict[str, Any]:
    """The settings of `Models` behind --inverter."""
    if given is None or given in InverterKind.__members__:
        return {"inverter_kind": given}
    path = Path(str(given))
    if not path.suffix:
        raise InputError(f"--inverter is encoder, optimisation or a file (.pt), not {given!r}")
    return {"inverter_file": path}


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
        AlignedInput, typer.Option(help="Photos are face crops: find out, yes or no.")
    ] = AlignedInput.auto,
    faces: Annotated[
        FaceChoice, typer.Option(help="Take the largest face of a photo, or all.")
    ] = FaceChoice.largest,
    inverter: InverterOption = None,
    refine: Annotated[
        int | None,
        typer.Option(help="Steps of optimisation: none after the encoder, 60 without, by default."),
    ] = None,
    max_resolution: Annotated[
        int, typer.Option(help="Widest activation in the scores; 0 for all.")
    ] = 64,
    engine: Annotated[
        EngineKind,
        typer.Option(help="What computes the scores: kernels compiled here, or torch alone."),
    ] = EngineKind.auto,
    raw: Annotated[bool, typer.Option("--raw", help="No instance norm in the scores.")] = False,
    prune: Annotated[bool, typer.Option(help="Remove faces whose photo is gone.")] = False,
    catalog: CatalogOption = None,
    generator: GeneratorOption = None,
    device: DeviceOption = DeviceName.auto,
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
    from ris.ingest.loaded_models import Models
    from ris.ingest.run import ingest_collection
    from ris.ingest.sources.sources import briefly

    target = home(store)
    models = Models(
        generator_file=generator,
        catalogue_path=catalog,
        max_resolution=max_resolution or None,
        instance_norm=not raw,
        **_inverter(inverter),
        refine=refine,
        engine=engine.value,
        aligned=aligned.value,
        faces=faces.value,
        device=device.value,
    )
    with progress_bar("ingesting", as_json) as progress:
        done = ingest_collection(
            photos,
            target,
            models,
            latents=latents,
            metadata=metadata,
            metadata_key=metadata_key,
            prune=prune,
            progress=progress,
        )
    report = done.report
    indices = bring_up_to_date(done.store, quiet=as_json) if index else {}
    if as_json:
        print_json(
            {
                "ingested": report.ingested,
                "photos": report.photos,
                "skipped": report.skipped,
                "failed": report.failed,
                "not_pictures": report.not_pictures,
                "left_out": dict(report.left_out),
                "files": report.files,
                "pruned": done.pruned,
                "failures": [vars(f) for f in report.failures],
                **({"metadata": vars(done.labelled)} if done.labelled else {}),
                "engine": models.embedder.engine_used,
                "seconds": round(report.seconds, 3),
                "indices": indices,
            }
        )
    else:
        print_report(report)
        if done.pruned:
            print(f"{done.pruned} faces removed, their photos are gone")
        if done.labelled:
            print_joined(done.labelled)
        fresh = [feature for feature, told in indices.items() if "error" not in told]
        ready = f"indices up to date: {', '.join(fresh)}" if fresh else "now: ris index --all"
        held = f"{plain(shown(done.store.folder))} holds {done.faces} faces"
        print(f"{held}; {ready}" if done.faces else held)
    if not report.held:
        raise InputError(why_nothing(report, briefly(photos)))
