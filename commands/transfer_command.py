"""`ris transfer`: a feature of one face on another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import ris
from ris.choices import ALPHA, TAU, Blend, MaskMode, Method, Rule
from ris.commands.face_words import face_named, parse_features, sweep_named
from ris.commands.options import (
    DeviceOption,
    GeneratorOption,
    JsonOption,
    StoreOption,
)
from ris.commands.terminal import print_json, progress_bar


def transfer(
    source: Annotated[str, typer.Argument(help="The face to edit: photo, face id or seed:N.")],
    reference: Annotated[
        list[str] | None, typer.Argument(help="Whose features it gets; several give a grid.")
    ] = None,
    feature: Annotated[
        list[str] | None, typer.Option(help="Feature, or feature:weight; repeatable.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="How far: 0 stays, 1 arrives.")] = ALPHA,
    sweep: Annotated[
        str | None, typer.Option(help="Range of alpha, as -1..2: a strip, or .gif/.webp.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Faces of a sweep.")] = 7,
    compare: Annotated[
        bool, typer.Option("--compare", help="Source, reference, result and what changed.")
    ] = False,
    also: Annotated[
        list[str] | None, typer.Option(help="Another source, for a grid; repeatable.")
    ] = None,
    from_query: Annotated[
        int | None, typer.Option(help="Reference: this rank of a search (-1: least alike).")
    ] = None,
    paste: Annotated[
        Blend | None, typer.Option(help="Put the edit back into the source's photo.")
    ] = None,
    rule: Annotated[
        Rule, typer.Option(help="Eq. 6, or rescaled to the source's length.")
    ] = "paper",
    method: Annotated[Method, typer.Option(help="The pair's masks, or averaged.")] = "ris",
    mask: Annotated[MaskMode, typer.Option(help="M > rho, soft q (Eq. 4), or q > 0.8.")] = "score",
    tau: Annotated[float, typer.Option(help="Softmax temperature (Eq. 4).")] = TAU,
    rho: Annotated[
        float | None, typer.Option(help="Least score M of a channel (0.4; EIS 0.2).")
    ] = None,
    epsilon: Annotated[float, typer.Option(help="EIS: budget of a layer.")] = 100.0,
    size: Annotated[
        int | None, typer.Option(help="Pixels of a face (default: 1024, in sheets 256).")
    ] = None,
    unmarked: Annotated[
        bool, typer.Option("--unmarked", help="Leave out the note that the picture is synthetic.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("transfer.png"),
    generator: GeneratorOption = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a feature of one face on another: eyes, nose, mouth, hair, pose, or several.

    Example: ris transfer me.jpg her.jpg --feature hair --alpha 1.3 --out out.png
    """
    words = [source, *(also or [])]
    faces = ris.Collection.at(store, generator=generator, device=device)
    with progress_bar("averaging masks", as_json) as progress:
        edited = faces.transfer(
            [face_named(word) for word in words],
            [face_named(word) for word in reference or []],
            parse_features(feature or []),
            from_query=from_query,
            alpha=alpha,
            sweep=None if sweep is None else sweep_named(sweep),
            steps=steps,
            compare=compare,
            paste=paste,
            rule=rule,
            method=method,
            mask=mask,
            tau=tau,
            rho=rho,
            epsilon=epsilon,
            size=size,
            out=out,
            mark=not unmarked,
            progress=progress,
        )
    facts = edited.facts
    if as_json:
        print_json({"file": out, **facts})
    else:
        print(f"{out}: {', '.join(facts['features'])} of {', '.join(facts['references'])}")
