"""What a run needs loaded: generator, catalogue, inverter; each on first use, once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from data.assets import DEFAULT_GENERATOR, load_catalogue, load_generator
from ingest.embedding import MAX_RESOLUTION, Embedder

if TYPE_CHECKING:
    from data.store import Store
    from ingest.inversion import Inverter
    from ingest.inverters import InverterKind
    from ris.catalogue import FeatureCatalogue
    from ris.generators.protocol import Generator

CATALOGUE_FILE = "catalogue.safetensors"
"""A store whose catalogue is not the shipped one keeps a copy under this name."""


@dataclass
class Session:
    """Settings of a run and the models behind them.

    Attributes:
        generator_name: which generator.
        catalogue_path: a catalogue's file; None for the shipped one.
        max_resolution: widest activation in the scores; None for all.
        instance_norm: see `ris.contribution.class_energy`.
        inverter_kind: how photos become codes.
        refine: steps of optimisation, see `ingest.inverters.make_inverter`.
    """

    generator_name: str = DEFAULT_GENERATOR
    catalogue_path: Path | None = None
    max_resolution: int | None = MAX_RESOLUTION
    instance_norm: bool = True
    inverter_kind: InverterKind = "encoder"
    refine: int | None = None

    @classmethod
    def of_store(cls, store: Store) -> Session:
        """The session that reads further photos as the rows of a store were read."""
        from data.inspect import inverters
        from ingest.inverters import options_of

        own = store.folder / CATALOGUE_FILE
        kind, refine = options_of(next(iter(inverters(store)), ""))
        return cls(
            generator_name=store.settings.generator_name,
            catalogue_path=own if own.exists() else None,
            max_resolution=store.settings.max_resolution,
            instance_norm=store.settings.instance_norm,
            inverter_kind=kind,
            refine=refine,
        )

    @cached_property
    def generator(self) -> Generator:
        """The face generator."""
        return load_generator(self.generator_name)

    @cached_property
    def catalogue(self) -> FeatureCatalogue:
        """The feature catalogue of the generator."""
        return load_catalogue(self.generator, self.catalogue_path)

    def embedder(self) -> Embedder:
        """Codes to sigma and scores."""
        return Embedder(self.generator, self.catalogue, self.max_resolution, self.instance_norm)

    @cached_property
    def _inverter(self) -> Inverter:
        from ingest.inverters import make_inverter

        return make_inverter(self.generator, self.inverter_kind, self.refine)

    def inverter(self) -> Inverter:
        """The inverter for photos."""
        return self._inverter
