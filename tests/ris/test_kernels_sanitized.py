"""All kernels under AddressSanitizer and UBSan, over valid, extreme and hostile inputs."""

from __future__ import annotations

import platform
import shlex
import subprocess

import pytest
from conftest import ROOT

from ris.ops import native

DRIVER = ROOT / "tests" / "kernels" / "sanitized.cpp"
SANITIZERS = "-fsanitize=address,undefined,float-cast-overflow"
FLAGS = ["-g", "-O1", "-std=c++17", "-pthread", SANITIZERS, "-fno-sanitize-recover=all"]
PLAINER = ["-march=x86-64"] if platform.machine() == "x86_64" else []


@pytest.fixture(scope="module", params=["-march=native", *PLAINER])
def driver(request, tmp_path_factory):
    try:
        compiler = shlex.split(native.find_compiler())
    except native.BuildError as e:
        pytest.skip(str(e))
    folder = tmp_path_factory.mktemp("sanitized")
    (folder / "empty.cpp").write_text("int main() { return 0; }\n")
    empty = [*compiler, *FLAGS, "empty.cpp", "-o", "empty"]
    if subprocess.run(empty, cwd=folder, capture_output=True).returncode:
        pytest.skip(f"{compiler[0]} has no {SANITIZERS}")
    sources = [str(DRIVER), *map(str, sorted(native.SOURCES.glob("*.cpp")))]
    made = subprocess.run(
        [*compiler, *FLAGS, request.param, f"-I{native.SOURCES}", *sources, "-o", "driver"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    return folder / "driver"


def test_every_kernel_stays_inside_what_it_is_given(driver):
    run = subprocess.run([driver], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stderr == "" and int(run.stdout.split()[0]) > 10_000


def test_a_step_outside_is_noticed(driver):
    run = subprocess.run([driver, "outside"], capture_output=True, text=True, timeout=300)
    assert run.returncode != 0 and "heap-buffer-overflow" in run.stderr


def test_the_driver_knows_every_kernel():
    """A kernel that is added has to be run here, too."""
    text = DRIVER.read_text()
    for source in native.SOURCES.glob("*.cpp"):
        exported = source.read_text().split('extern "C" {')[-1]
        for line in exported.splitlines():
            if line.startswith(("int ris_", "void ris_", "void* ris_", "long ris_")):
                name = line.split("(")[0].split()[-1]
                assert text.count(name) >= 2, f"{name} of {source.name} is not run"
