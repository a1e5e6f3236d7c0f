"""`ris catalogue`: the clusters of activations and their classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ris
from ris.commands.options import (
    CatalogueOption,
    DeviceOption,
    GeneratorOption,
    JsonOption,
    StoreOption,
)
from ris.commands.terminal import plain, print_json, progress_bar
from ris.places import shown

app = typer.Typer(
    help="The feature catalogue: clusters of activations.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def fit(
    out: Annotated[
        Path | None,
        typer.Option(help="File (.safetensors); with --generator by default beside the store."),
    ] = None,
    clusters: Annotated[int | None, typer.Option(help="Number of clusters.")] = None,
    faces: Annotated[int | None, typer.Option(help="Generated faces to fit on.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed.")] = None,
    generator: GeneratorOption = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn the clusters anew from generated faces, without labels.

    Example: ris catalogue fit --clusters 128 --out my.safetensors
    """
    with progress_bar("fitting", as_json) as progress:
        fitted = ris.fit_catalogue(
            out,
            clusters=clusters,
            faces=faces,
            seed=seed,
            generator=generator,
            folder=store,
            device=device,
            progress=progress,
        )
    if as_json:
        print_json(fitted.to_dict())
    elif out is None:
        print(f"{len(fitted)} clusters in {plain(shown(fitted.file))}, where ris ingest finds them")
    else:
        print(f"{len(fitted)} clusters in {out}; use it with ris ingest --catalogue {out}")


@app.command()
def show(
    out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("catalog.png"),
    catalogue: CatalogueOption = None,
    faces: Annotated[int, typer.Option(help="Number of generated faces.")] = 8,
    seed: Annotated[int, typer.Option(help="First seed.")] = 0,
    generator: GeneratorOption = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the catalogue's classes over generated faces.

    Example: ris catalogue show --out catalog.png
    """
    drawn = ris.draw_catalogue(
        out,
        catalogue,
        faces=faces,
        seed=seed,
        generator=generator,
        folder=store,
        device=device,
    )
    if as_json:
        print_json(drawn.to_dict())
    else:
        print(f"{out}: share of the picture, mean over {faces} faces")
        for name, area in drawn.area.items():
            print(f"  {name:<11} {area:.1%}")
