"""A fault at the n-th operation on the file system: the process dies, a write is torn, the disk
fails, is full or turns read-only. The store is then the one before or the one after, nothing else,
and the same command run again ends as it should have."""

from __future__ import annotations

import errno
import io
import os
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_stores import SETTINGS, content, row

from ris.data import commit
from ris.data.durable import is_temporary
from ris.data.failures import Failure, read_failures, update_failures
from ris.data.metadata import join_metadata
from ris.data.recovery import recover
from ris.data.stats_file import style_statistics
from ris.data.store import Store
from ris.data.verify import verify
from ris.data.views import run_sql
from ris.errors import RisError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
EVERY = os.environ.get("RIS_EVERY_FAULT") == "1"
"""Every mode at every operation instead of one at each: ten times as long."""
MODES = ("die", "torn", "EIO", "ENOSPC", "EROFS")
CALLS = ("fsync", "replace", "unlink", "mkdir")
DIED, RAN, REFUSED, RAW = 9, 0, 3, 4


class Faults:
    """Counts the operations that change the file system, and lets the n-th one go wrong."""

    def __init__(self, mode: str, number: int) -> None:
        self.mode, self.left, self.count = mode, number, 0

    def step(self) -> None:
        self.count += 1
        self.left -= 1
        if self.left > 0 or (self.left < 0 and self.mode != "EROFS"):
            return
        if self.mode in ("die", "torn"):
            os._exit(DIED)
        code = getattr(errno, self.mode)
        raise OSError(code, os.strerror(code))

    def install(self) -> None:
        for name in CALLS:
            setattr(os, name, self._wrapped(getattr(os, name)))
        opened, faults = io.open, self

        class File(io.FileIO):
            def write(self, data):
                if faults.mode == "torn" and faults.left == 1:
                    super().write(bytes(data)[: len(data) // 2])
                faults.step()
                return super().write(data)

        def open_faulty(path, mode="r", buffering=-1, encoding=None, *rest, **named):
            if not set(mode) & set("wax"):
                return opened(path, mode, buffering, encoding, *rest, **named)
            faults.step()
            file = io.BufferedWriter(File(path, mode.replace("b", "").replace("t", "")))
            return file if "b" in mode else io.TextIOWrapper(file, encoding or "utf-8")

        io.open = open_faulty

    def _wrapped(self, call: Callable) -> Callable:
        def wrapped(*args, **named):
            self.step()
            return call(*args, **named)

        return wrapped


def in_child(work: Callable[[Path], None], folder: Path, mode: str, number: int) -> tuple[int, int]:
    """Runs `work` in a process of its own; its status, and the operations it came to."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = RAW
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            faults = Faults(mode, number)
            faults.install()
            work(folder)
            status = RAN
        except RisError as e:
            status = REFUSED if "\n" not in str(e) else RAW
        except BaseException:
            os.write(writing, traceback.format_exc()[-3000:].encode())
        finally:
            os.write(writing, b"#%d" % faults.count)
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status != RAW, said
    return status, int(said.rpartition("#")[2] or 0)


def make(folder: Path) -> None:
    Store.create(folder, SETTINGS)


def add(folder: Path) -> None:
    Store.open(folder).append([row(9, path="photos/0001.jpg"), row(8)])


def remove(folder: Path) -> None:
    Store.open(folder).remove(["face0000", "face0003"])


def remove_all(folder: Path) -> None:
    Store.open(folder).remove([f"face{i:04d}" for i in range(5)])


def merge(folder: Path) -> None:
    Store.open(folder).compact()


def report(folder: Path) -> None:
    store = Store.open(folder)
    style_statistics(store)
    update_failures(store, [Failure("x.jpg", "decode", "damaged")], [])


def label(folder: Path) -> None:
    join_metadata(Store.open(folder), folder.parent / "labels.csv")


def bring_back(folder: Path) -> None:
    if not (folder / "manifest.json").exists():
        recover(folder)


def state(folder: Path) -> object:
    if not (folder / "manifest.json").exists():
        return None
    store = Store.open(folder)
    labels = (
        run_sql(store, "from faces order by id") if (folder / "metadata.parquet").exists() else 0
    )
    return content(store), read_failures(store), labels


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / ".ris"
    store = Store.create(folder, SETTINGS)
    store.append([row(i) for i in range(3)])
    store.append([row(3), row(4)])
    update_failures(store, [Failure("a.jpg", "read", "empty")], [])
    (folder.parent / "labels.csv").write_text("file,who\n0001.jpg,Ann\n0004.jpg,Bo\n")
    return folder.parent


@pytest.mark.parametrize(
    "work",
    [make, add, remove, remove_all, merge, report, label, bring_back],
    ids=lambda w: w.__name__,
)
def test_a_fault_anywhere_leaves_the_old_or_the_new(work, prepared, tmp_path):
    def fresh(name: str) -> Path:
        copy = Path(shutil.copytree(prepared, tmp_path / name)) / ".ris"
        if work is make:
            shutil.rmtree(copy)
        if work is bring_back:
            (copy / "manifest.json").unlink()
        return copy

    before = state(fresh("before"))
    done = fresh("after")
    status, operations = in_child(work, done, "die", 10**9)
    assert status == RAN
    assert operations > 3
    after = state(done)
    assert before != after or work is merge
    ended = set()
    for mode in MODES:
        first = 1 if EVERY else 1 + MODES.index(mode)
        for number in range(first, operations + 1, 1 if EVERY else len(MODES)):
            folder = fresh(f"{mode}{number}")
            status, _ = in_child(work, folder, mode, number)
            ended.add(status)
            where = f"{mode} at operation {number}"
            found = state(folder)
            if work is report:  # two commits
                assert found[0] == before[0], where
                assert found[1] in (before[1], after[1]), where
            else:
                assert found in (before, after), where
            assert status != RAN or found == after, where
            work(folder)
            assert state(folder) == after, where
            store = Store.open(folder)
            checked = verify(store)
            assert (checked.damaged, checked.problems, checked.strangers) == ([], [], []), where
            store.append([row(20)])  # sweeps
            left = {p.name for p in (folder / "faces").iterdir()}
            assert left == {s.file for s in store.manifest().shards}, where
            assert not (folder / commit.FILE).exists(), where
            assert mode in ("die", "torn") or not [
                p for p in folder.iterdir() if is_temporary(p.name) and mode != "EROFS"
            ], where
            shutil.rmtree(folder.parent)
    assert ended >= {DIED, REFUSED}
