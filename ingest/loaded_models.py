"""The models that a run needs, and the settings that say which: generator, catalogue, inverter."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ris.choices import MAX_RESOLUTION, Aligned, Device, Engine, Faces, InverterName
from ris.data.manifest import FILE as MANIFEST
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
    from ris.ingest.alignment.cut import Aligner
    from ris.ingest.embedding import Embedder
    from ris.ingest.inversion.contract import Inverter
    from ris.method.catalogue import FeatureCatalogue

_GENERATOR = frozenset({"generator_name", "generator_file", "device"})
_CATALOGUE = _GENERATOR | {"catalogue_path"}
_MADE_OF = {
    "_generator": _GENERATOR,
    "catalogue": _CATALOGUE,
    "aligner": frozenset({"aligned", "faces"}),
    "embedder": _CATALOGUE | {"max_resolution", "instance_norm", "engine"},
    "inverter": _GENERATOR | {"inverter_kind", "refine", "inverter_file"},
}
"""The settings that each member goes by: while they stay, it can be shared."""


@dataclass(frozen=True)
class Models:
    """Settings of a run, and the models behind them: each loaded on first use, once.

    Any number of threads may share one. Nothing of it changes: other settings are another
    `Models` (`with_settings`), which shares what is loaded already and does not depend on them.

    Attributes:
        generator_name: which generator, where it ships.
        generator_file: weights of another one, see `ris.data.models.stylegan2_files`.
        expected_generator: fingerprint of the store's generator, which it must have.
        catalogue_path: a catalogue's file; None for the generator's own.
        max_resolution: widest activation in the scores; None for all.
        instance_norm: see `ris.method.contribution.class_energy`.
        inverter_kind: how photos become codes; None: as a store's faces (`at`), or else by the
            encoder.
        inverter_file: a pSp or e4e checkpoint that does it instead.
        refine: steps of optimisation, see `ris.ingest.inversion.inverters.make_inverter`.
        engine: what computes the scores, see `ris.choices.Engine`.
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
    inverter_kind: InverterName | None = None
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
    ) -> Models:
        """The models that read further photos as the rows of a store were read.

        Args:
            store: the store.
            aligned: see `Models`.
            generator_file: the store's generator, where it is not found any more.
            inverter_file: likewise the checkpoint that its faces were inverted by.
            device: see `Models`.
        """
        models = cls(
            generator_name=store.settings.generator_name,
            generator_file=generator_file,
            inverter_file=inverter_file,
            max_resolution=store.settings.max_resolution,
            instance_norm=store.settings.instance_norm,
            aligned=aligned,
            device=device,
        )
        return models.at(store.folder)

    def with_settings(self, **changes: Any) -> Models:
        """These models under other settings; what does not depend on them stays loaded.

        Args:
            changes: attributes and their new values.
        """
        changed = {name for name, value in changes.items() if value != getattr(self, name)}
        if not changed:
            return self
        other = dataclasses.replace(self, **changes)
        loaded = dict(vars(self))  # other threads may be adding to it
        for member, settings in _MADE_OF.items():
            if member in loaded and not settings & changed:
                vars(other)[member] = loaded[member]
        return other

    def at(self, folder: Path) -> Models:
        """These models with what is known at a store's folder, whether there is a store yet or
        not: its generator, its catalogue or the one that lies beside it, and, where no inverter
        was chosen, what inverted most of its faces."""
        found = self
        if (folder / MANIFEST).is_file():
            store = Store(folder)
            found = found.with_settings(
                generator_file=self.generator_file or store.generator_file(),
                expected_generator=store.settings.generator,
                **self._inverter_of(store),
            )
        if self.catalogue_path is None:
            own = folder / CATALOGUE_FILE
            if not own.exists() and found.generator_file is not None:
                own = catalogue_beside(folder, found.generator)
            found = found.with_settings(catalogue_path=own if own.exists() else None)
        return found

    def _inverter_of(self, store: Store) -> dict[str, Any]:
        """The settings by which most faces of a store were inverted; none if one was chosen."""
        from ris.ingest.inversion.inverters import options_of

        chosen = (self.inverter_kind, self.refine, self.inverter_file)
        if any(option is not None for option in chosen):
            return {}
        if (file := store.inverter_file()) is not None:
            return {"inverter_file": file}
        kind, refine = options_of(next(iter(store.inverters()), ""))
        if (kind, refine) == ("encoder", None):
            return {}
        return {"inverter_kind": kind, "refine": refine}

    def check_files(self) -> None:
        """Looks whether the files that are named are there, before anything is loaded.

        Raises:
            ModelFileError: one is not.
            InputError: a negative number of steps.
        """
        if self.refine is not None and self.refine < 0:
            raise InputError(f"`refine` takes 0 or more steps, not {self.refine}")
        named = (
            ("generator file", self.generator_file, "name it with `generator`"),
            ("encoder file", self.inverter_file, "name it with `inverter`"),
            (
                "feature catalogue",
                self.catalogue_path,
                "fit one with `ris.fit_catalogue` and name it with `catalogue`",
            ),
        )
        for what, path, advice in named:
            if path is not None and not path.is_file():
                raise ModelFileError(f"no {what} {path}", advice)

    @property
    def generator(self) -> Generator:
        """The face generator.

        Raises:
            ModelFileError: its file is gone or damaged.
            MismatchError: it is not the store's.
        """
        found = self._generator
        if self.expected_generator not in (None, found.fingerprint):
            raise MismatchError(
                f"the store's faces are of generator {self.expected_generator}, "
                f"{self.generator_file or self.generator_name} is {found.fingerprint}",
                "name the store's with `generator`, or another store with `ris.open`",
            )
        return found

    @once
    def _generator(self) -> Generator:
        if self.generator_file is not None and not self.generator_file.is_file():
            raise ModelFileError(
                f"no generator file {self.generator_file}", "name it with `generator`"
            )
        return load_generator(self.generator_file or self.generator_name, device=self.device)

    @once
    def catalogue(self) -> FeatureCatalogue:
        """The feature catalogue of the generator."""
        return load_catalogue(self.generator, self.catalogue_path)

    @once
    def aligner(self) -> Aligner:
        """What finds faces in photos and cuts them out."""
        from ris.ingest.alignment.cut import Aligner

        return Aligner(self.aligned, self.faces)

    @once
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
    def inverter(self) -> Inverter:
        """The inverter for photos."""
        from ris.ingest.inversion.inverters import make_inverter

        kind = self.inverter_kind or "encoder"
        return make_inverter(self.generator, kind, self.refine, self.inverter_file)
