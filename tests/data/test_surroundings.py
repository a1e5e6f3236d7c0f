"""A lack of memory, of file descriptors or of permission is no damage: what cannot be read now is
neither put aside nor dropped, and reads as before when there is enough again."""

from __future__ import annotations

import contextlib
import os
import pickle
import resource
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from test_verify import full_store
from toy_stores import content

from ris.data.failures import read_failures, update_failures
from ris.data.manifest import FILE
from ris.data.metadata import join_metadata
from ris.data.recovery import recover
from ris.data.stats_file import style_statistics
from ris.data.store import Store
from ris.data.verify import verify
from ris.data.views import run_sql
from ris.errors import RisError, StoreError
from ris.memory import keep_freed_memory

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return full_store(tmp_path)


def everything(store: Store) -> object:
    """All that a store says."""
    labels = run_sql(store, "select id, who from faces order by id")
    return content(store), labels, read_failures(store), (store.folder / FILE).read_bytes()


def child(limit: Callable[[], None], act: Callable[[], object]) -> tuple[str, str]:
    """What a process ends in that has little: ``done``, ``refused`` or ``raw``, and the words."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        end = "raw", "died"
        try:
            limit()
            act()
            end = "done", ""
        except RisError as e:
            end = "refused", str(e)
        except MemoryError:
            end = "refused", "not enough memory"
        except BaseException:
            end = "raw", traceback.format_exc()
        os.write(into, pickle.dumps(end)[:4000])
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return pickle.loads(said) if said else ("raw", "it crashed")


def descriptors(free: int) -> Callable[[], None]:
    def limit() -> None:
        most = max(int(name) for name in os.listdir("/proc/self/fd")) + free
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        taken = []
        with contextlib.suppress(OSError):
            while True:  # no gaps below the limit
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for number in taken[len(taken) - free :]:
            os.close(number)

    return limit


def memory(free: int) -> Callable[[], None]:
    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + free
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    return limit


LIMITS = [descriptors(n) for n in range(1, 9)] + [memory(n << 12) for n in (0, 9, 99, 999, 5000)]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("act", ["failures", "drop", "metadata", "statistics", "compact", "sql"])
def test_what_cannot_be_read_for_a_lack_is_kept(store, tmp_path, act):
    before = everything(store)
    acts = {
        "failures": lambda: update_failures(store, [], ["b.jpg"]),
        "drop": lambda: verify(Store(store.folder), drop_damaged=True),
        "metadata": lambda: join_metadata(store, tmp_path / "labels.csv"),
        "statistics": lambda: style_statistics(Store(store.folder)),
        "compact": lambda: Store(store.folder).remove(["nobody"]),
        "sql": lambda: run_sql(store, "select * from failures"),
    }
    ends = [child(limit, acts[act]) for limit in LIMITS]
    assert [words for end, words in ends if end == "raw"] == []
    assert "refused" in {end for end, _ in ends}
    assert not (store.folder / "damaged").exists()
    assert everything(store) == before


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_manifest_is_not_made_from_the_few_shards_that_could_be_read(store, tmp_path):
    before = everything(store)
    for limit in LIMITS:
        folder = tmp_path / "lost"
        shutil.copytree(store.folder, folder)
        (folder / FILE).unlink()
        end, words = child(limit, lambda at=folder: recover(at))
        assert end != "raw", words
        if end == "refused":
            assert recover(folder).faces == 3
        assert everything(Store(folder)) == before
        shutil.rmtree(folder)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("megabytes", [20, 60, 100])
def test_sql_with_too_little_memory_is_refused_before_it_crashes(store, megabytes):
    before = everything(store)

    def limit() -> None:
        keep_freed_memory()  # as programs do
        memory(megabytes << 20)()

    end, words = child(limit, lambda: run_sql(store, "select count(*) from faces"))
    assert (end, words) == ("refused", "not enough memory")
    assert everything(store) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_files_that_this_user_may_not_read_are_not_called_damaged(store, tmp_path):
    before = everything(store)
    for path in (tmp_path, *tmp_path.parents[:2], store.folder, store.folder / "faces"):
        os.chmod(path, 0o777)
    for name in ("faces/part-00000.parquet", "failures.parquet", "metadata.parquet"):
        os.chmod(store.folder / name, 0)
        for act in (
            lambda: verify(store, drop_damaged=True),
            lambda: run_sql(store, "select * from faces, failures"),
        ):
            end, words = child(lambda: os.setuid(65534), act)
            assert end == "refused" and "cannot be read now (its permissions forbid it)" in words
        os.chmod(store.folder / name, 0o644)
    assert everything(store) == before


def test_a_folder_in_the_place_of_the_manifest_is_a_lost_manifest(store):
    before = everything(store)
    kept = (store.folder / FILE).rename(store.folder / "kept")
    (store.folder / FILE).mkdir()
    (store.folder / FILE / "mine").write_text("x")
    with pytest.raises(StoreError, match="`ris.recover` makes it anew"):
        Store.open(store.folder)
    recover(store.folder)
    kept.unlink()
    assert everything(Store(store.folder)) == before
    assert (store.folder / "damaged" / FILE / "mine").read_text() == "x"
