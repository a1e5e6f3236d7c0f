"""`ris sample` and `ris ingest`: faces in."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.options import (
    AlignedInput,
    CatalogOption,
    DeviceName,
    DeviceOption,
    GeneratorOption,
    JsonOption,
    StoreOption,
)
from commands.stores import bring_up_to_date, home
from commands.terminal import plain, print_json, progress_bar, shown
from ris.errors import InputError

if TYPE_CHECKING:
    from data.metadata import Joined


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
    from data.assets import load_generator
    from ingest import sampling

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
    """See `ingest.embedding.Engine`."""

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
    """The session's options behind --inverter."""
    if given is None or given in InverterKind.__members__:
        return {"inverter_kind": given}
    path = Path(str(given))
    if not path.suffix:
        raise InputError(f"--inverter is encoder, optimisation or a file (.pt), not {given!r}")
    return {"inverter_file": path}


def ingest(
    path: Annotated[str, typer.Argument(help="Folder, photo, list of paths (.txt), or pattern.")],
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

    Example: ris ingest celebahq/ --metadata labels.csv
    """
    from ingest.collection import ingest_collection
    from ingest.session import Session

    target = home(store)
    session = Session(
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
            path,
            target,
            session,
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
                "skipped": report.skipped,
                "failed": report.failed,
                "pruned": done.pruned,
                "failures": [vars(f) for f in report.failures],
                **({"metadata": vars(done.labelled)} if done.labelled else {}),
                "engine": session.embedder().engine_used,
                "seconds": round(report.seconds, 3),
                "indices": indices,
            }
        )
    else:
        print(
            f"{report.ingested} faces ingested, {report.skipped} skipped (already there), "
            f"{report.failed} failed, in {report.seconds:.1f} s"
        )
        for reason, count in report.reasons().most_common():
            print(f"  {count} x {plain(reason)}")
        for failure in report.failures[:10]:
            print(f"  {plain(failure.path)}: {plain(failure.reason)}")
        if done.pruned:
            print(f"{done.pruned} faces removed, their photos are gone")
        if done.labelled:
            _print_joined(done.labelled)
        fresh = [feature for feature, told in indices.items() if "error" not in told]
        ready = f"indices up to date: {', '.join(fresh)}" if fresh else "now: ris index --all"
        print(f"{plain(shown(done.store.folder))} holds {done.faces} faces; {ready}")
    if report.failed and not done.faces:
        raise InputError(f"no photo in {path} gave a face")


def _print_joined(joined: Joined) -> None:
    """What of a table was joined, and what was not."""
    print(
        f"metadata for {joined.matched} faces by column {plain(joined.column)}, none for "
        f"{joined.without}{_some(joined.photos_without, joined.without)}"
    )
    if joined.unused:
        print(
            f"  {joined.unused} rows of it are about other photos"
            f"{_some(joined.names_unused, joined.unused)}"
        )


def _some(names: Sequence[str], count: int) -> str:
    shown = ", ".join(plain(name) for name in names)
    return f": {shown}{', …' if count > len(names) else ''}" if names else ""
