"""`ris catalog`: the clusters of activations and their classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ris.commands.options import (
    CatalogOption,
    DeviceName,
    DeviceOption,
    GeneratorOption,
    JsonOption,
    StoreOption,
)
from ris.commands.stores import home
from ris.commands.terminal import plain, print_json, progress_bar, shown
from ris.errors import InputError

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
    device: DeviceOption = DeviceName.auto,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn the clusters anew from generated faces, without labels.

    Example: ris catalog fit --clusters 128 --out my.safetensors
    """
    if out is None and generator is None:
        raise InputError("name the file to write with --out")
    from ris.ingest.catalogue_fitting import refit

    with progress_bar("fitting", as_json) as progress:
        file, catalogue = refit(
            out,
            generator_file=generator,
            store=home(store),
            clusters=clusters,
            faces=faces,
            seed=seed,
            device=device.value,
            progress=progress,
        )
    facts = {"file": file, "clusters": catalogue.clusters, "catalogue": catalogue.fingerprint}
    if as_json:
        print_json(facts)
    elif out is None:
        print(f"{facts['clusters']} clusters in {plain(shown(file))}, where ris ingest finds them")
    else:
        print(f"{facts['clusters']} clusters in {out}; use it with ris ingest --catalog {out}")


@app.command()
def show(
    out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("catalog.png"),
    catalog: CatalogOption = None,
    faces: Annotated[int, typer.Option(help="Number of generated faces.")] = 8,
    seed: Annotated[int, typer.Option(help="First seed.")] = 0,
    generator: GeneratorOption = None,
    device: DeviceOption = DeviceName.auto,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the catalogue's classes over generated faces.

    Example: ris catalog show --out catalog.png
    """
    from ris.query.catalogue_sheet import draw

    areas = draw(
        out,
        catalog,
        generator_file=generator,
        store=home(store),
        faces=faces,
        seed=seed,
        device=device.value,
    )
    if as_json:
        print_json({"file": out, "area": areas})
    else:
        print(f"{out}: share of the picture, mean over {faces} faces")
        for name, area in areas.items():
            print(f"  {name:<11} {area:.1%}")
