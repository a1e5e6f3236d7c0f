"""One searcher, many threads, and a store that another process changes meanwhile."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT

from ris.data.store import Store
from ris.face_names import FaceId
from ris.index.build import build_indices
from ris.ingest import reading
from ris.ingest.loaded_models import Models
from ris.once import once
from ris.query.searcher import Searcher, SearchResult

FEATURES: list[dict[str, float]] = [
    {"eyes": 1.0},
    {"mouth": 1.0},
    {"eyes": 2.0, "hair": 1.0},
    {"nose": -1.0},
]

CHANGES = """
import sys
from pathlib import Path
from ris.data.store import Store
from ris.index.build import build_indices, refresh_indices
from ris.ingest import pipeline
from ris.ingest.run import ingest_collection
from ris.ingest.loaded_models import Models

pipeline.COMMIT_BYTES = 1  # after every photo
store, photos, noted = Store.open(sys.argv[1]), sys.argv[2], open(sys.argv[3], "a")
ids = [i for b in store.batches(["id"]) for i in b.column("id").to_pylist()]

def remove(face):
    store.remove([face])
    print(face, file=noted, flush=True)

for face in ids[50:53]:
    remove(face)
ingest_collection(photos, store.folder, Models())
for face in ids[53:56]:
    remove(face)
refresh_indices(store)
for face in ids[56:]:
    remove(face)
build_indices(store, ["eyes", "mouth", "hair", "nose"], rebuild=True)
"""


@pytest.fixture
def store(filled, tmp_path) -> Store:
    shutil.copytree(filled.folder, tmp_path / ".ris")
    return Store.open(tmp_path / ".ris")


@pytest.fixture
def photos(generator, tmp_path) -> tuple[Path, list[Path]]:
    """A folder of 12 rendered faces with their latents, and four other photos without."""
    from ris.ingest.sampling import sample

    sample(tmp_path / "late", generator, n=12, seed=800, size=256)
    sample(tmp_path / "asked", generator, n=4, seed=900, size=256)
    (tmp_path / "asked" / "latents.parquet").unlink()
    return tmp_path / "late", sorted((tmp_path / "asked").glob("*.jpg"))


def ids_of(store: Store) -> list[str]:
    return [face for batch in store.batches(["id"]) for face in batch.column("id").to_pylist()]


def key(found: object) -> tuple[object, ...]:
    assert isinstance(found, SearchResult), found
    return found.query.sigma.tobytes(), *(
        tuple((m.id, m.score) for m in end) for end in (found.nearest, found.furthest)
    )


def test_threads_search_while_another_process_ingests_and_removes(store, photos, tmp_path):
    late, asked = photos
    ids, noted = ids_of(store), tmp_path / "removed.txt"
    noted.touch()
    searcher, done = Searcher(store), threading.Event()
    queries = [*map(FaceId, ids[:6]), *asked]
    answered = [0] * 8
    wrong: list[object] = []

    def ask(thread: int) -> None:
        while not done.is_set() or not answered[thread]:
            n = thread + answered[thread]
            gone = set(noted.read_text().split())
            try:
                found = searcher.search(queries[n % len(queries)], FEATURES[n % 4], k=20)
            except Exception as e:
                wrong.append(e)
                return
            named = {m.id for m in found.nearest + found.furthest}
            if gone & named or len(found.nearest) != 20 or found.unsearched:
                wrong.append((gone & named, len(found.nearest), found.unsearched))
            answered[thread] += 1

    words = [sys.executable, "-c", CHANGES, store.folder, late, noted]
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask, thread) for thread in range(8)]
        try:
            changed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        finally:
            done.set()
        for thread in asking:
            thread.result()
    assert changed.returncode == 0, changed.stderr
    assert not wrong, wrong[:3]
    assert min(answered) > 0
    # and the answers are those of one thread alone, by a searcher that has just come
    alone = Searcher(store)
    for n, query in enumerate(queries):
        ours = searcher.search(query, FEATURES[n % 4], k=99)
        assert len(ours.nearest) in (61, 62)  # 60 - 10 + 12, without the query
        assert key(ours) == key(alone.search(query, FEATURES[n % 4], k=99))


def test_threads_get_what_one_thread_gets(store, photos):
    _, asked = photos
    build_indices(store, ["eyes", "mouth", "hair", "nose"], kind="sketch")
    queries = [*map(FaceId, ids_of(store)[:12]), *asked]
    work = [(query, features) for query in queries for features in FEATURES]
    alone = [key(Searcher(store).search(q, f, k=9, where="yaw > -90")) for q, f in work]
    together = Searcher(store)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda w: together.search(w[0], w[1], k=9, where="yaw > -90"), work)
        assert [key(result) for result in found] == alone


def test_photos_are_read_by_no_more_threads_than_cores(store, photos, monkeypatch):
    _, asked = photos
    monkeypatch.setattr(reading, "_AT_A_TIME", threading.BoundedSemaphore(2))
    inside, most, lock = 0, 0, threading.Lock()
    original = reading.FaceReader._largest

    def counted(*arguments):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        try:
            return original(*arguments)
        finally:
            with lock:
                inside -= 1

    monkeypatch.setattr(reading.FaceReader, "_largest", counted)
    searcher = Searcher(store)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda p: searcher.search(p, {"eyes": 1.0}), asked * 2))
    assert len(found) == 8 and most == 2


def test_models_are_loaded_once_for_all_threads(store, monkeypatch):
    from ris.ingest import loaded_models

    loads = []
    original = loaded_models.load_generator
    monkeypatch.setattr(
        loaded_models, "load_generator", lambda n, **more: loads.append(n) or original(n, **more)
    )
    models = Models.of_store(store)
    start = threading.Barrier(8)

    def load(_: int) -> tuple[object, object]:
        start.wait()
        return models.generator, models.inverter

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(load, range(8)))
    assert len(loads) == 1
    assert len({id(generator) for generator, _ in found}) == 1
    assert len({id(inverter) for _, inverter in found}) == 1


def test_torch_divides_again_when_the_last_thread_has_left():
    import torch

    from ris.ingest.threads import one_thread

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        first, second = threading.Event(), threading.Event()

        def longer() -> list[int]:
            counts = []
            with one_thread():
                first.set()
                second.wait(10)
                counts.append(torch.get_num_threads())
            return [*counts, torch.get_num_threads()]

        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(longer)
            first.wait(10)
            with one_thread():
                assert torch.get_num_threads() == 1
            second.set()
            assert other.result()[0] == 1
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_value_is_made_once_and_may_be_set():
    class Thing:
        made = 0

        @once
        def value(self) -> int:
            """What is made."""
            self.made += 1
            return self.made

    thing = Thing()
    assert (thing.value, thing.value, thing.made) == (1, 1, 1)
    other = Thing()
    other.value = 7
    assert (other.value, other.made) == (7, 0)
    assert isinstance(Thing.value, once)
