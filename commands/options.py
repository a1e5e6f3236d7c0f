"""Options and choices that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Mask(str, Enum):
    """How channels are selected: the paper's soft q, q > 0.8, or M > rho."""

    soft = "soft"
    hard = "hard"
    score = "score"


class Norm(str, Enum):
    """How sigma is normalised over the collection."""

    blend = "blend"
    layer = "layer"
    channel = "channel"
    none = "none"


class AlignedInput(str, Enum):
    """Whether photos are face crops as in FFHQ, to be taken as they are."""

    auto = "auto"
    yes = "yes"
    no = "no"


class DeviceName(str, Enum):
    """Where networks run, see `ris.choices.Device`."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="The store's folder (default: .ris here or above)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
PlotOption = Annotated[Path | None, typer.Option(help="Figure to write (.png or .svg).")]
DeviceOption = Annotated[
    DeviceName,
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
