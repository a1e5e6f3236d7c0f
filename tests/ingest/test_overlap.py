"""Ingest reads photos side by side: what comes out must not show it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import ROOT
from PIL import Image

from ris.data.failures import read_failures
from ris.data.store import Store
from ris.images import from_pixels
from ris.ingest.alignment.cut import Aligner
from ris.ingest.loaded_models import Models
from ris.ingest.pictures.decode import _NoWarnings, decode
from ris.ingest.pipeline import ingest
from ris.ingest.reading import FaceReader
from ris.ingest.threads import (
    DEVICE_GROUP,
    MOST_WORKERS,
    StepCounter,
    by_groups,
    one_thread,
    single_threads,
    worker_count,
)


@pytest.fixture(scope="module")
def folder(faces, tmp_path_factory) -> Path:
    """Ten photos, two of them copies; a faceless one and its copy; one that is no photo."""
    folder = tmp_path_factory.mktemp("photos")
    for photo in sorted(faces.glob("*.jpg"))[:8]:
        shutil.copy(photo, folder)
    first, second, *_ = sorted(folder.glob("*.jpg"))
    shutil.copy(first, folder / "a-copy.jpg")
    shutil.copy(second, folder / "z-copy.jpg")
    Image.new("RGB", (200, 200), "green").save(folder / "leaf.png")
    shutil.copy(folder / "leaf.png", folder / "leaf2.png")
    (folder / "text.jpg").write_text("no photo")
    return folder


def add(target: Path, folder: Path, models, **options):
    photos = sorted(folder.iterdir())
    store = Store.create(target, models.embedder.settings())
    report = ingest(store, photos, models, total=len(photos), **options)
    return store, report


@pytest.fixture(scope="module")
def sequential(folder, models, tmp_path_factory):
    return add(tmp_path_factory.mktemp("one") / ".ris", folder, models, workers=1)


def failures(store: Store) -> list[tuple[str, str, str]]:
    return sorted((Path(f.path).name, f.stage, f.reason) for f in read_failures(store))


def test_side_by_side_gives_the_same_bytes(folder, models, sequential, tmp_path):
    store, report = sequential
    assert (report.ingested, report.skipped, report.failed) == (8, 2, 3)
    again, other = add(tmp_path / ".ris", folder, models, workers=5)
    assert other.ingested, other.skipped == (report.ingested, report.skipped)
    assert again.manifest().shards == store.manifest().shards  # sha256 and order of shards
    assert other.failures == report.failures
    assert failures(again) == failures(store)


def test_rows_are_what_one_photo_after_the_other_gives(folder, models, sequential):
    store, _ = sequential
    (batch,) = list(store.batches(["id", "path"]))
    paths = [Path(p).name for p in batch.column("path").to_pylist()]
    names = {f"seed{100 + i:06d}.jpg" for i in range(2, 8)} | {"a-copy.jpg", "seed000101.jpg"}
    assert set(paths) == names and paths == sorted(paths)
    aligner, embedder = Aligner(), models.embedder
    for face in batch.column("id").to_pylist()[:3]:
        row = store.face(face)
        (cut,) = aligner.cuts(decode(store.resolve(row.path)))
        with one_thread():
            w = models.inverter.invert(from_pixels(cut.pixels[None])).w[0]
            expected = embedder.embed(w)
        assert np.array_equal(row.w, expected.w.numpy())
        assert np.array_equal(row.sigma, expected.sigma.numpy())
        assert np.array_equal(row.scores, expected.scores.numpy().astype(np.float16))


def test_photos_in_groups_give_the_same_rows(folder, models, sequential, tmp_path, monkeypatch):
    """As on a device, where the networks are given many faces at once."""
    store, report = sequential
    monkeypatch.setattr(FaceReader, "on_device", True)
    with one_thread():
        grouped, other = add(tmp_path / ".ris", folder, models)
    assert sorted(map(str, other.failures)) == sorted(map(str, report.failures))
    for ours, theirs in zip(store.batches(), grouped.batches(), strict=True):
        for name in ours.schema.names:
            a, b = ours.column(name), theirs.column(name)
            if name in {"w", "sigma", "scores"}:
                a, b = (x.flatten().to_numpy(zero_copy_only=False).astype(float) for x in (a, b))
                assert np.abs(a - b).max() < 1e-3
            else:
                assert a.equals(b)


def test_slow_faces_are_committed_as_they_come(folder, models, sequential, tmp_path, monkeypatch):
    """Wherever commits fall, the same rows in the same order."""
    monkeypatch.setattr("ris.ingest.pipeline.COMMIT_SECONDS", 0.0)
    store, _ = add(tmp_path / ".ris", folder, models)
    tables = []
    for made in (sequential[0], store):
        batches = [pa.Table.from_batches([batch]) for batch in made.batches()]
        tables.append(pa.concat_tables(batches).combine_chunks())
    assert tables[0].equals(tables[1])
    assert store.manifest().next_shard > 8  # a shard a face, then merged


def test_a_file_overwritten_by_a_copy_of_a_new_photo_loses_its_row(folder, models, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    names = sorted(p.name for p in folder.glob("seed*.jpg"))
    shutil.copy(folder / names[2], photos / "b.jpg")
    store, _ = add(tmp_path / ".ris", photos, models)
    assert store.ids_at("photos/b.jpg")
    shutil.copy(folder / names[3], photos / "a.jpg")
    shutil.copy(folder / names[3], photos / "b.jpg")
    _, report = add(tmp_path / ".ris", photos, models)
    assert (report.ingested, report.skipped) == (1, 1)
    assert store.ids_at("photos/b.jpg") == []
    assert len(store.ids_at("photos/a.jpg")) == 1


def test_an_error_of_the_inverter_ends_the_run_and_keeps_the_rest(folder, models, tmp_path):
    class Broken(Models):
        @property
        def inverter(self):
            raise RuntimeError("no inverter today")

    broken = Broken()
    vars(broken).update(_generator=models.generator, catalogue=models.catalogue)
    store = Store.create(tmp_path / ".ris", broken.embedder.settings())
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="no inverter today"):
        ingest(store, sorted(folder.iterdir()), broken, total=13, workers=2)
    assert torch.get_num_threads() == threads
    assert store.manifest().rows == 0


def test_an_interrupt_ends_at_once_and_loses_nothing(folder, tmp_path, faces):
    """Ctrl-C in the middle of reading: one line, status 130, and the next run goes on."""
    many = tmp_path / "photos"
    many.mkdir()
    for photo in faces.glob("*.jpg"):
        for i in range(5):  # as many photos: what follows a picture in its file is not read
            (many / f"{photo.stem}-{i}.jpg").write_bytes(photo.read_bytes() + bytes([i]))
    # a shell's background jobs ignore Ctrl-C, and what they start does too
    code = (
        "import signal, sys, cli; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "sys.argv = ['ris', 'ingest', 'photos']; cli.main()"
    )
    command = [sys.executable, "-c", code]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    manifest = tmp_path / ".ris" / "manifest.json"
    deadline = time.monotonic() + 120
    while not (manifest.exists() and Store.open(manifest.parent).manifest().rows):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "ris: interrupted; what was committed is kept\n")
    kept = Store.open(manifest.parent).manifest().rows
    assert 0 < kept < 300


def test_workers_follow_the_cores_and_the_users_setting():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = torch.get_num_threads()
    assert worker_count() == min(cores, threads, MOST_WORKERS)
    with one_thread():
        assert worker_count() == 1
    with single_threads(3) as pool:
        assert [pool.submit(torch.get_num_threads).result() for _ in range(5)] == [1] * 5
    assert torch.get_num_threads() == threads


def test_warnings_come_back_when_the_last_thread_is_out():
    quiet = _NoWarnings()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        quiet.__enter__()  # one thread
        quiet.__enter__()  # another
        quiet.__exit__()
        warnings.warn("within", stacklevel=1)
        quiet.__exit__()
        warnings.warn("after", stacklevel=1)
    assert [str(w.message) for w in seen] == ["after"]


def test_a_device_takes_groups_in_the_calling_thread():
    """In a new thread cuDNN would plan every convolution anew."""
    counter = StepCounter(70, None)
    seen = by_groups(lambda p: (p, threading.get_ident()), 70, torch.device("meta"), counter)
    assert {thread for _, thread in seen} == {threading.get_ident()}
    assert [p for p, _ in seen] == [slice(i, i + DEVICE_GROUP) for i in (0, 32, 64)]
    alone = by_groups(lambda p: p, 3, torch.device("cpu"), counter)
    assert alone == [slice(0, 1), slice(1, 2), slice(2, 3)]
