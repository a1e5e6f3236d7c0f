"""What a run needs loaded: generator, catalogue, inverter; each on first use, once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ris.choices import Device
from ris.data.manifest import FILE as MANIFEST
from ris.data.manifest import MAX_RESOLUTION
from ris.data.models.shipped import (
    CATALOGUE_FILE,
    DEFAULT_GENERATOR,
    catalogue_beside,
    load_catalogue,
    load_generator,
)
from ris.data.store import Store
from ris.errors import InputError, MismatchError, ModelFileError
from ris.once import once

if TYPE_CHECKING:
    from ris.generators.generator import Generator
    from ris.ingest.alignment.cut import Aligned, Aligner, Faces
    from ris.ingest.embedding import Embedder, Engine
    from ris.ingest.inversion.inverters import InverterKind
    from ris.ingest.inversion.optimisation import Inverter
    from ris.method.catalogue import FeatureCatalogue


@dataclass
class Session:
    """Settings of a run and the models behind them, which any number of threads may share.

    Attributes:
        generator_name: which generator, where it ships.
        generator_file: weights of another one, see `ris.data.models.stylegan2_files`.
        expected_generator: fingerprint of the store's generator, which it must have.
        catalogue_path: a catalogue's file; None for the generator's own.
        max_resolution: widest activation in the scores; None for all.
        instance_norm: see `ris.method.contribution.class_energy`.
        inverter_kind: how photos become codes; None: by the encoder, unless `following` finds
            something else.
        inverter_file: a pSp or e4e checkpoint that does it instead.
        refine: steps of optimisation, see `ris.ingest.inversion.inverters.make_inverter`.
        engine: what computes the scores, see `ris.ingest.embedding.Engine`.
        aligned: whether photos are face crops, see `ris.ingest.alignment.cut.Aligner`.
        faces: take the largest face of each photo, or all.
        device: where the networks run, see `ris.choices.Device`.
    """

    generator_name: str = DEFAULT_GENERATOR
    generator_file: Path | None = None
    expected_generator: str | None = None
    catalogue_path: Path | None = None
    max_resolution: int | None = MAX_RESOLUTION
    instance_norm: bool = True
    inverter_kind: InverterKind | None = None
    refine: int | None = None
    inverter_file: Path | None = None
    engine: Engine = "auto"
    aligned: Aligned = "auto"
    faces: Faces = "largest"
    device: Device = "auto"

    @classmethod
    def of_store(
        cls,
        store: Store,
        aligned: Aligned = "auto",
        generator_file: Path | None = None,
        inverter_file: Path | None = None,
        device: Device = "auto",
    ) -> Session:
        """The session that reads further photos as the rows of a store were read.

        Args:
            store: the store.
            aligned: see `Session`.
            generator_file: the store's generator, where it is not found any more.
            inverter_file: likewise the checkpoint that its faces were inverted by.
            device: see `Session`.
        """
        session = cls(
            generator_name=store.settings.generator_name,
            generator_file=generator_file,
            inverter_file=inverter_file,
            max_resolution=store.settings.max_resolution,
            instance_norm=store.settings.instance_norm,
            aligned=aligned,
            device=device,
        )
        return session.at(store.folder).following(store)

    def at(self, folder: Path) -> Session:
        """This session with what is known at a store's folder, whether there is a store yet or
        not: its generator and its catalogue, or the catalogue that lies beside it."""
        other = copy.copy(self)
        store = Store(folder) if (folder / MANIFEST).is_file() else None
        if store is not None:
            other.generator_file = self.generator_file or store.generator_file()
            other.expected_generator = store.settings.generator
            if self.inverter_kind is None and self.refine is None:
                other.inverter_file = self.inverter_file or store.inverter_file()
        if self.catalogue_path is None:
            own = folder / CATALOGUE_FILE
            if not own.exists() and other.generator_file is not None:
                own = catalogue_beside(folder, other.generator)
            other.catalogue_path = own if own.exists() else None
        return other

    def following(self, store: Store) -> Session:
        """This session, or one that shares its models but inverts as most faces of a store were
        inverted, where no inverter was chosen."""
        from ris.ingest.inversion.inverters import options_of

        chosen = (self.inverter_kind, self.refine, self.inverter_file)
        if any(option is not None for option in chosen):
            return self
        kind, refine = options_of(next(iter(store.inverters()), ""))
        if (kind, refine) == ("encoder", None):
            return self
        other = copy.copy(self)
        other.__dict__.pop("_inverter", None)
        other.inverter_kind, other.refine = kind, refine
        return other

    def check_files(self) -> None:
        """Looks whether the files that are named are there, before anything is loaded.

        Raises:
            ModelFileError: one is not.
            InputError: a negative number of steps.
        """
        if self.refine is not None and self.refine < 0:
            raise InputError(f"--refine takes 0 or more steps, not {self.refine}")
        named = (
            ("generator file", self.generator_file, "name it with --generator"),
            ("encoder file", self.inverter_file, "name it with --inverter"),
            (
                "feature catalogue",
                self.catalogue_path,
                "fit one with `ris catalog fit` and name it with --catalog",
            ),
        )
        for what, path, advice in named:
            if path is not None and not path.is_file():
                raise ModelFileError(f"no {what} {path}: {advice}")

    @once
    def generator(self) -> Generator:
        """The face generator.

        Raises:
            ModelFileError: its file is gone or damaged.
            MismatchError: it is not the store's.
        """
        if self.generator_file is not None and not self.generator_file.is_file():
            raise ModelFileError(
                f"no generator file {self.generator_file}: name it with --generator"
            )
        found = load_generator(self.generator_file or self.generator_name, device=self.device)
        if self.expected_generator not in (None, found.fingerprint):
            raise MismatchError(
                f"the store's faces are of generator {self.expected_generator}, "
                f"{self.generator_file or self.generator_name} is {found.fingerprint}: name the "
                "store's with --generator, or another store with --store"
            )
        return found

    @once
    def catalogue(self) -> FeatureCatalogue:
        """The feature catalogue of the generator."""
        return load_catalogue(self.generator, self.catalogue_path)

    @once
    def _aligner(self) -> Aligner:
        from ris.ingest.alignment.cut import Aligner

        return Aligner(self.aligned, self.faces)

    def aligner(self) -> Aligner:
        """What finds faces in photos and cuts them out."""
        return self._aligner

    def embedder(self) -> Embedder:
        """Codes to sigma and scores."""
        from ris.ingest.embedding import Embedder

        return Embedder(
            self.generator,
            self.catalogue,
            self.max_resolution,
            self.instance_norm,
            self.engine,
        )

    @once
    def _inverter(self) -> Inverter:
        from ris.ingest.inversion.inverters import make_inverter

        kind = self.inverter_kind or "encoder"
        return make_inverter(self.generator, kind, self.refine, self.inverter_file)

    def inverter(self) -> Inverter:
        """The inverter for photos."""
        return self._inverter
