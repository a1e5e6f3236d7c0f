"""What a run needs loaded: generator, catalogue, inverter; each on first use, once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from data.assets import DEFAULT_GENERATOR, load_catalogue, load_generator
from ingest.embedding import MAX_RESOLUTION, Embedder

if TYPE_CHECKING:
    from data.store import Store
    from ingest.alignment.cut import Aligned, Aligner, Faces
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
        inverter_kind: how photos become codes; None: by the encoder, unless `following` finds
            something else.
        refine: steps of optimisation, see `ingest.inverters.make_inverter`.
        aligned: whether photos are face crops, see `ingest.alignment.cut.Aligner`.
        faces: take the largest face of each photo, or all.
    """

    generator_name: str = DEFAULT_GENERATOR
    catalogue_path: Path | None = None
    max_resolution: int | None = MAX_RESOLUTION
    instance_norm: bool = True
    inverter_kind: InverterKind | None = None
    refine: int | None = None
    aligned: Aligned = "auto"
    faces: Faces = "largest"

    @classmethod
    def of_store(cls, store: Store, aligned: Aligned = "auto") -> Session:
        """The session that reads further photos as the rows of a store were read."""
        own = store.folder / CATALOGUE_FILE
        return cls(
            generator_name=store.settings.generator_name,
            catalogue_path=own if own.exists() else None,
            max_resolution=store.settings.max_resolution,
            instance_norm=store.settings.instance_norm,
            aligned=aligned,
        ).following(store)

    def following(self, store: Store) -> Session:
        """This session, or one that shares its models but inverts as most faces of a store were
        inverted, where no inverter was chosen."""
        from ingest.inverters import options_of

        if self.inverter_kind is not None or self.refine is not None:
            return self
        kind, refine = options_of(next(iter(store.inverters()), ""))
        if (kind, refine) == ("encoder", None):
            return self
        other = copy.copy(self)
        other.__dict__.pop("_inverter", None)
        other.inverter_kind, other.refine = kind, refine
        return other

    @cached_property
    def generator(self) -> Generator:
        """The face generator."""
        return load_generator(self.generator_name)

    @cached_property
    def catalogue(self) -> FeatureCatalogue:
        """The feature catalogue of the generator."""
        return load_catalogue(self.generator, self.catalogue_path)

    @cached_property
    def _aligner(self) -> Aligner:
        from ingest.alignment.cut import Aligner

        return Aligner(self.aligned, self.faces)

    def aligner(self) -> Aligner:
        """What finds faces in photos and cuts them out."""
        return self._aligner

    def embedder(self) -> Embedder:
        """Codes to sigma and scores."""
        return Embedder(self.generator, self.catalogue, self.max_resolution, self.instance_norm)

    @cached_property
    def _inverter(self) -> Inverter:
        from ingest.inverters import make_inverter

        return make_inverter(self.generator, self.inverter_kind or "encoder", self.refine)

    def inverter(self) -> Inverter:
        """The inverter for photos."""
        return self._inverter
