"""`ris index` and `ris query`: faces found."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ris.choices import TAU
from ris.commands.options import (
    AlignedInput,
    DeviceName,
    DeviceOption,
    GeneratorOption,
    JsonOption,
    Mask,
    Norm,
    StoreOption,
)
from ris.commands.stores import build_missing, open_store
from ris.commands.terminal import notify, plain, print_json, progress_bar, shown
from ris.errors import InputError, RisError

if TYPE_CHECKING:
    from ris.query.searcher import Match, SearchResult


class Kind(str, Enum):
    """Index kinds."""

    auto = "auto"
    exact = "exact"
    sketch = "sketch"
    ivf = "ivf"
    hnsw = "hnsw"


def index(
    feature: Annotated[list[str] | None, typer.Option(help="Feature; may be repeated.")] = None,
    every: Annotated[bool, typer.Option("--all", help="eyes, nose, mouth, hair and pose.")] = False,
    kind: Annotated[Kind, typer.Option(help="Index kind.")] = Kind.auto,
    mask: Annotated[Mask, typer.Option(help="Soft q (Eq. 4), q > 0.8, or M > 0.4.")] = Mask.soft,
    tau: Annotated[float, typer.Option(help="Softmax temperature (Eq. 4).")] = TAU,
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
    if bool(feature) == every:
        raise InputError("name features with --feature, or take --all (one of the two)")
    opened = open_store(store)
    from ris.index.feature import check_feature

    for name in feature or []:  # before what takes seconds to load
        check_feature(opened.settings, name)
    from ris.index.build import DEFAULT_FEATURES, build_indices, parse_bytes
    from ris.method.masks import MaskOptions

    names = list(DEFAULT_FEATURES) if every else list(dict.fromkeys(feature or []))
    try:
        options = MaskOptions(kind=mask.value, tau=tau, to_image=to_image)
    except ValueError as e:
        raise InputError(str(e)) from e
    with progress_bar("indexing", as_json) as progress:
        built = build_indices(
            opened,
            names,
            options=options,
            norm=norm.value,
            kind=kind.value,
            memory=parse_bytes(memory),
            rebuild=rebuild,
            progress=progress,
        )
    if as_json:
        print_json({name: report.to_dict() for name, report in built.items()})
        return
    for name, report in built.items():
        meta, recall = report.meta, report.meta.recall
        print(
            f"{name:<11} {meta.kind:<6} {report.faces} faces x {meta.dims} dimensions, "
            f"{meta.bytes / 2**20:.1f} MB, recall@{recall.k} against the exact scan: "
            f"nearest {recall.nearest:.3f}, furthest {recall.furthest:.3f}"
        )
        if not report.built:
            changes = f"{report.appended} faces added, {report.removed} removed"
            print(f"{'':<11} brought up to date: {changes}")
        if report.without_feature:
            print(f"{'':<11} {report.without_feature} faces do not show it and are left out")


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
    device: DeviceOption = DeviceName.auto,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the faces whose feature is most (and least) like that of a photo or a stored face.

    Several queries are answered in one go. One that fails is reported and leaves the others alone;
    the exit status is 1 then. --json prints an object for one query, a list of them for several.

    Example: ris query face.jpg --feature eyes --k 5 --out sheet.png
    """
    from ris.commands.face_words import photo_or_id
    from ris.query.searcher import Searcher, parse_features

    opened = open_store(store)
    features = parse_features(feature)
    build_missing(opened, features)
    models = None
    chosen = aligned is not AlignedInput.auto or device is not DeviceName.auto
    if chosen or generator or inverter:
        from ris.ingest.loaded_models import Models

        models = Models.of_store(opened, aligned.value, generator, inverter, device.value)
        if generator:
            _ = models.generator  # is it the store's?
    searcher = Searcher(opened, models)
    queries = [photo_or_id(word) for word in face]
    found: list[SearchResult | RisError] = (
        list(searcher.search_all(queries, features, k=k, where=where))
        if len(face) > 1
        else [searcher.search(queries[0], features, k=k, where=where)]
    )
    sheets: list[Path] = []
    if out:
        from ris.query.sheet import contact_sheet, save_picture, sheet_paths

        sheets = sheet_paths(out, face)
    values: list[dict[str, Any]] = []
    for i, (argument, result) in enumerate(zip(face, found, strict=True)):
        if isinstance(result, RisError):
            notify(str(result))
            values.append({"query": {"id": None, "path": argument}, "error": str(result)})
            continue
        if sheets:
            save_picture(contact_sheet(result, furthest=furthest), sheets[i])
        if as_json:
            values.append(_search_json(result))
            continue
        if len(face) > 1:
            print(plain(shown(Path(result.query.name))))
        _print_search(result, furthest=furthest)
        if sheets:
            print(f"contact sheet: {plain(sheets[i])}")
    if as_json:
        print_json(values if len(face) > 1 else values[0])
    late = max((r.unsearched for r in found if not isinstance(r, RisError)), default=0)
    if late:
        words = " ".join(f"--feature {name}" for name in features)
        notify(f"{late} new faces are not searched yet: run `ris index {words}`")
    if any(isinstance(result, RisError) for result in found):
        raise typer.Exit(1)


def _search_json(found: SearchResult) -> dict[str, Any]:
    def as_dict(match: Match) -> dict[str, Any]:
        fields = {name: getattr(match, name) for name in ("rank", "id", "path", "score")}
        return fields | {"path": shown(match.path)}

    return {
        "feature": found.label,
        "k": found.k,
        "query": {"id": found.query.id, "path": shown(Path(found.query.name))},
        "nearest": [as_dict(m) for m in found.nearest],
        "furthest": [as_dict(m) for m in found.furthest],
        "unsearched": found.unsearched,
    }


def _print_search(found: SearchResult, *, furthest: bool) -> None:
    ends = [("most alike", found.nearest)]
    if furthest:
        ends.append(("least alike", found.furthest))
    for title, matches in ends:
        print(f"{title} by {found.label}")
        for m in matches:
            print(f"{m.rank:>4}  {m.score:+.4f}  {m.id}  {plain(shown(m.path))}")
        if not matches:
            print("  no other face")
