"""Files of models: which there are, and fetching them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ris.choices import FileState
from ris.door.model_settings import PathLike

if TYPE_CHECKING:
    from ris.data.models import registry


@dataclass(frozen=True)
class ModelEntry:
    """A file that other people made.

    Attributes:
        name: of the model.
        purpose: what it does here.
        licence: its terms.
        author: who made it.
        source: where it comes from.
        origin: kind of the package that has it: ``wheel`` or ``npm``.
        package: name and version of the package, ``name==version``.
        optional: fetched only when it is named or needed.
        state: ``present``, ``missing`` or ``damaged``.
        folder: where it lies once it is fetched.
    """

    name: str
    purpose: str
    licence: str
    author: str
    source: str
    origin: str
    package: str
    optional: bool
    state: FileState
    folder: Path

    def to_dict(self) -> dict[str, Any]:
        """An entry of what ``ris models --json`` prints."""
        names = ("name", "purpose", "licence", "author", "source")
        return {
            **{name: getattr(self, name) for name in names},
            self.origin: self.package,
            "optional": self.optional,
            "state": self.state,
        }


def models(*names: str) -> list[ModelEntry]:
    """The model files, all or those that are named, with origin, licence and state.

    Raises:
        ModelFileError: no model is called so.

    Example:
        >>> [model.name for model in ris.models() if "generator" in model.purpose]
        ['mobilestylegan-ffhq']
    """
    from ris.data.models.registry import model_file, registry

    return [_entry(model) for model in [model_file(n) for n in names] or registry().values()]


def pull(*names: str, force: bool = False) -> list[ModelEntry]:
    """Fetches model files into the cache folder, as is also done when one is first needed.

    Args:
        names: of models; by default all that are not optional.
        force: check the files that are there, and fetch wrong ones again.

    Raises:
        ModelFileError: no model is called so, it cannot be fetched, or the cache not be written.

    Example:
        >>> ris.pull("mobilestylegan-ffhq")[0].state
        'present'
    """
    from ris.data.models.registry import model_file, registry
    from ris.data.models.registry import pull as fetch

    wanted = [model_file(n) for n in names] or [m for m in registry().values() if not m.optional]
    entries = []
    for model in wanted:
        fetch(model, force=force)
        entries.append(_entry(model))
    return entries


def models_folder() -> Path:
    """Where model files are kept: ``models`` in ``$RIS_CACHE`` or the user's cache folder."""
    from ris.data.models import registry

    return registry.models_folder()


@dataclass(frozen=True)
class Converted:
    """A generator's file that was written in another form.

    Attributes:
        file: that was written.
        generator: fingerprint of the generator; it is that of the source.
        size: pixels of its pictures.
        widths: channels by resolution.
        mapping_layers: of the mapping network.
    """

    file: Path
    generator: str
    size: int
    widths: Any
    mapping_layers: int

    def to_dict(self) -> dict[str, Any]:
        """What ``ris models convert --json`` prints."""
        return {**vars(self), "file": str(self.file)}


def convert(source: PathLike, target: PathLike) -> Converted:
    """Writes a StyleGAN2's file in another form.

    Args:
        source: .pt, .pkl or .safetensors.
        target: .pt (as rosinality's program writes them) or .safetensors.

    Raises:
        ModelFileError: the source cannot be used, or the target is of another form.
        StoreError: the target cannot be written.
    """
    from ris.data.models.stylegan2_files import convert as write

    return Converted(**write(Path(source), Path(target)))


def _entry(model: registry.ModelFile) -> ModelEntry:
    from ris.data.models.registry import state

    return ModelEntry(
        name=model.name,
        purpose=model.purpose,
        licence=model.licence,
        author=model.author,
        source=model.source,
        origin=model.origin,
        package=f"{model.package}=={model.version}",
        optional=model.optional,
        state=state(model),
        folder=model.folder,
    )
