"""How the native kernels are built: once, safely, and without them where there is no compiler."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT

from ris.ops import native

SOURCE = 'extern "C" int answer(int x) { return x + 41; }\n'


@pytest.fixture
def sources(tmp_path, monkeypatch):
    folder = tmp_path / "with space" / "sources"
    folder.mkdir(parents=True)
    (folder / "a.cpp").write_text(SOURCE)
    monkeypatch.setattr(native, "SOURCES", folder)
    return folder


@pytest.fixture
def compiler():
    try:
        native.find_compiler()
    except native.BuildError as e:
        pytest.skip(str(e))


def answer(path: Path) -> int:
    return ctypes.CDLL(str(path)).answer(1)


@pytest.mark.usefixtures("compiler")
def test_builds_once(sources, tmp_path, monkeypatch):
    target = native.build(tmp_path / "kept")
    assert answer(target) == 42
    monkeypatch.setattr(native, "_run_ninja", None)  # not called again
    assert native.build(tmp_path / "kept") == target


@pytest.mark.usefixtures("compiler")
def test_other_sources_are_another_library(sources, tmp_path):
    first = native.build(tmp_path)
    (sources / "a.cpp").write_text(SOURCE.replace("41", "42"))
    second = native.build(tmp_path)
    assert first != second
    assert answer(second) == 43


@pytest.mark.usefixtures("compiler")
def test_builds_at_once(sources, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        targets = set(pool.map(native.build, [tmp_path / "kept"] * 4))
    assert [answer(t) for t in targets] == [42]
    assert [p.name for p in (tmp_path / "kept").iterdir()] == [targets.pop().parent.name]


@pytest.mark.usefixtures("compiler")
def test_an_error_of_the_compiler_is_one_line(sources, tmp_path):
    (sources / "a.cpp").write_text("int broken(;\n")
    with pytest.raises(native.BuildError, match=r"the compiler failed: .*a\.cpp:1.*error") as e:
        native.build(tmp_path / "kept")
    assert "\n" not in str(e.value)
    assert list((tmp_path / "kept").iterdir()) == []


def test_no_compiler(sources, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(native.BuildError, match=r"no C\+\+ compiler \(no-such-compiler\)"):
        native.build(tmp_path)


def test_one_warning_and_none_without_compiler():
    code = (
        "import warnings; from ris.ops.native import library\n"
        "with warnings.catch_warnings(record=True) as found:\n"
        "    warnings.simplefilter('always')\n"
        "    assert library() is None and library() is None\n"
        "print(*[w.message for w in found], sep='\\n')"
    )
    root = ROOT
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=root,
        env={"CXX": "no-such-compiler", "PATH": ""},
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "no native kernels, the slower references run instead: no C++ compiler "
        "(no-such-compiler) (RIS_NATIVE=0 silences this)"
    ]


def test_switched_off(monkeypatch):
    monkeypatch.setenv("RIS_NATIVE", "0")
    for cached in (native.library, native._loaded):
        cached.cache_clear()
    try:
        assert native.library() is None
        assert native.problem() == "RIS_NATIVE=0 turns the kernels off"
    finally:
        for cached in (native.library, native._loaded):
            cached.cache_clear()
