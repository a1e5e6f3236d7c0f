"""Writing files: what a disk reports late is still an error, and nothing half-written stays."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data import durable
from data.durable import draft, make_folder, replacing, save_npy, save_npz, write_array
from ris.errors import StoreError

ARRAYS = (
    np.arange(5),
    np.zeros((2, 3), np.float16),
    np.array([b"a", b"bc"]),
    np.array(3.0),
    np.zeros((0, 4)),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_come_back_as_they_went_in(tmp_path, array, monkeypatch):
    monkeypatch.setattr(durable, "BLOCK", 7)
    save_npy(tmp_path / "a.npy", array)
    save_npz(tmp_path / "a.npz", {"a": array})
    with (tmp_path / "raw").open("wb") as file:
        write_array(file, array)
    raw = np.fromfile(tmp_path / "raw", array.dtype).reshape(array.shape)
    for found in (np.load(tmp_path / "a.npy"), np.load(tmp_path / "a.npz")["a"], raw):
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("write", [save_npy, lambda path, a: save_npz(path, {"a": a})])
@pytest.mark.parametrize("size", [3, 1 << 20])
def test_a_full_disk_is_not_swallowed(write, size):
    with pytest.raises(OSError, match="No space left"):
        write(Path("/dev/full"), np.zeros(size, np.uint8))


def test_the_last_bytes_that_do_not_fit_are_missed(tmp_path):
    """A limit of file size that only the last flush meets, as a full disk would."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limit[1]))
    try:
        for write in (save_npy, lambda path, a: save_npz(path, {"a": a})):
            with pytest.raises(StoreError, match="cannot write"), replacing(tmp_path / "x") as t:
                write(t, np.zeros(3950, np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, former)
    assert list(tmp_path.iterdir()) == []


def test_objects_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="Python objects"):
        save_npy(tmp_path / "a.npy", np.array([{}]))


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "said"), [(errno.EIO, "cannot write .*target"), (errno.ENOSPC, "no space left")]
)
def test_an_error_of_the_disk_leaves_the_old_file(tmp_path, monkeypatch, call, code, said):
    target = tmp_path / "target"
    target.write_text("old")

    def fail(*_args: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(durable.os, call, fail)
    with pytest.raises(StoreError, match=said), replacing(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failing_removal_does_not_hide_the_error(tmp_path, monkeypatch):
    def fail(*_args: object, **_named: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    said = pytest.raises(StoreError, match="cannot write .*: Input/output")
    with said, draft(tmp_path / "x") as temporary:
        temporary.write_text("x")
        monkeypatch.setattr(Path, "unlink", fail)
        raise OSError(errno.EIO, "Input/output error")


def test_new_folders_are_known_to_their_parents(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(durable, "sync_folder", synced.append)
    make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]
    make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="exists"):
        make_folder(tmp_path / "file" / "c")


def test_a_warning_is_one_line_on_stderr():
    code = "from ris.notices import warn; warn('it goes\\non')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "ris: it goes on\n")
