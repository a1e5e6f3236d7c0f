"""The compiled kernels: built by ninja when first needed, kept, and loaded through ctypes.

All ``*.cpp`` files beside this module become one shared library with a C interface, so that
neither torch nor numpy is needed to build or to call it. It lies in the user's cache under the
hash of everything that it depends on (sources, flags, compiler, processor): a new version or
another machine builds its own. A build happens in a folder of its own that is renamed when
complete, so processes may build at once and a killed build leaves nothing behind that is used.

Whoever calls a kernel has a reference that runs where `library` gives None.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ris.cache import cache_folder, cannot_write
from ris.notices import tell

SOURCES = Path(__file__).parent
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-pthread", "-Wall", "-Wextra")
COMPILERS = ("c++", "g++", "clang++")
SWITCH = "RIS_NATIVE"
"""Environment variable that keeps the references in use when set to 0."""
RULES = """\
rule compile
  command = {compiler} {flags} $in -o $out
build {target}: compile {sources}
"""


class BuildError(Exception):
    """The library cannot be built here; the message says why in one line."""


@cache
def library() -> ctypes.CDLL | None:
    """The kernels, built if need be; None, after one warning, where that is impossible."""
    found = _loaded()
    if isinstance(found, ctypes.CDLL):
        return found
    if not _switched_off():
        warnings.warn(
            f"no native kernels, the slower references run instead: {found} "
            f"({SWITCH}=0 silences this)",
            RuntimeWarning,
            stacklevel=2,
        )
    return None


def problem() -> str | None:
    """Why there are no kernels here, in one line; None where there are."""
    found = _loaded()
    return found if isinstance(found, str) else None


@cache
def _loaded() -> ctypes.CDLL | str:
    if _switched_off():
        return f"{SWITCH}=0 turns the kernels off"
    try:
        return ctypes.CDLL(str(build(kernels_folder())))
    except (BuildError, OSError) as e:
        return str(e)


def _switched_off() -> bool:
    return os.environ.get(SWITCH) == "0"


def kernels_folder() -> Path:
    """Where libraries are kept."""
    return cache_folder() / "native"


def build(
    folder: Path,
    pattern: str = "*.cpp",
    compiler: str | None = None,
    flags: Sequence[str] | None = None,
) -> Path:
    """The library's path; compiled into `folder` unless it lies there already.

    Args:
        folder: where libraries are kept.
        pattern: which files beside this module are its sources.
        compiler: its command; None finds a C++ compiler.
        flags: the compiler's; None: `FLAGS`.

    Raises:
        BuildError: no compiler, no ninja, the compiler fails, or the folder cannot be written to.
    """
    compiler = compiler or find_compiler()
    flags = FLAGS if flags is None else flags
    sources = sorted(SOURCES.glob(pattern))
    read = [*sources, *sorted(SOURCES.glob("*.h"))]
    target = folder / key(compiler, read, flags) / "kernels.so"
    if target.is_file():
        return target
    tell("compiling kernels for this machine, once; that takes a few seconds")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as name:
            work = Path(name) / "made"
            work.mkdir()
            _run_ninja(work, compiler, sources, target.name, flags)
            try:
                work.rename(target.parent)
            except OSError:
                if not target.is_file():  # else another process was faster
                    raise
    except OSError as e:
        raise BuildError(cannot_write(e)) from e
    return target


def find_compiler() -> str:
    """The C++ compiler's command: $CXX, or the first of `COMPILERS` that there is.

    Raises:
        BuildError: there is none.
    """
    named = os.environ.get("CXX", "").strip()
    for command in [named] if named else COMPILERS:
        parts = shlex.split(command)
        if found := shutil.which(parts[0]):
            return shlex.join([found, *parts[1:]])
    raise BuildError(f"no C++ compiler ({named or ', '.join(COMPILERS)})")


def key(compiler: str, sources: list[Path], flags: Sequence[str]) -> str:
    """Hash of what a library depends on; two that share it are interchangeable."""
    executable = Path(shlex.split(compiler)[0]).resolve()
    digest = hashlib.sha256(f"{compiler}\0{executable}\0{executable.stat().st_mtime_ns}".encode())
    digest.update("\0".join((*flags, _processor())).encode())
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _processor() -> str:
    """What "native" means here."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    features = [line for line in lines if line.lower().startswith(("flags", "features"))]
    return f"{platform.machine()} {platform.processor()} {features[:1]}"


def _run_ninja(
    work: Path, compiler: str, sources: list[Path], target: str, flags: Sequence[str]
) -> None:
    plan = RULES.format(
        compiler=_escape(compiler),
        flags=" ".join(flags),
        target=target,
        sources=" ".join(_escape(str(source), spaces=True) for source in sources),
    )
    (work / "build.ninja").write_text(plan, encoding="utf-8")
    try:
        done = subprocess.run(
            [_find_ninja(), "-C", str(work)], capture_output=True, text=True, check=False
        )
    except OSError as e:
        raise BuildError(f"ninja does not run: {e}") from e
    if done.returncode or not (work / target).is_file():
        lines = (done.stdout + done.stderr).splitlines()
        telling = [line for line in lines if " error: " in line] or lines or ["no output"]
        raise BuildError(f"the compiler failed: {telling[0].strip()}")


def _find_ninja() -> str:
    try:
        import ninja
    except ImportError:
        found = shutil.which("ninja")
    else:
        found = shutil.which("ninja", path=ninja.BIN_DIR) or shutil.which("ninja")
    if found is None:
        raise BuildError("no ninja: `pip install ninja`")
    return found


def _escape(text: str, *, spaces: bool = False) -> str:
    """A text as ninja's files want it."""
    text = text.replace("$", "$$")
    return text.replace(" ", "$ ").replace(":", "$:") if spaces else text
