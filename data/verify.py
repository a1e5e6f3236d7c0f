"""Is everything in a store as it was written? Reads all bytes, where opening reads next to none."""

from __future__ import annotations

import os.path
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from ris.data import commit, metadata_file, sealed, shards
from ris.data import failures as failures_file
from ris.data import stats_file as statistics_file
from ris.data.durable import check_blame, file_sha256, put_aside
from ris.data.manifest import Manifest, Shard
from ris.data.store import Store

BESIDE = {
    statistics_file.FILE: "it is computed again when it is needed",
    failures_file.FILE: failures_file.REMEDY,
    metadata_file.METADATA: metadata_file.REMEDY,
}
"""The files beside the shards, and what becomes of each where it is damaged."""


@dataclass
class Verification:
    """What `verify` found.

    Attributes:
        shards, faces: numbers of what was looked at.
        damaged: shards that are gone or not as they were written; their rows are lost.
        lost_faces: number of those rows.
        problems: of the files beside the shards, one line each.
        strangers: files among the shards that the store does not know; nothing reads or deletes
            them.
        unchecked: shards of an earlier version, damage of which only this check sees.
        missing_photos: photos that are gone; their rows are not.
    """

    shards: int = 0
    faces: int = 0
    damaged: list[str] = field(default_factory=list)
    lost_faces: int = 0
    problems: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    unchecked: int = 0
    missing_photos: list[str] = field(default_factory=list)


@dataclass
class _Checked:
    shard: Shard
    reason: str | None = None
    sealed: bool = True
    missing: list[str] = field(default_factory=list)


def verify(store: Store, *, drop_damaged: bool = False) -> Verification:
    """Reads every shard against its sha256, and the statistics, failures and metadata; looks
    whether the photos are still there.

    Another process may add, merge and remove meanwhile: a shard that is gone counts as damaged
    only if it still belongs to the store.

    Args:
        store: the store.
        drop_damaged: take damaged files out of the store, into its folder ``damaged``, so that
            the next ingest brings the photos of damaged shards in again.

    Raises:
        UnreadableError: a file cannot be read now, so nobody knows whether it is damaged.
    """
    checked: dict[str, _Checked] = {}
    manifest = store.manifest()
    waiting = deque(manifest.shards)
    while waiting:
        shard = waiting.popleft()
        if shard.file in checked:
            continue
        found = checked[shard.file] = _check(store, shard)
        if found.reason is not None:
            manifest = store.manifest()
            if shard not in manifest.shards:  # merged or replaced meanwhile
                waiting.extend(manifest.shards)
    results = [c for c in checked.values() if c.shard in manifest.shards]
    damaged = [c for c in results if c.reason is not None]
    report = Verification(
        shards=len(results),
        faces=sum(c.shard.rows for c in results),
        damaged=[c.shard.file for c in damaged],
        lost_faces=sum(c.shard.rows for c in damaged),
        strangers=_strangers(store, manifest),
        unchecked=sum(not c.sealed for c in results),
        missing_photos=[photo for c in results for photo in c.missing],
    )
    beside = _beside(store.folder)
    report.problems = [
        f"{e.path.name} is damaged ({e.reason}): {BESIDE[e.path.name]}" for e in beside
    ]
    if drop_damaged:
        _drop(store, report.damaged, [e.path for e in beside])
    return report


def _check(store: Store, shard: Shard) -> _Checked:
    """What there is to say of a shard; of one that seems damaged, after a second look, since a
    disk or network may fail once."""
    found = _look(store, shard)
    return found if found.reason is None else _look(store, shard)


def _look(store: Store, shard: Shard) -> _Checked:
    path = store.folder / commit.FACES / shard.file
    found = _Checked(shard)
    try:
        if file_sha256(path) != shard.sha256:
            found.reason = "it is not what was written"
            return found
        with sealed.opened(path) as f:
            found.sealed = sealed.is_sealed(f)
        photos = [p for batch in shards.read(path, ["path"]) for p in batch.column(0).to_pylist()]
        found.missing = [p for p in photos if not os.path.isfile(store.resolve(p))]
        if len(photos) != shard.rows:
            found.reason = f"it has {len(photos)} rows instead of {shard.rows}"
    except (OSError, sealed.DamagedError) as e:
        check_blame(path, e)
        found.reason = sealed.reason(e)
    return found


def _beside(folder: Path) -> list[sealed.DamagedError]:
    """The errors of the files beside the shards."""
    found = []
    for name in BESIDE:
        if (folder / name).exists():
            try:
                sealed.check_twice(folder / name)
            except sealed.DamagedError as e:
                found.append(e)
    return found


def _strangers(store: Store, manifest: Manifest) -> list[str]:
    names = commit.strangers(store.folder, manifest)
    if names and store.manifest() != manifest:  # a commit may be under way, or just through
        names = commit.strangers(store.folder, store.manifest())
    return names


def _drop(store: Store, damaged: list[str], beside: list[Path]) -> None:
    with store.locked() as manifest:
        out = [shard for shard in manifest.shards if shard.file in damaged]
        for shard in out:
            path = store.folder / commit.FACES / shard.file
            if path.exists():
                put_aside(store.folder, path)
        if out:
            commit.commit(store.folder, manifest, out, [])
        for path in beside:
            if path.exists():
                put_aside(store.folder, path)
