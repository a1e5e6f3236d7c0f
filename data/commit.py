"""One commit of the store: shards come in, shards go out, all or nothing.

Order, while the store's lock is held:

1. the new shards are written under temporary names and synced,
2. ``commit.json`` says which names come in and which go out, and between which two manifests,
3. the new shards are renamed to numbers that were never used before,
4. ``faces/`` is synced,
5. the new manifest replaces the old one: the commit point,
6. the shards that went out are deleted, 7. ``faces/`` is synced, 8. ``commit.json`` is deleted.

Whoever takes the lock next `sweep`s: deletes temporary files, and those names in ``commit.json``
that the manifest does not list (those that came in, if the run died before 5, those that went out,
if it died later). Nothing else is garbage: a file in ``faces/`` that neither the manifest nor
``commit.json`` knows is not the store's to delete, and its number is not used. From 5 on the
commit stands: what cannot be cleaned up is told and tried again by the next writer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock, Timeout

from ris.data import shards, values
from ris.data.durable import (
    UnreadableError,
    check_blame,
    disk_error,
    draft,
    is_temporary,
    listed,
    make_folder,
    remove_stale,
    replacing,
    sync_folder,
)
from ris.data.manifest import Manifest, Shard, shard_name, shard_number
from ris.errors import StoreError
from ris.notices import warn

FACES = "faces"
FILE = "commit.json"
LOCK = "lock"
LOCK_TIMEOUT = 120.0  # seconds; a commit takes well under one


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a store's folder.

    Raises:
        StoreError: another process held it for too long, or the folder cannot be written to.
    """
    lock = FileLock(folder / LOCK, timeout=LOCK_TIMEOUT)
    try:
        lock.acquire()
    except Timeout as e:
        raise StoreError(
            f"another process has been writing to {folder} for over {LOCK_TIMEOUT:.0f} s: "
            "wait for it to end"
        ) from e
    except OSError as e:
        raise disk_error(e, folder / LOCK) from e
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.release()


@dataclass(frozen=True)
class CommitRecord:
    """``commit.json``: what the last commit did, as long as it is not cleaned up.

    Attributes:
        before, after: digests of the manifests that it leads from and to.
        adds: names of the shards that come in.
        drops: of those that go out.
    """

    before: str
    after: str
    adds: tuple[str, ...]
    drops: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Puts the record into a store's folder, durably."""
        with replacing(folder / FILE) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self)) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> CommitRecord | None:
        """The record in a store's folder; None if there is none, or it is damaged: what it named
        is left alone then.

        Raises:
            UnreadableError: it cannot be read now.
        """
        try:
            raw = json.loads((folder / FILE).read_text(encoding="utf-8"))
            given = values.members(raw, "it", [f.name for f in dataclasses.fields(cls)])
            adds, drops = (values.items(given[name], name) for name in ("adds", "drops"))
            for name in (*adds, *drops):
                shard_number(name)
            before, after = (values.text(given[n], n) for n in ("before", "after"))
        except (OSError, ValueError, RecursionError) as e:
            check_blame(folder / FILE, e)
            return None
        return cls(before, after, tuple(adds), tuple(drops))

    def garbage(self, manifest: Manifest) -> list[str]:
        """Names that the record knows to be no part of the store; none if the manifest is neither
        of its two."""
        if manifest.digest not in (self.before, self.after):
            return []
        listed = {shard.file for shard in manifest.shards}
        return [name for name in (*self.adds, *self.drops) if name not in listed]


def commit(
    folder: Path,
    manifest: Manifest,
    out: Sequence[Shard],
    contents: Sequence[Iterator[pa.Table]],
    garbage: Sequence[str] = (),
    **changes: Any,
) -> Manifest:
    """Publishes the manifest without the shards `out`, plus one new shard for each of `contents`
    that has rows; the lock must be held.

    Args:
        folder: the store's.
        manifest: the state that this goes out from.
        out: shards of it that go.
        contents: rows of the new ones.
        garbage: names of further files in ``faces/`` that are known to be no part of the store.
        changes: other fields of the manifest that change.

    Returns:
        the new manifest.

    Raises:
        StoreError: the disk is full or fails; the store is as it was then.
    """
    faces = folder / FACES
    try:
        make_folder(faces)
        first = number = max([manifest.next_shard, *(n + 1 for n in numbers(faces))])
        gone = {shard.file for shard in out}
        kept = [shard for shard in manifest.shards if shard.file not in gone]
        note = {"commit": first, "beside": ranges(shard.number for shard in kept)}
        with ExitStack() as drafts:
            fresh: list[tuple[Path, Shard]] = []
            for content in contents:
                path = faces / shard_name(number)
                temporary = drafts.enter_context(draft(path))
                done = shards.write(temporary, content, manifest.settings, note)
                if done.rows:
                    size = temporary.stat().st_size
                    shard = Shard(path.name, done.rows, size, done.sha256, done.keys)
                    fresh.append((temporary, shard))
                    number += 1
            after = dataclasses.replace(
                manifest,
                shards=(*kept, *(shard for _, shard in fresh)),
                next_shard=number,
                **changes,
            )
            drops = dict.fromkeys([*sorted(gone), *garbage, *_left(folder, manifest)])
            if fresh or drops:
                adds = tuple(shard.file for _, shard in fresh)
                CommitRecord(manifest.digest, after.digest, adds, tuple(drops)).write(folder)
            for temporary, shard in fresh:
                os.replace(temporary, faces / shard.file)
            if fresh:
                sync_folder(faces)
            after.write(folder)
    except OSError as e:
        raise disk_error(e, folder) from e
    sweep(folder, after)
    return after


def sweep(folder: Path, manifest: Manifest) -> None:
    """Deletes what is known to be garbage; the lock must be held. What cannot be deleted is told:
    it is no error of what was committed."""
    faces = folder / FACES
    try:
        remove_stale(folder)
        for path in listed(faces):
            if is_temporary(path.name):  # written under the lock alone, so nobody's
                path.unlink(missing_ok=True)
        record = CommitRecord.read(folder)
        if record is None or manifest.digest not in (record.before, record.after):
            return
        for name in record.garbage(manifest):
            (faces / name).unlink(missing_ok=True)
        sync_folder(faces)
        (folder / FILE).unlink(missing_ok=True)
    except (OSError, UnreadableError) as e:
        why = e.strerror if isinstance(e, OSError) else None
        warn(
            f"old files in {folder} could not be deleted ({why or e}): nothing is lost, "
            "the next command that writes to the store tries again"
        )


def numbers(faces: Path) -> list[int]:
    """Numbers of all files in a folder that are named like shards."""
    found = []
    for path in listed(faces):
        with contextlib.suppress(ValueError):
            found.append(shard_number(path.name))
    return found


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as text, ``"0-3,7"``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def strangers(folder: Path, manifest: Manifest) -> list[str]:
    """Names of files in ``faces/`` that neither the manifest nor ``commit.json`` knows."""
    record = CommitRecord.read(folder)
    known = {shard.file for shard in manifest.shards}
    known |= set(record.garbage(manifest)) if record else set()
    faces = folder / FACES
    names = [path.name for path in listed(faces)]
    return sorted(n for n in names if n not in known and not is_temporary(n))


def rows_without(
    folder: Path, old: Sequence[str], drop: Mapping[str, set[str]]
) -> Iterator[pa.Table]:
    """The rows of some shards, without those that have one of a column's values to drop."""
    dropped = {column: pa.array(sorted(v), pa.string()) for column, v in drop.items()}
    pending: list[pa.RecordBatch] = []
    for name in old:
        for batch in shards.read(folder / FACES / name):
            keep = batch
            for column, wrong in dropped.items():
                keep = keep.filter(pc.invert(pc.is_in(keep.column(column), wrong)))
            pending.append(keep)
            if sum(len(b) for b in pending) >= shards.ROW_GROUP:
                yield pa.Table.from_batches(pending)
                pending = []
    if any(len(b) for b in pending):
        yield pa.Table.from_batches(pending)


def _left(folder: Path, manifest: Manifest) -> list[str]:
    """Garbage of the commit before this that could not be deleted."""
    record = CommitRecord.read(folder)
    garbage = record.garbage(manifest) if record else []
    return [name for name in garbage if (folder / FACES / name).exists()]
