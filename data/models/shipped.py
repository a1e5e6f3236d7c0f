"""What the program loads: the generator from model files, the assets that ship with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ris.choices import Device
from ris.data.models.asset_files import asset_path, load_tensors
from ris.data.models.registry import model_file, pull
from ris.devices import torch_device
from ris.errors import ModelFileError

if TYPE_CHECKING:
    import torch

    from ris.generators.generator import Generator
    from ris.generators.mobilestylegan import MobileStyleGAN
    from ris.method.catalogue import FeatureCatalogue

DEFAULT_GENERATOR = "mobilestylegan-ffhq"
CATALOGUE_FILE = "catalogue.safetensors"
"""A store whose catalogue is not the shipped one keeps a copy under this name."""


def catalogue_beside(folder: Path, generator: Generator) -> Path:
    """Where `ris catalog fit` puts the catalogue of a generator that does not ship: beside the
    store's folder."""
    return folder.absolute().parent / f"catalogue-{generator.fingerprint}.safetensors"


def load_generator(
    name: str | Path | None = None, *, device: Device | torch.device = "cpu"
) -> Generator:
    """The generator called `name`, whose files are pulled on first need, or that of a file of
    StyleGAN2 weights.

    Args:
        name: a name, a file, or None for the generator that ships.
        device: where its weights are put, and everything is computed that is made with it.

    Raises:
        ModelFileError: unknown name, or its files cannot be fetched or read.
        InputError: no such device here.
    """
    place = torch_device(device) if isinstance(device, str) else device
    if isinstance(name, Path):
        from ris.data.models.stylegan2_files import load_stylegan2

        return load_stylegan2(name).to(place)
    return _load_shipped(name or DEFAULT_GENERATOR).to(place)


def _load_shipped(name: str) -> MobileStyleGAN:
    from ris.data.models.openvino_ir import mobilestylegan_weights
    from ris.generators.mobilestylegan import MobileStyleGAN

    if name != DEFAULT_GENERATOR:
        raise ModelFileError(
            f"generator {name!r} does not come with ris", "name its file with `generator`"
        )
    model = model_file(name)
    pull(model)
    try:
        weights = mobilestylegan_weights(
            model.path("MappingNetwork.xml"), model.path("SynthesisNetwork.xml")
        )
        return MobileStyleGAN(weights)
    except (ValueError, KeyError) as e:
        raise ModelFileError(
            f"the files of {name} are damaged ({e})", "run `ris.pull(force=True)`"
        ) from e


def load_catalogue(generator: Generator, path: Path | None = None) -> FeatureCatalogue:
    """The feature catalogue at `path`, by default the shipped one of the generator.

    Raises:
        ModelFileError: there is none.
        MismatchError: it was fitted on another generator.
    """
    from ris.method.catalogue import FeatureCatalogue

    source = path or asset_path(f"catalogue-{generator.name}.safetensors")
    if path is None and not source.is_file():
        raise ModelFileError(
            f"no feature catalogue for generator {generator.fingerprint}",
            "make one with `ris.fit_catalogue(generator=file)`",
        )
    if not source.is_file():
        raise ModelFileError(
            f"no feature catalogue {source}",
            "fit one with `ris.fit_catalogue` and name it with `catalogue`",
        )
    tensors, metadata = load_tensors(source)
    try:
        catalogue = FeatureCatalogue.from_tensors(tensors, metadata)
    except (ValueError, KeyError, TypeError, RuntimeError) as e:
        raise ModelFileError(f"{source} is no feature catalogue, or damaged: {e}") from e
    catalogue.check(generator)
    return catalogue
