"""Ingest end to end with the real generator: resume, duplicates, damage, kills, two at once."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from ris.data.failures import read_failures
from ris.data.latents import read_latents
from ris.data.shards import vectors
from ris.data.store import Store
from ris.errors import InputError, MismatchError
from ris.ingest.run import ingest_collection
from ris.ingest.sampling import sample, sample_w


@pytest.fixture
def work(tmp_path: Path, faces: Path) -> Path:
    """A folder with the first six sampled faces and their latents under ``photos/``."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for photo in sorted(faces.glob("*.jpg"))[:6]:
        shutil.copy(photo, photos)
    shutil.copy(faces / "latents.parquet", photos)
    return tmp_path


def rows(store: Store) -> dict[str, tuple[str, np.ndarray, np.ndarray]]:
    found = {}
    for batch in store.batches():
        sigma, scores = vectors(batch, "sigma"), vectors(batch, "scores")
        plain = batch.select(["id", "path"]).to_pydict()
        for i, (face, path) in enumerate(zip(plain["id"], plain["path"], strict=True)):
            assert face not in found, "a face stands in the store twice"
            found[face] = (path, sigma[i].copy(), scores[i].copy())
    return found


def same(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    for face, (path, sigma, scores) in first.items():
        assert second[face][0] == path
        assert np.array_equal(second[face][1], sigma)
        assert np.array_equal(second[face][2], scores)


def run(work: Path, models, source: str = "photos", **options):
    return ingest_collection(str(work / source), work / ".ris", models, **options)


def test_sampled_faces_are_ingested_from_their_latents(work, models, generator):
    done = run(work, models)
    assert (done.report.ingested, done.report.skipped, done.report.failed) == (6, 0, 0)
    face = done.store.face(next(iter(rows(done.store))))
    assert face.inverter == "given"
    assert face.path == "photos/seed000100.jpg"
    w = sample_w(generator, 100)
    assert np.allclose(face.w, w.numpy()[None].repeat(22, 0))
    assert np.allclose(face.sigma, generator.sigma(w[None])[0].numpy(), atol=1e-5)
    assert np.abs(face.scores.astype(np.float32).sum(0) - 1).max() < 1e-2


def test_a_second_run_skips_and_a_new_photo_is_added(work, models, faces):
    run(work, models)
    again = run(work, models)
    assert (again.report.ingested, again.report.skipped) == (0, 6)
    shutil.copy(faces / "seed000110.jpg", work / "photos")
    third = run(work, models)
    assert (third.report.ingested, third.report.skipped, third.faces) == (1, 6, 7)


def test_same_bytes_under_another_name_are_one_face(work, models):
    shutil.copy(work / "photos" / "seed000100.jpg", work / "photos" / "copy.jpg")
    done = run(work, models)
    assert (done.report.ingested, done.report.skipped, done.faces) == (6, 1, 6)


def test_a_changed_file_replaces_its_row_and_a_touched_one_does_not(work, models, faces):
    before = rows(run(work, models).store)
    shutil.copy(faces / "seed000120.jpg", work / "photos" / "seed000101.jpg")
    os.utime(work / "photos" / "seed000102.jpg", (1, 1))
    done = run(work, models)
    assert (done.report.ingested, done.report.skipped, done.faces) == (1, 5, 6)
    after = rows(done.store)
    assert len(before.keys() & after.keys()) == 5
    (fresh,) = after.keys() - before.keys()
    assert after[fresh][0] == "photos/seed000101.jpg"


def test_removed_photos_stay_until_pruned(work, models):
    run(work, models)
    (work / "photos" / "seed000103.jpg").unlink()
    assert run(work, models).faces == 6
    done = run(work, models, prune=True)
    assert (done.pruned, done.faces) == (1, 5)


def test_bad_files_are_counted_with_reasons_and_cured_later(work, models):
    photos = work / "photos"
    good = (photos / "seed000104.jpg").read_bytes()
    (photos / "seed000104.jpg").write_bytes(good[: len(good) // 2])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.png").write_text("hello")
    done = run(work, models)
    assert (done.report.ingested, done.report.failed) == (5, 3)
    stages = {Path(f.path).name: f.stage for f in read_failures(done.store)}
    assert stages == {"empty.jpg": "read", "seed000104.jpg": "decode", "text.png": "decode"}
    (photos / "seed000104.jpg").write_bytes(good)
    cured = run(work, models)
    assert (cured.report.ingested, cured.report.failed) == (1, 2)
    assert len(read_failures(cured.store)) == 2


def test_latents_without_names_go_with_the_photos_in_order(work, models, generator):
    (work / "photos" / "latents.parquet").unlink()
    codes = np.stack([sample_w(generator, 100 + i).numpy() for i in range(6)])
    wplus = codes[:, None].repeat(22, 1)
    wplus[:, 10:] = codes[0]
    np.save(work / "codes.npy", wplus)
    done = run(work, models, latents=work / "codes.npy")
    by_path = {path: sigma for path, sigma, _ in rows(done.store).values()}
    import torch

    expected = generator.sigma(torch.from_numpy(wplus))
    for i in range(6):
        assert np.allclose(by_path[f"photos/seed{100 + i:06d}.jpg"], expected[i], atol=1e-5)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((5, 512), np.float32), "5 latents for 6 photos"),
        (np.zeros((6, 18, 512), np.float32), r"expected \(N, 512\), \(22, 512\) or \(N, 22, 512\)"),
        (np.zeros((6, 100), np.float32), r"floats \(N, 512\), \(L, 512\) or \(N, L, 512\)"),
        (np.zeros((6, 512), np.int64), "no floats .* expected floats"),
        (np.full((6, 512), np.nan, np.float32), "not finite"),
        (np.array([{"evil": 1}] * 6, dtype=object), "not a readable latents file"),
    ],
)
def test_wrong_latents_are_refused(work, models, codes, message):
    np.save(work / "codes.npy", codes, allow_pickle=True)
    with pytest.raises(InputError, match=message) as e:
        run(work, models, latents=work / "codes.npy")
    assert "\n" not in str(e.value)


def test_a_store_of_other_settings_is_refused(work, models):
    run(work, models)
    other = models.with_settings(max_resolution=128)
    with pytest.raises(MismatchError, match="max resolution 64, this run has 128"):
        run(work, other)


# -- processes --------------------------------------------------------------------------------


def start(work: Path, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "ris", "ingest", "photos", "--json"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=work, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


@pytest.fixture(scope="module")
def sixty(tmp_path_factory, faces) -> tuple[Path, dict]:
    """A work folder whose ``photos`` are all 60 faces, and the rows of an undisturbed run."""
    folder = tmp_path_factory.mktemp("sixty")
    (folder / "photos").symlink_to(faces, target_is_directory=True)
    undisturbed = start(folder)
    out, err = undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0, err
    assert json.loads(out)["ingested"] == 60
    return folder, rows(Store.open(folder / ".ris"))


def test_killed_runs_resume_to_the_same_rows(sixty):
    """RIS_KILLS=20 kills twenty runs; the default keeps the suite quick."""
    work, expected = sixty
    rng = random.Random(5)
    for _ in range(int(os.environ.get("RIS_KILLS", "4"))):
        shutil.rmtree(work / ".ris", ignore_errors=True)
        process = start(work)
        deadline = time.monotonic() + rng.uniform(1.0, 14.0)
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if (work / ".ris" / "manifest.json").exists():
            partial = rows(Store.open(work / ".ris"))
            assert partial.keys() <= expected.keys()
        resumed = start(work)
        out, err = resumed.communicate(timeout=300)
        assert resumed.returncode == 0, err
        report = json.loads(out)
        assert report["ingested"] + report["skipped"] == 60
        same(rows(Store.open(work / ".ris")), expected)


def test_two_ingests_at_once_lose_nothing(sixty):
    work, expected = sixty
    shutil.rmtree(work / ".ris", ignore_errors=True)
    pair = [start(work), start(work)]
    reports = []
    for process in pair:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        reports.append(json.loads(out))
    assert sum(r["ingested"] for r in reports) == 60
    same(rows(Store.open(work / ".ris")), expected)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_stays_bounded(sixty):
    work, _ = sixty
    shutil.rmtree(work / ".ris", ignore_errors=True)
    code = (
        "import sys, cli; sys.argv = ['ris', 'ingest', 'photos']\n"
        "try: cli.main()\n"
        "finally:\n"
        "    status = dict(line.split(':') for line in open('/proc/self/status') if ':' in line)\n"
        "    print(status['VmHWM'].split()[0], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=work,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stderr.split()[-1]) * 1024 < 1.5e9


# -- sampling ---------------------------------------------------------------------------------


def test_sampling_is_reproducible_and_resumes(tmp_path, generator):
    folder = tmp_path / "faces"
    assert sample(folder, generator, n=2, seed=5, size=64) == 2
    first = (folder / "seed000005.jpg").read_bytes()
    assert sample(folder, generator, n=3, seed=5, size=64) == 1
    assert (folder / "seed000005.jpg").read_bytes() == first
    latents = read_latents(folder / "latents.parquet")
    assert latents.files == [f"seed00000{i}.jpg" for i in (5, 6, 7)]
    assert len(latents.codes) == 3
    assert np.allclose(latents.codes[1], sample_w(generator, 6).numpy())
    with Image.open(folder / "seed000005.jpg") as picture:
        assert picture.size == (64, 64)
        assert b"synthetic" in picture.info["comment"]


@pytest.mark.parametrize(
    "wrong",
    [{"n": 0}, {"n": 1, "seed": -1}, {"n": 1, "truncation": 1.5}, {"n": 1, "size": 4096},
     {"n": 1, "suffix": ".gif"}],
)  # fmt: skip
def test_sampling_refuses_what_it_cannot_do(tmp_path, generator, wrong):
    with pytest.raises(InputError):
        sample(tmp_path / "x", generator, **wrong)


# -- moved, renamed and oddly named photos ----------------------------------------------------


def test_rows_follow_photos_that_change_names(work, models):
    run(work, models)
    photos = work / "photos"
    first, second = photos / "seed000100.jpg", photos / "seed000101.jpg"
    before = {face: path for face, (path, _, _) in rows(Store.open(work / ".ris")).items()}
    first.rename(photos / "x.jpg")
    second.rename(first)
    (photos / "x.jpg").rename(second)
    (photos / "seed000102.jpg").rename(photos / "renamed.jpg")
    done = run(work, models)
    assert (done.report.ingested, done.faces) == (0, 6)
    after = {face: path for face, (path, _, _) in rows(done.store).items()}
    swap = {
        "photos/seed000100.jpg": "photos/seed000101.jpg",
        "photos/seed000101.jpg": "photos/seed000100.jpg",
        "photos/seed000102.jpg": "photos/renamed.jpg",
    }
    assert after == {face: swap.get(path, path) for face, path in before.items()}
    assert run(work, models).report.skipped == 6


def test_a_photo_overwritten_by_a_copy_of_another_loses_its_row(work, models):
    run(work, models)
    photos = work / "photos"
    shutil.copy(photos / "seed000103.jpg", photos / "seed000104.jpg")
    done = run(work, models)
    paths = sorted(path for path, _, _ in rows(done.store).values())
    assert done.faces == 5
    assert "photos/seed000104.jpg" not in paths


def test_odd_file_names(work, models):
    photos = work / "photos"
    (photos / "seed000100.jpg").rename(photos / 'it\'s "one"\n*.jpg')
    try:
        shutil.copy(photos / "seed000101.jpg", os.fsencode(str(photos)) + b"/\xff\xfe.jpg")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    done = run(work, models)
    assert (done.report.ingested, done.report.failed) == (6, 1)
    (failure,) = done.report.failures
    assert failure.reason == "the file's name is not UTF-8"
    assert failure.path == "photos/\\xff\\xfe.jpg"
    assert any("*.jpg" in path for path, _, _ in rows(done.store).values())


def test_options_that_cannot_be_used_leave_no_store(work, models):
    wrong = models.with_settings(max_resolution=3)
    with pytest.raises(InputError, match="`max_resolution` 3: no style layer is at most 3 px"):
        run(work, wrong)
    assert not (work / ".ris").exists()
    with pytest.raises(InputError, match="`prune` goes with folders"):
        run(work, models, "photos/seed000100.jpg", prune=True)


def test_latents_are_found_beside_a_single_photo(work, models):
    done = run(work, models, "photos/seed000100.jpg")
    assert done.report.ingested == 1
    assert done.store.face(next(iter(rows(done.store)))).inverter == "given"
