"""Indices that are changed in place, and kept in step with a store."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
from conftest import ROOT

from ris.data.store import Store
from ris.errors import StoreError
from ris.index import KINDS, directory
from ris.index import build as building
from ris.index.build import build_indices, refresh_indices
from ris.index.directory import open_index
from ris.index.feature import FeatureIndex
from ris.index.live import LiveIndices
from ris.index.meta import META, SEAL, read_meta, seal
from ris.index.writing import IndexAppender, IndexWriter
from ris.method.masks import MaskOptions

DIMS = 60


def random_rows(n, seed=0, hard=False):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, DIMS)).astype(np.float32)
    if hard:
        rows[:, 8:] *= rng.random((n, DIMS - 8)) < 0.1
    return rows


def names(n, prefix="face"):
    return [f"{prefix}-{i}" for i in range(n)]


def write(folder, rows, kind):
    with IndexWriter(folder, DIMS) as writer:
        writer.append(rows, names(len(rows)))
        writer.finish(kind, {}, attached={"seen": np.array(["a"])})


def ranking(index, query, k=12, **filters):
    """Ids and scores at both ends."""
    ends = index.index.search(query, k, **filters)
    return [
        [(index.ids[r].decode(), s) for r, s in zip(h.rows[0], h.scores[0], strict=True) if r >= 0]
        for h in ends
    ]


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_index_ranks_as_one_built_anew(tmp_path, kind, hard):
    first, more = random_rows(1500, hard=hard), random_rows(80, 1, hard)
    write(tmp_path / "eyes", first, kind)
    opened_before = open_index(tmp_path / "eyes")
    before = ranking(opened_before, first[:1])
    gone = np.array([0, 3, 700, 1499])
    for part in (slice(0, 50), slice(50, 80)):  # two changes, one after the other
        with IndexAppender(tmp_path / "eyes") as appender:
            appender.drop(gone[:2] if part.start == 0 else gone)
            assert appender.attached["seen"].tolist() == [f"{'a' if part.start == 0 else 0}"]
            ids = names(80, "new-and-longer")[part]
            appender.append(more[part][:9], ids[:9])
            appender.append(more[part][9:], ids[9:])
            report = appender.finish({"n": part.start}, {"seen": np.array([str(part.start)])})
    changed = open_index(tmp_path / "eyes")
    assert (changed.meta.rows, changed.meta.gone, changed.meta.built_rows) == (1580, 4, 1500)
    assert json.loads(report.to_json()) == json.loads((tmp_path / "eyes" / META).read_text())
    assert report.extra == {"n": 50} and report.kind == kind
    left = np.setdiff1d(np.arange(1500), gone)
    with IndexWriter(tmp_path / "anew", DIMS) as writer:
        writer.append(first[left], [f"face-{i}" for i in left])
        writer.append(more, names(80, "new-and-longer"))
        writer.finish("exact", {})
    anew = open_index(tmp_path / "anew")
    same = []
    for query in (first[0], first[5], more[7], more[60], -more[60]):
        found, true = ranking(changed, query[None]), ranking(anew, query[None])
        for ours, theirs in zip(found, true, strict=True):
            assert not {f"face-{i}" for i in gone} & {name for name, _ in ours}
            same.append(len({n for n, _ in ours} & {n for n, _ in theirs}) / 12)
            scores = dict(theirs)
            assert all(abs(scores[n] - s) < 1e-6 for n, s in ours if n in scores)
    assert np.mean(same) >= (1 if kind == "exact" else 0.95)
    allowed = np.arange(1580) % 2 == 0
    for end in ranking(changed, more[:1], allowed=allowed):
        rows = [changed.ids.tolist().index(name.encode()) for name, _ in end]
        assert len(rows) == 12 and not set(rows) & set(gone) and allowed[rows].all()
    assert ranking(opened_before, first[:1]) == before  # an open index is not disturbed
    assert len(list((tmp_path / "eyes" / report.build).iterdir())) == len(report.files)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("step", ["append", "write", "replace", "replaced"])
def test_an_update_killed_at_any_step_leaves_one_whole_index(tmp_path, step, hard):
    """The killed run dies for real, by SIGKILL, right before (or after) the named step."""
    folder = tmp_path / "eyes"
    rows = random_rows(900, hard=hard)
    write(folder, rows, "sketch")
    before = ranking(open_index(folder), rows[:1])
    code = f"""
import os, signal, sys
import numpy as np
from pathlib import Path
import ris.index.writing
from ris.index.writing import IndexAppender
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
step, folder = {step!r}, Path(sys.argv[1])
appender = IndexAppender(folder)
appender.drop(np.array([0]))
appender.append(np.eye(60, dtype='f4'), [str(i) for i in range(60)])
if step == 'append':
    for file in appender._files._files.values(): file._file.flush()
    die()
if step == 'write': ris.index.writing.sync_folder = die
if step == 'replace': os.replace = die
if step == 'replaced': appender._lock.clean = die
appender.finish({{}}, {{}})
"""
    run = subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    whole = open_index(folder)
    if step == "replaced":
        assert (whole.meta.rows, whole.meta.gone) == (960, 1)
    else:
        assert whole.meta.rows == 900 and ranking(whole, rows[:1]) == before
    rest = whole.meta.rows
    with IndexAppender(folder) as appender:
        appender.append(random_rows(5, 2), names(5, "late"))
        report = appender.finish({}, {})
    whole = open_index(folder)
    assert whole.meta.rows == rest + 5
    assert ranking(whole, random_rows(5, 2)[4:])[0][0][0] == "late-4"
    assert len(list((folder / report.build).iterdir())) == len(report.files)
    for name, record in report.files.items():
        assert whole.files.path(name).stat().st_size == record.bytes


def test_leaving_without_finish_changes_nothing(tmp_path):
    folder = tmp_path / "eyes"
    write(folder, random_rows(30), "exact")
    meta = read_meta(folder)
    with pytest.raises(RuntimeError), IndexAppender(folder) as appender:
        appender.append(random_rows(3), names(3, "x"))
        raise RuntimeError
    with IndexAppender(folder) as appender, pytest.raises(ValueError, match="1 ids for 2 rows"):
        appender.append(random_rows(2), ["a"])
    assert read_meta(folder) == meta and open_index(folder).index.rows == 30


def test_one_run_changes_an_index_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "LOCK_TIMEOUT", 0.2)
    write(tmp_path / "eyes", random_rows(30), "exact")
    with IndexAppender(tmp_path / "eyes"):
        for other in (IndexAppender, lambda folder: IndexWriter(folder, DIMS)):
            with pytest.raises(StoreError, match="been written by another run"):
                other(tmp_path / "eyes")
    IndexAppender(tmp_path / "eyes").abort()


def test_ids_that_do_not_fit_the_deleted_rows_are_damage(tmp_path):
    folder = tmp_path / "eyes"
    write(folder, random_rows(30), "exact")
    with IndexAppender(folder) as appender:
        appender.drop(np.array([1, 2]))
        appender.finish({}, {})
    value = json.loads((folder / META).read_text()) | {"gone": 3}
    del value[SEAL]
    (folder / META).write_text(json.dumps(value | {SEAL: seal(value)}))
    with pytest.raises(StoreError, match=r"has not 3 deleted rows.*run `Collection.index"):
        open_index(folder)


# --- with a store ----------------------------------------------------------------------------


@pytest.fixture
def store(filled, tmp_path):
    """Its own copy of 48 of the 60 faces, indexed for eyes and hair; the others in `rest`."""
    shutil.copytree(filled.folder, tmp_path / ".ris", ignore=shutil.ignore_patterns("index"))
    store = Store.open(tmp_path / ".ris")
    rest = [store.face(i) for i in ids_of(store)[48:]]
    store.remove([row.id for row in rest])
    build_indices(store, ["eyes", "hair"])
    return store, rest


def ids_of(store):
    return [i for b in store.batches(["id"]) for i in b.column("id").to_pylist()]


def check_equal_to_anew(store, feature, tmp_path, drifted):
    """The index ranks the store's faces, about as one built anew."""
    index = FeatureIndex.open(store, feature)
    alive = index.ids[np.asarray(index.ids) != b""]
    assert sorted(i.decode() for i in alive) == sorted(ids_of(store))
    other = Store.open(shutil.copytree(store.folder, tmp_path / "anew" / ".ris"))
    build_indices(other, [feature], rebuild=True)
    anew = FeatureIndex.open(other, feature)
    shutil.rmtree(tmp_path / "anew")
    face = store.face(ids_of(store)[-1])
    ours = index.vectors.search(index.query_vector(face.sigma, face.scores)[None], 5).nearest
    true = anew.vectors.search(anew.query_vector(face.sigma, face.scores)[None], 5).nearest
    assert index.ids[ours.rows[0, 0]] == anew.ids[true.rows[0, 0]] == face.id.encode()
    np.testing.assert_allclose(ours.scores, true.scores, atol=0.05 if drifted else 1e-6)
    return index


@pytest.fixture
def any_drift(monkeypatch):
    """With a few dozen faces each one moves the statistics beyond what an update allows."""
    monkeypatch.setattr(building, "DRIFT", 1.0)


@pytest.mark.usefixtures("any_drift")
def test_new_faces_are_added_without_reading_the_others(store, tmp_path, monkeypatch):
    store, rest = store
    build = read_meta(store.folder / "index" / "eyes").build
    store.append(rest)
    read = []
    from ris.data import shards

    original = shards.read_rows

    def noted(path, numbers, columns):
        read.append(path.name)
        return original(path, numbers, columns)

    monkeypatch.setattr(shards, "read_rows", noted)
    reports = build_indices(store, ["eyes", "hair"])
    assert set(read) == {store.manifest().shards[-1].file}
    for report in reports.values():
        assert (report.appended, report.removed) == (12, 0)
        assert report.meta.extra["store_faces"] == 60
    assert read_meta(store.folder / "index" / "eyes").build == build
    check_equal_to_anew(store, "eyes", tmp_path, drifted=True)
    check_equal_to_anew(store, "hair", tmp_path, drifted=True)
    again = build_indices(store, ["eyes"])["eyes"]
    assert (again.appended, again.removed) == (0, 0)


@pytest.mark.usefixtures("any_drift")
def test_removed_and_changed_faces(store, tmp_path):
    store, rest = store
    ids = ids_of(store)
    store.append(rest[:3])
    store.remove(ids[:4])
    changed = store.face(ids[10])
    other = store.face(ids[11])
    store.append([dataclasses.replace(changed, sigma=other.sigma, selection="all")])
    report = build_indices(store, ["eyes"])["eyes"]
    assert (report.appended, report.removed) == (4, 5)
    assert (report.meta.rows, report.meta.gone) == (52, 5)
    index = check_equal_to_anew(store, "eyes", tmp_path, drifted=True)
    live = LiveIndices(store).get(["eyes"])["eyes"]
    row = live.row_of(changed.id)
    assert row >= 48
    vector = index.query_vector(other.sigma, changed.scores)
    assert index.vectors.all_scores(vector)[row] > 0.9999
    assert live.row_of(ids[0]) == -1 and not live.rows_of(ids[:4]).any()
    assert (live.rows_in(live) >= 0).sum() == 47


def test_merged_shards_change_nothing(store):
    store, rest = store
    store.append(rest[:6])
    store.append(rest[6:])
    build_indices(store, ["eyes"], rebuild=True)
    before = store.manifest()
    store.compact()
    assert store.manifest().state != before.state
    report = build_indices(store, ["eyes"])["eyes"]
    assert (report.appended, report.removed, report.meta.gone) == (0, 0, 0)
    FeatureIndex.open(store, "eyes")


@pytest.mark.parametrize(
    ("limit", "value"), [("DRIFT", 1e-9), ("GROWTH", 0.1), ("GONE", 0.01), (None, None)]
)
@pytest.mark.usefixtures("any_drift")
def test_beyond_a_limit_the_index_is_built_anew(store, monkeypatch, limit, value):
    store, rest = store
    build = read_meta(store.folder / "index" / "eyes").build
    if limit:
        monkeypatch.setattr(building, limit, value)
    store.append(rest)
    store.remove(ids_of(store)[:2])
    report = build_indices(store, ["eyes"])["eyes"]
    assert (report.meta.build == build) == (limit is None)
    assert (not report.built) == (limit is None)
    assert report.faces == 58


@pytest.mark.parametrize(
    "options",
    [
        {"options": MaskOptions(kind="hard")},
        {"norm": "channel"},
        {"kind": "sketch"},
        {"rebuild": True},
    ],
)
@pytest.mark.usefixtures("any_drift")
def test_other_options_build_anew(store, options):
    store, rest = store
    build = read_meta(store.folder / "index" / "eyes").build
    store.append(rest)
    assert build_indices(store, ["eyes"], **options)["eyes"].meta.build != build
    FeatureIndex.open(store, "eyes")


def test_a_damaged_index_is_built_anew(store):
    store, _ = store
    folder = store.folder / "index" / "eyes"
    path = next(folder.glob("*/vectors.f16"))
    os.truncate(path, 100)
    build_indices(store, ["eyes"])
    FeatureIndex.open(store, "eyes")


def test_an_index_of_a_former_kind_is_built_anew(store):
    """Searches and refreshes say so in one line; `build_indices` does it by itself."""
    store, _ = store
    folder = store.folder / "index" / "eyes"
    value = json.loads((folder / META).read_text()) | {"kind": "pq"}
    del value[SEAL]
    (folder / META).write_text(json.dumps(value | {SEAL: seal(value)}))
    with pytest.raises(StoreError, match=r"of the kind 'pq'.*run `Collection.index\('eyes'\)`"):
        LiveIndices(store).get(["eyes"])
    reports = refresh_indices(store)
    assert isinstance(reports["eyes"], StoreError) and reports["hair"].faces == 48
    report = build_indices(store, ["eyes"])["eyes"]
    assert report.built and report.meta.kind == "exact" and report.faces == 48
    assert len(list(folder.iterdir())) == 2  # the former build is gone
    FeatureIndex.open(store, "eyes")


@pytest.mark.parametrize("step", ["append", "finish"])
def test_a_kill_during_the_first_build_is_healed_by_the_next(store, step):
    """Killed for real: a folder without any index is left, and the next run builds one there."""
    store, _ = store
    code = f"""
import os, signal, sys
from pathlib import Path
from ris.data.store import Store
from ris.index.build import build_indices, refresh_indices
from ris.index.writing import IndexWriter
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
IndexWriter.{step} = die
build_indices(Store.open(Path(sys.argv[1])), ["nose"])
"""
    run = subprocess.run([sys.executable, "-c", code, store.folder], cwd=ROOT, capture_output=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert any((store.folder / "index" / "nose").glob(".tmp-*"))
    build_indices(store, ["nose"])
    assert FeatureIndex.open(store, "nose").vectors.rows == 48
    assert not any((store.folder / "index" / "nose").glob(".tmp-*"))


def test_an_update_waits_for_another_run_but_not_for_ever(store, monkeypatch):
    store, rest = store
    store.append(rest)
    folder = store.folder / "index" / "eyes"
    with monkeypatch.context() as short, IndexAppender(folder):
        short.setattr(directory, "LOCK_TIMEOUT", 0.2)
        with pytest.raises(StoreError, match="has been written by another run for over"):
            build_indices(store, ["eyes"])
    with ThreadPoolExecutor(1) as pool:
        with IndexAppender(folder):
            done = pool.submit(build_indices, store, ["eyes"])
            assert not wait([done], timeout=0.5).done
        assert done.result()["eyes"].meta.rows == 48 + len(rest)


def test_two_runs_that_index_several_features_wait_in_turn(store):
    store, _ = store
    with ThreadPoolExecutor(2) as pool:
        orders = (["nose", "pose", "eyes"], ["eyes", "pose", "nose"])
        runs = [pool.submit(build_indices, store, order, rebuild=True) for order in orders]
        assert all(run.result(60)["pose"].meta.rows == 48 for run in runs)


def test_drift_is_zero_for_the_same_statistics_and_grows():
    import torch

    from ris.method.normaliser import Normaliser

    kept = Normaliser("layer", torch.zeros(4), torch.full((4,), 2.0))
    assert building.drift(kept, kept) == 0
    moved = Normaliser("layer", torch.full((4,), 0.2), torch.full((4,), 2.0))
    assert building.drift(kept, moved) == pytest.approx(0.1)
    wider = Normaliser("layer", torch.zeros(4), torch.full((4,), 2.5))
    assert building.drift(kept, wider) == pytest.approx(0.25)
