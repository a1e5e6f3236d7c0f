"""What is in a store, and out of it: info, sql, verify, remove, export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

import ris
from ris.commands.options import JsonOption, StoreOption
from ris.commands.terminal import plain, print_json
from ris.commands.wording import worded
from ris.errors import InputError, StoreError


def info(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Say what the store holds and which indices there are.

    Example: ris info
    """
    facts = ris.open(store).info().to_dict()
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if name == "indices":
            print("indices")
            for feature, entry in value.items():
                state = "current" if entry["current"] else "older than the store"
                size = f"{entry['bytes'] / 2**20:.1f} MB"
                print(f"  {feature:<11} {entry['kind']}, {entry['rows']} faces, {size}, {state}")
        else:
            print(f"{name:<17} {plain(', '.join(value) if isinstance(value, list) else value)}")


def sql(
    statement: Annotated[str, typer.Argument(help="SQL over the view faces.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask DuckDB about the faces: a view `faces` with everything but the vectors.

    Line ends, tabs and other control characters in values are printed as in Python; --json has
    values as they are, blobs as hexadecimal digits, and a second column of one name as name_1.

    Example: ris sql "select id, path from faces limit 5"
    """
    rows = ris.open(store).sql(statement)
    if as_json:
        print_json(rows)
        return
    print("\t".join(map(plain, rows.columns)))
    for row in rows:
        print("\t".join("" if value is None else plain(value) for value in row.values()))


def verify(
    drop_damaged: Annotated[
        bool,
        typer.Option(help="Take damaged files out, to ingest the photos of their faces again."),
    ] = False,
    recover: Annotated[
        bool, typer.Option(help="Make a manifest that is lost or damaged anew from the shards.")
    ] = False,
    like: Annotated[
        Path | None,
        typer.Option(help="With --recover: a store made alike, where the shards do not say how."),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read all bytes of the store and of its indices against their checksums, and look whether the
    photos are still there.

    Example: ris verify
    """
    if recover and drop_damaged:
        raise InputError("--recover and --drop-damaged are two steps: recover first")
    if like is not None and not recover:
        raise InputError("--like goes with --recover")
    if recover:
        _print_recovery(ris.recover(store, like=like), as_json)
        return
    found = ris.open(store).verify(drop_damaged=drop_damaged)
    problems, indices = map(worded, found.problems), map(worded, found.indices)
    found = replace(found, problems=list(problems), indices=list(indices))
    if as_json:
        print_json(found.to_dict())
    else:
        print(f"{found.shards} shards, {found.faces} faces, {len(found.damaged)} shards damaged")
        if found.unchecked:
            print(
                f"  {found.unchecked} shards of an earlier version, without checksums of their own"
            )
        for problem in (*found.problems, *found.indices):
            print(f"  {problem}")
        for name in found.strangers:
            print(f"  faces/{name} is no part of the store: nothing reads or deletes it")
        for path in found.missing_photos:
            print(f"  photo gone: {plain(path)}")
    if found.damaged and not drop_damaged:
        raise StoreError(
            f"{', '.join(found.damaged)} damaged ({found.lost_faces} faces): "
            "`ris verify --drop-damaged`, then `ris ingest` brings them back"
        )
    left = [*([] if drop_damaged else found.problems), *found.indices]
    if left:
        raise StoreError(f"{len(left)} damaged beside the faces: {left[0]}")


def _print_recovery(done: ris.Recovery, as_json: bool) -> None:
    if as_json:
        print_json(done.to_dict())
        return
    print(f"manifest.json is there again: {done.shards} shards, {done.faces} faces")
    for name in done.damaged:
        print(f"  left out, since it is damaged: {name}")
    for name in done.replaced:
        print(f"  left out, since a later shard took its place: {name}")
    for name in done.undone:
        print(f"  left out, since its commit was not completed: {name}")
    if done.doubtful:
        print(f"  kept, though they may have been removed before: {', '.join(done.doubtful)}")
    if done.unchecked:
        print(f"  {done.unchecked} shards of an earlier version, which has no checksums")
    print(
        "now: ris verify; and where generator or encoder do not ship with ris, name their files "
        "once more (--generator, --inverter)"
    )


def remove(
    face: Annotated[list[str] | None, typer.Argument(help="Face ids.")] = None,
    where: Annotated[str | None, typer.Option(help="SQL condition instead of ids.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete faces from the store (never the photos).

    Example: ris remove 0f3a9c5d1e --store .ris
    """
    faces = ris.open(store)
    removed = faces.remove(face, where=where)
    if as_json:
        print_json({"removed": removed, "faces": len(faces)})
    else:
        print(f"{removed} faces removed, {len(faces)} are left")


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
    faces = ris.open(store)
    rows = faces.export(target, column) if column else faces.export(target)
    if as_json:
        print_json({"file": target, "rows": rows})
    else:
        print(f"{rows} faces written to {target}")
