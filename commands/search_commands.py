"""`ris index` and `ris query`: faces found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import ris
from ris.choices import TAU, Aligned, IndexKind, MaskMode, NormMode
from ris.commands.face_words import parse_features, photo_or_id
from ris.commands.options import (
    DeviceOption,
    GeneratorOption,
    JsonOption,
    StoreOption,
)
from ris.commands.terminal import notify, plain, print_json, progress_bar
from ris.commands.wording import worded
from ris.errors import InputError, RisError
from ris.places import shown

if TYPE_CHECKING:
    from ris import SearchResult


def index(
    feature: Annotated[list[str] | None, typer.Option(help="Feature; may be repeated.")] = None,
    every: Annotated[bool, typer.Option("--all", help="eyes, nose, mouth, hair and pose.")] = False,
    kind: Annotated[IndexKind, typer.Option(help="Index kind.")] = "auto",
    mask: Annotated[MaskMode, typer.Option(help="Soft q (Eq. 4), q > 0.8, or M > 0.4.")] = "soft",
    tau: Annotated[float, typer.Option(help="Softmax temperature (Eq. 4).")] = TAU,
    to_image: Annotated[bool, typer.Option(help="Use to-image channels too.")] = False,
    norm: Annotated[NormMode, typer.Option(help="Normalisation of sigma.")] = "blend",
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
    faces = ris.open(store)
    with progress_bar("indexing", as_json) as progress:
        report = faces.index(
            None if every else feature,
            kind=kind,
            mask=mask,
            tau=tau,
            to_image=to_image,
            norm=norm,
            memory=memory,
            rebuild=rebuild,
            progress=progress,
        )
    if as_json:
        print_json(report.to_dict())
        return
    for made in report:
        print(
            f"{made.feature:<11} {made.kind:<6} {made.faces} faces x {made.dims} dimensions, "
            f"{made.bytes / 2**20:.1f} MB, recall@{made.k} against the exact scan: "
            f"nearest {made.recall['nearest']:.3f}, furthest {made.recall['furthest']:.3f}"
        )
        if made.appended is not None:
            print(
                f"{'':<11} brought up to date: {made.appended} faces added, {made.removed} removed"
            )
        if made.without_feature:
            print(f"{'':<11} {made.without_feature} faces do not show it and are left out")


def query(
    face: Annotated[
        list[str], typer.Argument(help="Photos, or ids of faces in the store; one or more.")
    ],
    feature: Annotated[list[str], typer.Option(help="Feature, or feature:weight; repeatable.")],
    k: Annotated[int, typer.Option("--k", help="Number of results.")] = 5,
    furthest: Annotated[bool, typer.Option("--furthest", help="Show the least alike too.")] = False,
    where: Annotated[str | None, typer.Option(help="SQL condition on the faces.")] = None,
    aligned: Annotated[
        Aligned, typer.Option(help="The photo is a face crop: find out, yes or no.")
    ] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="Contact sheet (.png or .jpg); of several queries NAME-QUERY.png each."),
    ] = None,
    generator: GeneratorOption = None,
    inverter: Annotated[
        Path | None, typer.Option(help="The store's pSp or e4e checkpoint, if it moved.")
    ] = None,
    device: DeviceOption = "auto",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the faces whose feature is most (and least) like that of a photo or a stored face.

    Several queries are answered in one go. One that fails is reported and leaves the others alone;
    the exit status is 1 then. --json prints an object for one query, a list of them for several.

    Example: ris query face.jpg --feature eyes --k 5 --out sheet.png
    """
    features = parse_features(feature)
    faces = ris.open(store, aligned=aligned, generator=generator, inverter=inverter, device=device)
    queries = [photo_or_id(word) for word in face]
    sheets = sheet_paths(out, face) if out else []
    found: Sequence[SearchResult | RisError]
    if len(queries) == 1:
        found = [faces.search(queries[0], features, k=k, where=where)]
    else:
        found = faces.search_all(queries, features, k=k, where=where)
    values: list[dict[str, Any]] = []
    for i, (word, result) in enumerate(zip(face, found, strict=True)):
        if isinstance(result, RisError):
            notify(result)
            values.append({"query": {"id": None, "path": word}, "error": worded(result)})
            continue
        if sheets:
            result.sheet(sheets[i], furthest=furthest)
        if as_json:
            values.append(result.to_dict())
            continue
        if len(face) > 1 and result.path is not None:
            print(plain(shown(result.path)))
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


def sheet_paths(out: Path, queries: Sequence[str]) -> list[Path]:
    """Where the contact sheet of each query goes: to `out`, or, where there are several, beside
    it under names that end with the query's: ``sheet-face.png``, ``sheet-face-2.png``."""
    if len(queries) == 1:
        return [out]
    paths: list[Path] = []
    for query in queries:
        name = f"{out.stem}-{Path(query).stem}"
        number = 2
        path = out.with_stem(name)
        while path in paths:
            path = out.with_stem(f"{name}-{number}")
            number += 1
        paths.append(path)
    return paths


def _print_search(found: SearchResult, *, furthest: bool) -> None:
    ends = [("most alike", found.nearest)]
    if furthest:
        ends.append(("least alike", found.furthest))
    for title, matches in ends:
        print(f"{title} by {found.label}")
        for m in matches:
            print(f"{m.rank:>4}  {m.similarity:+.4f}  {m.id}  {plain(shown(m.path))}")
        if not matches:
            print("  no other face")
