"""Writing files: what a disk reports late is still an error, and nothing half-written stays."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ris.data import durable
from ris.data.durable import draft, flush, make_folder, replacing
from ris.errors import StoreError


def test_the_last_bytes_that_do_not_fit_are_missed(tmp_path):
    """A limit of file size that only the last flush meets, as a full disk would."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limit[1]))
    try:
        with (
            pytest.raises(StoreError, match="cannot write"),
            replacing(tmp_path / "x") as temporary,
            temporary.open("wb") as file,
        ):
            file.write(bytes(4050))
            flush(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, former)
    assert list(tmp_path.iterdir()) == []


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
