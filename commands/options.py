"""Options and choices that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ris.choices import Device

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="The store's folder (default: .ris here or above)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
PlotOption = Annotated[Path | None, typer.Option(help="Figure to write (.png or .svg).")]
DeviceOption = Annotated[
    Device,
    typer.Option("--device", help="Where networks run; auto: a CUDA device where there is one."),
]
CatalogueOption = Annotated[
    Path | None,
    typer.Option("--catalogue", "--catalog", help="A feature catalogue's file (default: shipped)."),
]
GeneratorOption = Annotated[
    Path | None,
    typer.Option(
        "--generator",
        help="StyleGAN2 weights: .pt, .pkl or .safetensors (default: the store's, or shipped).",
    ),
]
