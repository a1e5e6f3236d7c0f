"""`ris eval`: the paper's measures on one's own collection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

import ris
from ris.choices import LabelSource, NormMode
from ris.commands.options import JsonOption, PlotOption, StoreOption
from ris.commands.terminal import print_json, progress_bar
from ris.errors import InputError

app = typer.Typer(
    help="The paper's measures on your own collection.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


QueriesOption = Annotated[int, typer.Option(help="Number of query faces, 0 for all.")]
IdentityOption = Annotated[
    str | None, typer.Option(help="Metadata column with identities (default: all differ).")
]
RivalsOption = Annotated[
    bool,
    typer.Option("--rivals", help="Also rank by embeddings of the photos, and by chance."),
]
NormOption = Annotated[NormMode, typer.Option(help="Normalisation of sigma.")]
SeedOption = Annotated[int, typer.Option(help="Which faces are queries.")]


@app.command("trsi")
def eval_trsi(
    k: Annotated[int, typer.Option("--k", help="Size of the retrieved sets.")] = 5,
    queries: QueriesOption = 1000,
    identity: IdentityOption = None,
    rivals: RivalsOption = False,
    norm: NormOption = "blend",
    seed: SeedOption = 0,
    plot: PlotOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do two features of a face find different people? TRSI-IoU: lower is better.

    Example: ris eval trsi --k 5 --identity identity --plot trsi.png
    """
    faces = ris.open(store)
    with progress_bar("ranking", as_json) as progress:
        result = faces.evaluation.trsi(
            k=k,
            queries=queries,
            identity=identity,
            rivals=rivals,
            norm=norm,
            seed=seed,
            plot=plot,
            progress=progress,
        )
    _print_result(result, as_json)


@app.command("ams")
def eval_ams(
    k: Annotated[int, typer.Option("--k", help="Results for each query.")] = 5,
    queries: QueriesOption = 500,
    rivals: RivalsOption = False,
    labels: Annotated[
        LabelSource, typer.Option(help="Metadata's columns, or a classifier's view of the photos.")
    ] = "truth",
    norm: NormOption = "blend",
    seed: SeedOption = 0,
    plot: PlotOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do faces found by a feature share its attributes? CelebA's, by --metadata or predicted.

    Example: ris eval ams --k 5 --queries 500 --rivals
    """
    faces = ris.open(store)
    with progress_bar("reading labels", as_json) as progress:
        result = faces.evaluation.ams(
            k=k,
            queries=queries,
            rivals=rivals,
            labels=labels,
            norm=norm,
            seed=seed,
            plot=plot,
            progress=progress,
        )
    if as_json:
        print_json(result.to_dict())
    else:
        print(result.table("mean"), result.table("majority"), sep="\n\n")


@app.command("ablation")
def eval_ablation(
    k: Annotated[int, typer.Option("--k", help="Results for each query.")] = 5,
    queries: QueriesOption = 500,
    identity: IdentityOption = None,
    seed: SeedOption = 0,
    plot: PlotOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """What masks, temperature, normalisation and channels change, by TRSI-IoU and AMS.

    Example: ris eval ablation --identity identity
    """
    faces = ris.open(store)
    with progress_bar("ranking", as_json) as progress:
        result = faces.evaluation.ablation(
            k=k, queries=queries, identity=identity, seed=seed, plot=plot, progress=progress
        )
    _print_result(result, as_json)


@app.command("attributes")
def eval_attributes(
    plot: PlotOption = None, store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """How often the attribute classifier is right. Needs CelebA's columns (--metadata), or some.

    Example: ris eval attributes --store celeba/.ris
    """
    faces = ris.open(store)
    with progress_bar("reading photos", as_json) as progress:
        report = faces.evaluation.attributes(plot=plot, progress=progress)
    _print_result(report, as_json)


@app.command("submembership")
def eval_submembership(
    features: Annotated[str, typer.Option(help="Which, with commas.")] = "eyes,nose,mouth,hair",
    clusters: Annotated[str, typer.Option(help="Numbers of clusters.")] = "2,5,10,20,50,100",
    top: Annotated[int, typer.Option(help="Channels taken of each cluster.")] = 100,
    faces: Annotated[int, typer.Option(help="Faces read at most, 0 for all.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the draw and of k-means.")] = 0,
    plot: PlotOption = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Instead, a picture of the faces of one feature's clusters.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Cluster faces by their scores of a feature: how many top channels do clusters share?

    Example: ris eval submembership --features hair,mouth --plot ratios.svg
    """
    names, counts = _words(features), _numbers(clusters, "--clusters")
    measures = ris.open(store).evaluation
    if sheet:
        facts = measures.cluster_sheet(sheet, names, counts, faces=faces, seed=seed)
        print_json(facts) if as_json else print(f"{sheet}: {facts['title']}")
        return
    with progress_bar("clustering", as_json) as progress:
        result = measures.submembership(
            names, counts, top=top, faces=faces, seed=seed, plot=plot, progress=progress
        )
    _print_result(result, as_json)


@app.command("frechet")
def eval_frechet(
    first: Annotated[str, typer.Argument(help="Photos, a store's folder, or features (.npz).")],
    second: Annotated[str, typer.Argument(help="What to compare them with, likewise.")],
    weights: Annotated[
        Path | None,
        typer.Option(help="Inception-v3's, to compare in its features: .pth, .pt, .safetensors."),
    ] = None,
    sizes: Annotated[int, typer.Option(help="Numbers of pictures to compare at.")] = 10,
    share: Annotated[float, typer.Option(help="The smallest, as a share of the sets.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Which pictures are in the smaller parts.")] = 0,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fréchet distance of two sets of pictures in a network's features, without the bias of size.

    By default the network is EfficientNet-Lite0; --weights takes Inception's, FID's among them.

    Example: ris eval frechet edited/ photos/ --plot frechet.svg
    """
    with progress_bar("reading photos", as_json) as progress:
        result = ris.frechet(
            first,
            second,
            weights=weights,
            sizes=sizes,
            share=share,
            seed=seed,
            plot=plot,
            progress=progress,
        )
    _print_result(result, as_json)


class _Result(Protocol):
    def to_dict(self) -> dict[str, Any]: ...
    def table(self) -> str: ...


def _print_result(result: _Result, as_json: bool) -> None:
    if as_json:
        print_json(result.to_dict())
    else:
        print(result.table())


def _words(text: str) -> list[str]:
    """``"a,b"`` -> its words."""
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str, option: str) -> list[int]:
    """``"2,5"`` -> its whole numbers."""
    try:
        return [int(word) for word in _words(text)]
    except ValueError as e:
        raise InputError(f"{option} takes whole numbers with commas, not {text!r}") from e
