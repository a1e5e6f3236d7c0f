"""A lost manifest, made anew from the shards.

A shard says which settings it was made with and which shards its commit left beside it
(`ris.data.shards`), and ``commit.json`` says what a commit under way did (`ris.data.commit`): so
the shards that belong to the store are known, and with them its state, to the byte. Where a run
died in the middle of a commit, that commit is completed if all of its shards are there and whole,
and undone otherwise. What is not known: whether faces were removed since the last shard was
written.

Shards of earlier versions say nothing. Their settings are those of a newer shard, or of another
store that was made alike. Two of them that share a face stem from a commit that died: the later
one counts, and what the earlier one has beside it is kept, though it may have been removed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from ris.data import sealed, shards, values
from ris.data.commit import FACES, CommitRecord, commit, locked, numbers, rows_without
from ris.data.durable import (
    DAMAGED,
    check_blame,
    disk_error,
    file_sha256,
    free_place,
    make_folder,
    put_aside,
    replacing,
)
from ris.data.manifest import (
    FILE,
    LostManifestError,
    Manifest,
    Shard,
    StoreSettings,
    shard_name,
    shard_number,
)
from ris.data.row_keys import from_footer, sum_of
from ris.data.stats_file import FILE as STATISTICS
from ris.errors import InputError, StoreError


@dataclass
class Recovery:
    """What `recover` did.

    Attributes:
        shards, faces: numbers of what the store holds now.
        damaged: shards that do not read whole; they stay where they are, outside the store.
        replaced: shards left out since later ones took their place.
        undone: shards left out since their commit was not completed.
        doubtful: ids of faces that may have been removed before: shards of an earlier version do
            not say.
        unchecked: number of shards of an earlier version, which have no checksums.
    """

    shards: int = 0
    faces: int = 0
    damaged: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)
    unchecked: int = 0


@dataclass
class _Found:
    """A shard that reads whole."""

    shard: Shard
    ids: set[str]
    settings: StoreSettings | None
    commit: int
    beside: list[tuple[int, int]]
    columns: pa.Schema


def recover(folder: Path, like: StoreSettings | None = None) -> Recovery:
    """Writes the manifest of a store whose own is lost or damaged. No row is deleted.

    Args:
        folder: of the store.
        like: settings for shards of an earlier version, which do not say theirs.

    Raises:
        InputError: the manifest is whole, or there is nothing to make it from.
        StoreError: the shards do not say their settings, or different ones.
    """
    if not (folder / FACES).is_dir():
        raise InputError(f"{folder} has no shards to recover from")
    with locked(folder):
        _check_lost(folder)
        report = Recovery()
        whole = {f.shard.file: f for f in _read_all(folder, report)}
        record = CommitRecord.read(folder)
        highest = max([-1, *numbers(folder / FACES), *_numbers_said(folder, record)])
        garbage = _replaced(whole, record, report)
        left_out = {*report.replaced, *report.undone}
        found = [f for name, f in whole.items() if name not in left_out]
        settings = _settings(folder, found, like)
        kept, surplus = _without_doubles(found, report)
        _keep_lost(folder)
        manifest = Manifest(settings, tuple(f.shard for f in kept), highest + 1)
        contents = [rows_without(folder, [name], {"id": seen}) for name, seen in surplus]
        done = commit(folder, manifest, [], contents, garbage)
    report.shards, report.faces = len(done.shards), done.rows
    report.unchecked = sum(f.settings is None for f in kept)
    return report


def _check_lost(folder: Path) -> None:
    try:
        if not (folder / FILE).exists():
            return
        Manifest.read(folder)
    except LostManifestError:
        return
    raise InputError(
        f"{folder / FILE} is whole, there is nothing to recover (to make it anew from all shards "
        "that are there, move it away first)"
    )


def _read_all(folder: Path, report: Recovery) -> Iterator[_Found]:
    """The shards that read whole, by their numbers; one that does not is read a second time,
    since a disk or network may fail once."""
    for number in sorted(numbers(folder / FACES)):
        path = folder / FACES / shard_name(number)
        found = _read(path, number)
        if isinstance(found, str):
            found = _read(path, number)
        if isinstance(found, str):
            report.damaged.append(f"{path.name} ({found})")
        else:
            yield found


def _read(path: Path, number: int) -> _Found | str:
    """A shard, or why it does not read whole."""
    try:
        sealed.check(path)
        ids = shards.read_light(path, ["id"])["id"].to_pylist()
        with sealed.opened(path) as f:
            note, columns = sealed.note_of(f), f.schema_arrow.remove_metadata()
            keys = from_footer(f.metadata.metadata, len(ids))
        said = note.get("settings")
        settings = None if said is None else StoreSettings.from_json(said)
        first = -1 if said is None else values.whole(note.get("commit"), "commit", 0, number)
        beside = [_bounds(run) for run in filter(None, note.get("beside", "").split(","))]
        shard = Shard(
            path.name,
            len(ids),
            path.stat().st_size,
            file_sha256(path),
            "" if keys is None else sum_of(keys),
        )
    except (sealed.DamagedError, OSError, ValueError, TypeError, AttributeError) as e:
        check_blame(path, e)
        return e.reason if isinstance(e, sealed.DamagedError) else sealed.reason(e)
    return _Found(shard, set(ids), settings, first, beside, columns)


def _bounds(run: str) -> tuple[int, int]:
    first, _, last = run.partition("-")
    return int(first), int(last or first)


def _numbers_said(folder: Path, record: CommitRecord | None) -> Iterator[int]:
    """Numbers that shards once had, as far as anything says so: none is used again."""
    if record is not None:
        yield from map(shard_number, (*record.adds, *record.drops))
    try:
        with sealed.opened(folder / STATISTICS) as f:
            marks = [str(mark).partition(":")[0] for mark in sealed.note_of(f)["shards"]]
        yield from map(shard_number, marks)
    except (sealed.DamagedError, ValueError, KeyError, TypeError):
        return


def _replaced(
    whole: Mapping[str, _Found], record: CommitRecord | None, report: Recovery
) -> list[str]:
    """Notes the shards that are no part of the store, as the shards or ``commit.json`` say.

    Returns:
        names of those of them that ``commit.json`` knows to be garbage.
    """
    known: list[str] = []
    if record is not None:
        done = all(name in whole for name in record.adds)
        known = [name for name in (record.drops if done else record.adds) if name in whole]
        (report.replaced if done else report.undone).extend(known)
    left = {name: f for name, f in whole.items() if name not in known}
    last = max(left.values(), key=lambda f: f.commit, default=None)
    if last is not None:
        report.replaced += [n for n, f in left.items() if not _stayed(f.shard.number, last)]
    return known


def _stayed(number: int, last: _Found) -> bool:
    """Whether a shard belongs to the store, as the last commit's says."""
    return number >= last.commit or any(a <= number <= b for a, b in last.beside)


def _settings(folder: Path, found: Sequence[_Found], like: StoreSettings | None) -> StoreSettings:
    said = {f.shard.file: f.settings for f in found if f.settings is not None}
    chosen = list(said.values())[-1] if said else like
    if not found:
        raise InputError(f"{folder} has no whole shard to recover from")
    if chosen is None:
        raise StoreError(
            f"the shards of {folder} are of an earlier version, which did not keep in them what "
            "they were made with (generator, catalogue, classes, style layers)",
            "ingest a photo with the same options into a new store, then "
            "`ris.recover(like=that_store)`",
        )
    for f in found:
        if f.settings not in (None, chosen) or not shards.is_of(f.columns, chosen):
            raise StoreError(
                f"{f.shard.file} in {folder / FACES} was made with other settings than "
                f"{'the other shards' if said else 'the store that was named'}",
                "move it away, or name a store with `like` that was made as this one",
            )
    return chosen


def _without_doubles(
    found: Sequence[_Found], report: Recovery
) -> tuple[list[_Found], list[tuple[str, set[str]]]]:
    """The shards that share no face with a later one; and of the others, those that have further
    faces, with the ids that later ones have. Only a version that wrote no notes leaves such."""
    seen: set[str] = set()
    kept: list[_Found] = []
    surplus: list[tuple[str, set[str]]] = []
    for f in reversed(found):
        if not f.ids & seen:
            kept.append(f)
        elif f.ids <= seen:
            report.replaced.append(f.shard.file)
        else:
            surplus.append((f.shard.file, f.ids & seen))
            report.replaced.append(f.shard.file)
            report.doubtful += sorted(f.ids - seen)
        seen |= f.ids
    return kept[::-1], surplus[::-1]


def _keep_lost(folder: Path) -> None:
    """Copies a damaged manifest into ``damaged/``; it is replaced after that. What is no file is
    moved there."""
    if (folder / FILE).is_dir():
        put_aside(folder, folder / FILE)
    elif (folder / FILE).exists():
        try:
            make_folder(folder / DAMAGED)
            with replacing(free_place(folder, FILE)) as temporary:
                shutil.copyfile(folder / FILE, temporary)
        except OSError as e:
            raise disk_error(e, folder) from e
