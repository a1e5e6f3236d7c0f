"""The `ris` command. Every command parses, calls one function of the API, and prints."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ris.errors import InputError, RisError
from ris.memory import keep_freed_memory

if TYPE_CHECKING:
    from data.store import Store
    from query.search import Match, SearchResult

app = typer.Typer(
    name="ris",
    help="Search a collection of faces by eyes, nose, mouth, hair or pose.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
catalog_app = typer.Typer(
    help="The feature catalogue: clusters of activations.", rich_markup_mode=None
)
eval_app = typer.Typer(help="The paper's measures on your own collection.", rich_markup_mode=None)
app.add_typer(catalog_app, name="catalog", no_args_is_help=True)
app.add_typer(eval_app, name="eval", no_args_is_help=True)


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


class Labels(str, Enum):
    """Where attributes come from."""

    truth = "truth"
    predicted = "predicted"


class Kind(str, Enum):
    """Index kinds."""

    auto = "auto"
    exact = "exact"
    sketch = "sketch"
    flat = "flat"
    ivf = "ivf"
    hnsw = "hnsw"
    pq = "pq"


StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="The store's folder (default: .ris here or above)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
PlotOption = Annotated[Path | None, typer.Option(help="Figure to write (.png or .svg).")]
CatalogOption = Annotated[
    Path | None, typer.Option("--catalog", help="A feature catalogue's file (default: shipped).")
]
GeneratorOption = Annotated[
    Path | None,
    typer.Option(
        "--generator",
        help="StyleGAN2 weights: .pt, .pkl or .safetensors (default: the store's, or shipped).",
    ),
]


def main() -> None:
    """Entry point: errors become one line on stderr and exit status 1 (usage errors: 2)."""
    keep_freed_memory()
    try:
        app()
    except RisError as e:
        _fail(str(e))
    except SystemExit as e:
        if e.code == 130:  # Typer's word for an interrupt
            _complain("interrupted; what was committed is kept")
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as e:
        if os.environ.get("RIS_DEBUG"):
            raise
        _fail(f"unexpected {type(e).__name__}: {e} (RIS_DEBUG=1 shows where; please report it)")


def _complain(message: str) -> None:
    print("ris: " + " ".join(message.split()), file=sys.stderr)


def _fail(message: str, status: int = 1) -> None:
    _complain(message)
    sys.exit(status)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


@contextlib.contextmanager
def _progress(label: str, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr, or None where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _open(store: Path | None) -> Store:
    from data.store import Store

    return Store.open(store)


def _open_if_there(store: Path | None) -> Store | None:
    """The store that was named, or the nearest one if there is any."""
    from data.store import Store

    return _open(store) if store is not None or Store.nearest() else None


def _build_missing(store: Store, features: Iterable[str]) -> None:
    """Indexes features that were never indexed, with the defaults, and says so."""
    from index.feature import is_indexed

    missing = [name for name in features if not is_indexed(store, name)]
    if missing:
        from index.build import build_indices

        print(f"ris: no index for {', '.join(missing)} yet, building it", file=sys.stderr)
        build_indices(store, missing)


def _words(text: str) -> list[str]:
    """``"a,b"`` -> its words."""
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str, option: str) -> list[int]:
    """``"2,5"`` -> its whole numbers."""
    try:
        return [int(word) for word in _words(text)]
    except ValueError as e:
        raise InputError(f"{option} takes whole numbers with commas, not {text!r}") from e


def _home(store: Path | None) -> Path:
    """The folder of the store that was named, of the nearest one, or of one to be made here."""
    from data.store import FOLDER, Store

    return store or Store.nearest() or Path(FOLDER)


def _shown(path: Path) -> str:
    """A path relative to the working directory where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


# -- model files ------------------------------------------------------------------------------


class ModelsAction(str, Enum):
    """What `ris models` does."""

    list = "list"
    pull = "pull"
    convert = "convert"


@app.command()
def models(
    action: Annotated[
        ModelsAction, typer.Argument(help="list, pull or convert")
    ] = ModelsAction.list,
    names: Annotated[
        list[str] | None,
        typer.Argument(help="To pull (default: all that are not optional), or convert: FROM TO."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Check files in place; fetch wrong ones.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List model files with origin and licence, pull them (also done on first need), or convert
    a StyleGAN2 checkpoint (.pt, .pkl, .safetensors) into another form (.pt, .safetensors).

    Example: ris models pull
    """
    if action is ModelsAction.convert:
        _convert(names or [], as_json)
        return
    from data.registry import cache_folder, model_file, pull, registry, state

    wanted = [model_file(n) for n in names or ()] or [
        m for m in registry().values() if not (action is ModelsAction.pull and m.optional)
    ]
    entries = []
    for model in wanted:
        if action is ModelsAction.pull:
            pull(model, force=force)
        facts = {k: getattr(model, k) for k in ("name", "purpose", "licence", "author", "source")}
        facts |= {model.origin: f"{model.package}=={model.version}", "optional": model.optional}
        entries.append(facts | {"state": state(model)})
    if as_json:
        _print_json({"folder": cache_folder(), "models": entries})
        return
    print(f"model files in {cache_folder()}")
    for e in entries:
        optional = ", optional" if e["optional"] else ""
        print(f"\n{e['name']}  [{e['state']}{optional}]\n  {e['purpose']}")
        print(f"  licence  {e['licence']}, {e['author']}\n  origin   {e['source']}")
        origin = "wheel" if "wheel" in e else "npm"
        print(f"  {origin:<8} {e[origin]}")


def _convert(names: list[str], as_json: bool) -> None:
    from data.stylegan2_files import convert

    if len(names) != 2:
        raise InputError("convert takes two files, as in `ris models convert ffhq.pkl ffhq.pt`")
    facts = convert(Path(names[0]), Path(names[1]))
    if as_json:
        _print_json(facts)
    else:
        print(f"{facts['file']}: {facts['generator']}, {facts['size']} px")


# -- faces in ---------------------------------------------------------------------------------


class Format(str, Enum):
    """Picture formats."""

    jpg = "jpg"
    png = "png"


@app.command()
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
    as_json: JsonOption = False,
) -> None:
    """Render faces and write their latents beside them, so that ingesting them is quick.

    Example: ris sample faces/ --n 200 --seed 0
    """
    from data.assets import load_generator
    from ingest import sampling

    with _progress("rendering", as_json) as progress:
        rendered = sampling.sample(
            folder,
            load_generator(generator) if generator else load_generator(),
            n=n,
            seed=seed,
            truncation=truncation,
            size=size,
            suffix=f".{form.value}",
            progress=(lambda done: progress(done, n)) if progress else None,
        )
    if as_json:
        _print_json({"folder": folder, "rendered": rendered, "kept": n - rendered})
    else:
        print(f"{rendered} faces rendered, {n - rendered} were there; now: ris ingest {folder}")


class AlignedInput(str, Enum):
    """Whether photos are face crops as in FFHQ, to be taken as they are."""

    auto = "auto"
    yes = "yes"
    no = "no"


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


@app.command()
def ingest(
    path: Annotated[str, typer.Argument(help="Folder, photo, list of paths (.txt), or pattern.")],
    store: StoreOption = None,
    latents: Annotated[
        Path | None, typer.Option(help="Codes (N,512) or (N,L,512): .parquet, .npy, .npz, .pt.")
    ] = None,
    metadata: Annotated[
        Path | None, typer.Option(help="CSV or Parquet joined by file name.")
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
    as_json: JsonOption = False,
) -> None:
    """Find the faces in photos and add them; run it again to resume or to add what is new.

    Example: ris ingest celebahq/ --metadata labels.csv
    """
    from ingest.collection import ingest_collection
    from ingest.session import Session

    target = _home(store)
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
    )
    with _progress("ingesting", as_json) as progress:
        done = ingest_collection(
            path,
            target,
            session,
            latents=latents,
            metadata=metadata,
            prune=prune,
            progress=progress,
        )
    report = done.report
    if as_json:
        _print_json(
            {
                "ingested": report.ingested,
                "skipped": report.skipped,
                "failed": report.failed,
                "pruned": done.pruned,
                "failures": [vars(f) for f in report.failures],
                "engine": session.embedder().engine_used,
                "seconds": round(report.seconds, 3),
            }
        )
    else:
        print(
            f"{report.ingested} faces ingested, {report.skipped} skipped (already there), "
            f"{report.failed} failed, in {report.seconds:.1f} s"
        )
        for reason, count in report.reasons().most_common():
            print(f"  {count} x {reason}")
        for failure in report.failures[:10]:
            print(f"  {failure.path}: {failure.reason}")
        if done.pruned:
            print(f"{done.pruned} faces removed, their photos are gone")
        if done.labelled:
            print(f"metadata for {done.labelled[0]} faces, none for {done.labelled[1]}")
        print(f"{_shown(done.store.folder)} holds {done.faces} faces; now: ris index --all")
    if report.failed and not done.faces:
        raise InputError(f"no photo in {path} gave a face")


# -- index and query --------------------------------------------------------------------------


@app.command()
def index(
    feature: Annotated[list[str] | None, typer.Option(help="Feature; may be repeated.")] = None,
    every: Annotated[bool, typer.Option("--all", help="eyes, nose, mouth, hair and pose.")] = False,
    kind: Annotated[Kind, typer.Option(help="Index kind.")] = Kind.auto,
    mask: Annotated[Mask, typer.Option(help="Soft q (Eq. 4), q > 0.8, or M > 0.4.")] = Mask.soft,
    tau: Annotated[float, typer.Option(help="Softmax temperature (Eq. 4).")] = 0.07,
    to_image: Annotated[bool, typer.Option(help="Use to-image channels too.")] = False,
    norm: Annotated[Norm, typer.Option(help="Normalisation of sigma.")] = Norm.blend,
    memory: Annotated[str, typer.Option(help="Memory that a search may hold.")] = "4GB",
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build all anew.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build per-feature indices, or add the faces that are new to them.

    Example: ris index --feature mouth --feature eyes
    """
    from index.build import DEFAULT_FEATURES, build_indices, parse_bytes
    from ris.masks import MaskOptions

    if bool(feature) == every:
        raise InputError("name features with --feature, or take --all (one of the two)")
    names = list(DEFAULT_FEATURES) if every else list(dict.fromkeys(feature or []))
    try:
        options = MaskOptions(kind=mask.value, tau=tau, to_image=to_image)
    except ValueError as e:
        raise InputError(str(e)) from e
    with _progress("indexing", as_json) as progress:
        built = build_indices(
            _open(store),
            names,
            options=options,
            norm=norm.value,
            kind=kind.value,
            memory=parse_bytes(memory),
            rebuild=rebuild,
            progress=progress,
        )
    if as_json:
        _print_json(built)
        return
    for name, meta in built.items():
        faces = meta["rows"] - meta["gone"]
        print(
            f"{name:<11} {meta['kind']:<6} {faces} faces x {meta['dims']} dimensions, "
            f"{meta['bytes'] / 2**20:.1f} MB, recall@{meta['recall']['k']} against the exact scan: "
            f"nearest {meta['recall']['nearest']:.3f}, furthest {meta['recall']['furthest']:.3f}"
        )
        if "appended" in meta["extra"]:
            added, removed = meta["extra"]["appended"], meta["extra"]["removed"]
            print(f"{'':<11} brought up to date: {added} faces added, {removed} removed")
        if without := meta["extra"]["without_feature"]:
            print(f"{'':<11} {without} faces do not show it and are left out")


@app.command()
def query(
    face: Annotated[
        list[str], typer.Argument(help="Photos, or ids of faces in the store; one or more.")
    ],
    feature: Annotated[list[str], typer.Option(help="Feature, or feature:weight; repeatable.")],
    k: Annotated[int, typer.Option("--k", help="Number of results.")] = 5,
    furthest: Annotated[bool, typer.Option("--furthest", help="Show the least alike too.")] = False,
    where: Annotated[str | None, typer.Option(help="SQL condition on the faces.")] = None,
    aligned: Annotated[
        AlignedInput, typer.Option(help="The photo is a face crop: find out, yes or no.")
    ] = AlignedInput.auto,
    out: Annotated[
        Path | None,
        typer.Option(help="Contact sheet (.png or .jpg); of several queries NAME-QUERY.png each."),
    ] = None,
    generator: GeneratorOption = None,
    inverter: Annotated[
        Path | None, typer.Option(help="The store's pSp or e4e checkpoint, if it moved.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the faces whose feature is most (and least) like that of a photo or a stored face.

    Several queries are answered in one go. One that fails is reported and leaves the others alone;
    the exit status is 1 then. --json prints an object for one query, a list of them for several.

    Example: ris query face.jpg --feature eyes --k 5 --out sheet.png
    """
    from query.search import Searcher, parse_features

    opened = _open(store)
    features = parse_features(feature)
    _build_missing(opened, features)
    reader = None
    if aligned is not AlignedInput.auto or generator or inverter:
        from ingest.session import Session

        reader = Session.of_store(opened, aligned.value, generator, inverter)
        if generator:
            _ = reader.generator  # is it the store's?
    searcher = Searcher(opened, reader)
    if len(face) == 1:
        found: list[SearchResult | RisError] = [
            searcher.search(face[0], features, k=k, where=where)
        ]
    else:
        found = searcher.search_all(face, features, k=k, where=where)
    sheets: list[Path] = []
    if out:
        from query.sheet import contact_sheet, save_picture, sheet_paths

        sheets = sheet_paths(out, face)
    values: list[dict[str, Any]] = []
    for i, (argument, result) in enumerate(zip(face, found, strict=True)):
        if isinstance(result, RisError):
            _complain(str(result))
            values.append({"query": {"id": None, "path": argument}, "error": str(result)})
            continue
        if sheets:
            save_picture(contact_sheet(result, furthest=furthest), sheets[i])
        if as_json:
            values.append(_search_json(result))
            continue
        if len(face) > 1:
            print(_shown(result.query.path))
        _print_search(result, furthest=furthest)
        if sheets:
            print(f"contact sheet: {sheets[i]}")
    if as_json:
        _print_json(values if len(face) > 1 else values[0])
    if any(isinstance(result, RisError) for result in found):
        raise typer.Exit(1)


def _search_json(found: SearchResult) -> dict[str, Any]:
    def as_dict(match: Match) -> dict[str, Any]:
        fields = {name: getattr(match, name) for name in ("rank", "id", "path", "score")}
        return fields | {"path": _shown(match.path)}

    return {
        "feature": found.label,
        "k": found.k,
        "query": {"id": found.query.id, "path": _shown(found.query.path)},
        "nearest": [as_dict(m) for m in found.nearest],
        "furthest": [as_dict(m) for m in found.furthest],
    }


def _print_search(found: SearchResult, *, furthest: bool) -> None:
    ends = [("most alike", found.nearest)]
    if furthest:
        ends.append(("least alike", found.furthest))
    for title, matches in ends:
        print(f"{title} by {found.label}")
        for m in matches:
            print(f"{m.rank:>4}  {m.score:+.4f}  {m.id}  {_shown(m.path)}")


# -- transfer ---------------------------------------------------------------------------------


class TransferRule(str, Enum):
    """Where a transfer leads: the paper's Eq. 6, or the released code's rescaled variant."""

    paper = "paper"
    rescaled = "rescaled"


class Method(str, Enum):
    """Masks of the two faces (RIS) or averaged over many (EIS)."""

    ris = "ris"
    eis = "eis"


class PasteBlend(str, Enum):
    """What goes back into the photo: the whole crop, or what the edit changed."""

    crop = "crop"
    change = "change"


@app.command()
def transfer(
    source: Annotated[str, typer.Argument(help="The face to edit: photo, face id or seed:N.")],
    reference: Annotated[
        list[str] | None, typer.Argument(help="Whose features it gets; several give a grid.")
    ] = None,
    feature: Annotated[
        list[str] | None, typer.Option(help="Feature, or feature:weight; repeatable.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="How far: 0 stays, 1 arrives.")] = 1.3,
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
        PasteBlend | None, typer.Option(help="Put the edit back into the source's photo.")
    ] = None,
    rule: Annotated[
        TransferRule, typer.Option(help="Eq. 6, or rescaled to the source's length.")
    ] = TransferRule.paper,
    method: Annotated[Method, typer.Option(help="The pair's masks, or averaged.")] = Method.ris,
    mask: Annotated[Mask, typer.Option(help="M > rho, soft q (Eq. 4), or q > 0.8.")] = Mask.score,
    tau: Annotated[float, typer.Option(help="Softmax temperature (Eq. 4).")] = 0.07,
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
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a feature of one face on another: eyes, nose, mouth, hair, pose, or several.

    Example: ris transfer me.jpg her.jpg --feature hair --alpha 1.3 --out out.png
    """
    from edit.request import Request, carry_out
    from query.search import parse_features
    from ris.eis import EisOptions
    from ris.masks import MaskOptions

    try:
        options = MaskOptions(
            kind=mask.value,
            tau=tau,
            rho=MaskOptions.rho if rho is None else rho,
        )
        eis = EisOptions(EisOptions.rho if rho is None else rho, epsilon)
    except ValueError as e:
        raise InputError(str(e)) from e
    request = Request(
        sources=[source, *(also or [])],
        references=reference or [],
        from_query=from_query,
        features=parse_features(feature or []),
        alpha=alpha,
        sweep=sweep,
        steps=steps,
        compare=compare,
        paste=paste.value if paste else None,
        rule=rule.value,
        mask=options,
        eis=eis if method is Method.eis else None,
        size=size,
        mark=not unmarked,
    )
    opened = _open_if_there(store)
    session = None
    if generator is not None:
        from ingest.session import Session

        session = (
            Session.of_store(opened, generator_file=generator)
            if opened is not None
            else Session(generator_file=generator).at(_home(store))
        )
    if opened is not None and from_query is not None:
        _build_missing(opened, request.features)
    with _progress("averaging masks", as_json) as progress:
        facts = carry_out(request, out, opened, progress, session)
    if as_json:
        _print_json({"file": out, **facts})
    else:
        print(f"{out}: {', '.join(facts['features'])} of {', '.join(facts['references'])}")


# -- catalogue --------------------------------------------------------------------------------


@catalog_app.command("fit")
def catalog_fit(
    out: Annotated[
        Path | None,
        typer.Option(help="File (.safetensors); with --generator by default beside the store."),
    ] = None,
    clusters: Annotated[int | None, typer.Option(help="Number of clusters.")] = None,
    faces: Annotated[int | None, typer.Option(help="Generated faces to fit on.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed.")] = None,
    generator: GeneratorOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn the clusters anew from generated faces, without labels.

    Example: ris catalog fit --clusters 128 --out my.safetensors
    """
    from ingest.catalogue_files import refit

    with _progress("fitting", as_json) as progress:
        file, catalogue = refit(
            out,
            generator_file=generator,
            store=_home(store),
            clusters=clusters,
            faces=faces,
            seed=seed,
            progress=progress,
        )
    facts = {"file": file, "clusters": catalogue.clusters, "catalogue": catalogue.fingerprint}
    if as_json:
        _print_json(facts)
    elif out is None:
        print(f"{facts['clusters']} clusters in {_shown(file)}, where ris ingest finds them")
    else:
        print(f"{facts['clusters']} clusters in {out}; use it with ris ingest --catalog {out}")


@catalog_app.command("show")
def catalog_show(
    out: Annotated[Path, typer.Option(help="Picture to write.")] = Path("catalog.png"),
    catalog: CatalogOption = None,
    faces: Annotated[int, typer.Option(help="Number of generated faces.")] = 8,
    seed: Annotated[int, typer.Option(help="First seed.")] = 0,
    generator: GeneratorOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the catalogue's classes over generated faces.

    Example: ris catalog show --out catalog.png
    """
    from query.catalogue_sheet import draw

    areas = draw(out, catalog, generator_file=generator, store=_home(store), faces=faces, seed=seed)
    if as_json:
        _print_json({"file": out, "area": areas})
    else:
        print(f"{out}: share of the picture, mean over {faces} faces")
        for name, area in areas.items():
            print(f"  {name:<11} {area:.1%}")


# -- the store --------------------------------------------------------------------------------


@app.command()
def info(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Say what the store holds and which indices there are.

    Example: ris info
    """
    from data.inspect import summary

    facts = summary(_open(store))
    if as_json:
        _print_json(facts)
        return
    for name, value in facts.items():
        if name == "indices":
            print("indices")
            for feature, entry in value.items():
                state = "current" if entry["current"] else "older than the store"
                size = f"{entry['bytes'] / 2**20:.1f} MB"
                print(f"  {feature:<11} {entry['kind']}, {entry['rows']} faces, {size}, {state}")
        else:
            print(f"{name:<17} {', '.join(value) if isinstance(value, list) else value}")


@app.command()
def sql(
    statement: Annotated[str, typer.Argument(help="SQL over the view faces.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask DuckDB about the faces: a view `faces` with everything but the vectors.

    Example: ris sql "select id, path from faces limit 5"
    """
    from data.views import run_sql

    columns, rows = run_sql(_open(store), statement)
    if as_json:
        _print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    print("\t".join(columns))
    for row in rows:
        print("\t".join("" if value is None else str(value) for value in row))


@app.command()
def verify(
    drop_damaged: Annotated[
        bool, typer.Option(help="Take damaged shards out, to ingest their photos again.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every shard against its hash, and that the photos are still there.

    Example: ris verify
    """
    from data.inspect import verify as check
    from ris.errors import StoreError

    found = check(_open(store), drop_damaged=drop_damaged)
    if as_json:
        _print_json(vars(found))
    else:
        print(f"{found.shards} shards, {found.faces} faces, {len(found.damaged)} shards damaged")
        for path in found.missing_photos:
            print(f"  photo gone: {path}")
    if found.damaged and not drop_damaged:
        raise StoreError(
            f"{', '.join(found.damaged)} damaged ({found.lost_faces} faces): "
            "`ris verify --drop-damaged`, then `ris ingest` brings them back"
        )


@app.command()
def remove(
    face: Annotated[list[str] | None, typer.Argument(help="Face ids.")] = None,
    where: Annotated[str | None, typer.Option(help="SQL condition instead of ids.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete faces from the store (never the photos).

    Example: ris remove 0f3a9c5d1e --store .ris
    """
    from data.views import select_ids

    opened = _open(store)
    if bool(face) == (where is not None):
        raise InputError("name face ids, or a condition with --where (one of the two)")
    ids = (
        select_ids(opened, where) if where is not None else {opened.face(f).id for f in face or []}
    )
    removed = opened.remove(ids)
    if as_json:
        _print_json({"removed": removed, "faces": opened.manifest().rows})
    else:
        print(f"{removed} faces removed; now: ris index --all")


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="File to write (.parquet).")],
    column: Annotated[
        list[str] | None, typer.Option(help="Column; repeatable (default: id, path, w, sigma).")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the vectors into one Parquet file for other tools.

    Example: ris export faces.parquet --column id --column sigma
    """
    from data.inspect import export as write

    rows = write(_open(store), target, column or ["id", "path", "w", "sigma"])
    if as_json:
        _print_json({"file": target, "rows": rows})
    else:
        print(f"{rows} faces written to {target}")


# -- evaluation -------------------------------------------------------------------------------


QueriesOption = Annotated[int, typer.Option(help="Number of query faces, 0 for all.")]
IdentityOption = Annotated[
    str | None, typer.Option(help="Metadata column with identities (default: all differ).")
]
RivalsOption = Annotated[
    bool,
    typer.Option("--rivals", help="Also rank by embeddings of the photos, and by chance."),
]
NormOption = Annotated[Norm, typer.Option(help="Normalisation of sigma.")]
SeedOption = Annotated[int, typer.Option(help="Which faces are queries.")]


@eval_app.command("trsi")
def eval_trsi(
    k: Annotated[int, typer.Option("--k", help="Size of the retrieved sets.")] = 5,
    queries: QueriesOption = 1000,
    identity: IdentityOption = None,
    rivals: RivalsOption = False,
    norm: NormOption = Norm.blend,
    seed: SeedOption = 0,
    plot: PlotOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do two features of a face find different people? TRSI-IoU: lower is better.

    Example: ris eval trsi --k 5 --identity identity --plot trsi.png
    """
    from evaluate.plots import check_plot, trsi_plot
    from evaluate.retrieval import rank_store, row_ids
    from evaluate.rivals import compared
    from evaluate.trsi import identities, trsi

    if plot:
        check_plot(plot)
    opened = _open(store)
    people = identities(opened, row_ids(opened), identity)
    with _progress("ranking", as_json) as progress:
        ways = compared(norm.value, rivals=rivals, progress=progress)
        found = rank_store(opened, ways, k=k, queries=queries, seed=seed, progress=progress)
    result = trsi(found, people)
    if plot:
        trsi_plot(result, plot)
    if as_json:
        _print_json(result.to_json())
    else:
        print(result.table())


@eval_app.command("ams")
def eval_ams(
    k: Annotated[int, typer.Option("--k", help="Results for each query.")] = 5,
    queries: QueriesOption = 500,
    rivals: RivalsOption = False,
    labels: Annotated[
        Labels, typer.Option(help="Metadata's columns, or a classifier's view of the photos.")
    ] = Labels.truth,
    norm: NormOption = Norm.blend,
    seed: SeedOption = 0,
    plot: PlotOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do faces found by a feature share its attributes? CelebA's, by --metadata or predicted.

    Example: ris eval ams --k 5 --queries 500 --rivals
    """
    from evaluate.ams import LABELS, ams
    from evaluate.attributes import read_labels
    from evaluate.plots import ams_plot, check_plot
    from evaluate.predictions import predicted_labels
    from evaluate.retrieval import rank_store, row_ids
    from evaluate.rivals import compared

    if plot:
        check_plot(plot)
    opened = _open(store)
    with _progress("reading labels", as_json) as progress:
        if labels is Labels.predicted:
            known = predicted_labels(opened, opened.manifest(), LABELS, progress=progress)
        else:
            known = read_labels(opened, row_ids(opened), LABELS)
    with _progress("ranking", as_json) as progress:
        ways = compared(norm.value, rivals=rivals, progress=progress)
        found = rank_store(opened, ways, k=k, queries=queries, seed=seed, progress=progress)
    result = ams(found, known)
    if plot:
        ams_plot(result, plot)
    if as_json:
        _print_json(result.to_json())
    else:
        print(result.table("mean"), result.table("majority"), sep="\n\n")


@eval_app.command("ablation")
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
    from evaluate.ablation import AblationResult, variants
    from evaluate.ams import LABELS, ams
    from evaluate.attributes import read_labels
    from evaluate.plots import ablation_plot, check_plot
    from evaluate.retrieval import rank_store, row_ids
    from evaluate.trsi import identities, trsi

    if plot:
        check_plot(plot)
    opened = _open(store)
    ids = row_ids(opened)
    people, labels = identities(opened, ids, identity), read_labels(opened, ids, LABELS)
    with _progress("ranking", as_json) as progress:
        found = rank_store(opened, variants, k=k, queries=queries, seed=seed, progress=progress)
    result = AblationResult(trsi(found, people), ams(found, labels))
    if plot:
        ablation_plot(result, plot)
    if as_json:
        _print_json(result.to_json())
    else:
        print(result.table())


@eval_app.command("attributes")
def eval_attributes(
    plot: PlotOption = None, store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """How often the attribute classifier is right. Needs CelebA's columns (--metadata), or some.

    Example: ris eval attributes --store celeba/.ris
    """
    from evaluate.attribute_report import evaluate_attributes
    from evaluate.plots import attributes_plot, check_plot

    if plot:
        check_plot(plot)
    with _progress("reading photos", as_json) as progress:
        report = evaluate_attributes(_open(store), progress=progress)
    if plot:
        attributes_plot(report, plot)
    if as_json:
        _print_json(report.to_json())
    else:
        print(report.table())


@eval_app.command("submembership")
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
    from evaluate import cluster_sheet, plots, submembership

    names, counts = _words(features), _numbers(clusters, "--clusters")
    opened = _open(store)
    if sheet:
        facts = cluster_sheet.make_sheet(opened, names, counts, sheet, faces=faces, seed=seed)
        _print_json(facts) if as_json else print(f"{sheet}: {facts['title']}")
        return
    if plot:
        plots.check_plot(plot)
    with _progress("clustering", as_json) as progress:
        result = submembership.evaluate_submembership(
            opened,
            features=names,
            clusters=counts,
            top=top,
            faces=faces,
            seed=seed,
            progress=progress,
        )
    _print_json(result.to_json()) if as_json else print(result.table())
    if plot:
        plots.submembership_plot(result, plot)


@eval_app.command("frechet")
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
    from evaluate import plots
    from evaluate.frechet import evaluate_frechet
    from evaluate.picture_features import InceptionPool

    if plot:
        plots.check_plot(plot)
    network = InceptionPool(weights) if weights else None
    with _progress("reading photos", as_json) as progress:
        result = evaluate_frechet(
            first, second, sizes=sizes, share=share, seed=seed, network=network, progress=progress
        )
    _print_json(result.to_json()) if as_json else print(result.table())
    if plot:
        plots.frechet_plot({f"{first} - {second}": result}, plot)


if __name__ == "__main__":
    main()
