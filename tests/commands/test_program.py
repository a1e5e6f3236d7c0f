"""The program in surroundings that are not as they should be: one line, exit status 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


def start(*words: str | bytes, cwd: Path | None = None, stdout=None, **variables: str):
    """A command in a process of its own; gives exit status, stdout and stderr as bytes."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        cwd=cwd,
        stdout=stdout or subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("words", [["models"], ["models", "--json"], ["--help"]])
def test_output_that_cannot_be_written_is_an_error(words):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    with full.open("wb") as stdout:
        status, _, err = start(*words, stdout=stdout)
    assert (status, err) == (1, b"ris: cannot write the output: No space left on device\n")


def test_a_reader_that_leaves_is_no_error_message():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as stdout:
        assert start("models", stdout=stdout)[::2] == (1, b"")


def test_names_that_the_terminal_cannot_show_are_written_out(tmp_path):
    missing = tmp_path / "nö\n"
    status, _, err = start("info", "--store", str(missing), PYTHONIOENCODING="ascii")
    assert status == 1
    assert rb"n\xf6 is not a ris store" in err
    assert err.count(b"\n") == 1


def test_names_of_other_bytes_are_written_out(tmp_path):
    name = os.fsencode(tmp_path) + b"/a\xff"
    status, _, err = start("info", "--store", name, PYTHONIOENCODING="utf-8")
    assert status == 1
    assert rb"/a\xff is not a ris store" in err


def test_an_argument_that_is_not_utf8_is_named(filled):
    status, _, err = start("sql", b"select '\xff'", "--store", str(filled.folder))
    assert (status, err) == (1, b"ris: an argument is not UTF-8: select '\\xff'\n")


def test_a_deleted_working_folder_is_one_line(tmp_path):
    code = (
        "import os, sys; os.rmdir(os.getcwd()); sys.argv = ['ris', 'info']\n"
        "from ris import cli; cli.main()"
    )
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=gone,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "ris: the working folder does not exist any more: change to another one\n"


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path):
    taken = tmp_path / "file"
    taken.write_text("not a folder")
    status, _, err = start("sample", str(tmp_path / "faces"), "--n", "1", RIS_CACHE=str(taken))
    assert status == 1
    assert err.count(b"\n") == 1
    assert b"set RIS_CACHE to a folder that can be written" in err


def test_the_first_run_says_what_it_waits_for(tmp_path, filled):
    cache = tmp_path / "cache"
    status, _, err = start("models", "pull", "efficientnet-lite0", RIS_CACHE=str(cache))
    assert status == 0
    assert err.startswith(b"ris: fetching efficientnet-lite0 (")
    assert list((cache / "models").glob("efficientnet-lite0-*"))
    face = next(filled.batches(["id"])).column("id")[0].as_py()
    words = ("query", face, "--feature", "eyes", "--store", str(filled.folder))
    _, found, err = start(*words, RIS_CACHE=str(cache))
    again = start(*words, RIS_CACHE=str(cache))
    assert found == again[1]
    assert err == b"ris: compiling kernels for this machine, once; that takes a few seconds\n"
    assert again[2] == b""


def test_without_a_compiler_one_line_says_so(tmp_path, filled):
    face = next(filled.batches(["id"])).column("id")[0].as_py()
    words = ("query", face, "--feature", "eyes", "--store", str(filled.folder))
    status, found, err = start(*words, RIS_CACHE=str(tmp_path), CXX="no-such-compiler")
    assert (status, found) == (0, start(*words)[1])
    assert err.startswith(b"ris: no native kernels, the slower references run instead: ")
    assert err.count(b"\n") == 1


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_plots_are_drawn_whatever_the_notebook_set(tmp_path, filled, backend):
    pytest.importorskip("matplotlib")
    plot = tmp_path / "trsi.png"
    words = ("eval", "trsi", "--k", "2", "--queries", "4", "--plot", str(plot))
    status, _, err = start(*words, "--store", str(filled.folder), MPLBACKEND=backend)
    assert (status, err) == (0, b"")
    assert plot.stat().st_size > 1000


@pytest.mark.parametrize("device", ["cuda", "auto", "cpu"])
def test_a_device_is_used_where_there_is_one(tmp_path, device):
    import torch

    words = ("sample", str(tmp_path / "faces"), "--n", "1", "--size", "64", "--device", device)
    status, out, err = start(*words)
    if device == "cuda" and not torch.cuda.is_available():
        assert status == 1
        assert err.startswith(b"ris: no CUDA device: ")
        assert err.endswith(b"take --device cpu, or auto\n")
    else:
        assert (status, err) == (0, b"")
        assert out.startswith(b"1 faces rendered")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("x.so: failed to map segment from shared object"), "not enough memory"),
        (RuntimeError("can't start new thread"), "not enough memory"),
        (OSError(24, "Too many open files"), "ulimit -n"),
        (ImportError("x.so: cannot open shared object file: Too many open files"), "ulimit -n"),
    ],
)
def test_what_the_system_has_too_little_of_is_no_unexpected_error(error, said, capsys):
    from ris.commands.program import run

    def app() -> None:
        raise error

    with pytest.raises(SystemExit):
        run(app)
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert "unexpected" not in line
