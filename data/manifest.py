"""The store's manifest: what the rows were made with and which shards are committed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path

from data.durable import replacing
from ris.errors import MismatchError, StoreError
from ris.layout import StyleLayer, StyleLayout

FORMAT = 2
FILE = "manifest.json"
MAX_RESOLUTION = 64
"""Widest activation in the scores unless told otherwise: wider ones find no more (docs/results.md)
and cost as much again for every doubling."""


@dataclass(frozen=True)
class StoreSettings:
    """Everything that changes the vectors of a row; one store holds rows of one kind.

    Attributes:
        generator: fingerprint of the generator (architecture and weights).
        generator_name: its name for people.
        catalogue: fingerprint of the feature catalogue behind the contribution scores.
        classes: class names of the scores, in order.
        layers: the generator's style layers, so that rows can be read without the generator.
        max_resolution: highest activation width in the scores; None for all.
        instance_norm: whether activations were instance-normalised before Eq. 1.
        latent_rows: rows L of a W+ code.
        latent_size: length of one row.
    """

    generator: str
    generator_name: str
    catalogue: str
    classes: tuple[str, ...]
    layers: tuple[StyleLayer, ...]
    max_resolution: int | None
    instance_norm: bool
    latent_rows: int
    latent_size: int

    @cached_property
    def layout(self) -> StyleLayout:
        """Style layout of the whole sigma (C channels)."""
        return StyleLayout(self.layers, self.latent_rows)

    @cached_property
    def covered(self) -> StyleLayout:
        """Style layout of the C' leading channels that have contribution scores."""
        return self.layout.up_to(self.max_resolution)

    def check(self, other: StoreSettings, store: Path) -> None:
        """Fails unless rows made with `other` may join a store made with these settings.

        Raises:
            MismatchError: names the first difference, both sides and what to do.
        """
        for f in fields(self):
            ours, theirs = getattr(self, f.name), getattr(other, f.name)
            if ours != theirs:
                raise MismatchError(
                    f"{store} was made with {f.name.replace('_', ' ')} {_short(ours)}, "
                    f"this run has {_short(theirs)}: give the store's setting, "
                    "or another store with --store"
                )


def _short(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class Shard:
    """One committed Parquet file of rows."""

    file: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The content of ``manifest.json``; a shard that is not listed does not exist."""

    settings: StoreSettings
    shards: tuple[Shard, ...] = ()
    next_shard: int = 0
    """Number of the next shard file; never reused, so that a file name means one content."""
    generator_file: str | None = None
    """Where the generator's weights were last found, if they do not ship: a path as the store
    keeps paths. No setting: the file may move, its fingerprint counts."""
    inverter_file: str | None = None
    """Likewise the encoder's."""
    format: int = field(default=FORMAT)

    @property
    def rows(self) -> int:
        """Number of faces in the store."""
        return sum(shard.rows for shard in self.shards)

    @property
    def state(self) -> str:
        """Hash of the settings and of every committed shard: two equal states, equal rows."""
        text = json.dumps([asdict(self.settings), sorted(s.sha256 for s in self.shards)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def write(self, folder: Path) -> None:
        """Commits this manifest; see `data.durable.replacing` for the order."""
        with replacing(folder / FILE) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The committed manifest of a store.

        Raises:
            StoreError: none there, damaged, or of a newer version.
        """
        path = folder / FILE
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            if raw["format"] != FORMAT:
                raise StoreError(
                    f"{folder} has store format {raw['format']}, this version of ris reads "
                    f"{FORMAT}: use the version of ris that made it, or ingest the photos anew "
                    "into another store (--store)"
                )
            settings = raw["settings"]
            settings["classes"] = tuple(settings["classes"])
            settings["layers"] = tuple(StyleLayer(**layer) for layer in settings["layers"])
            return cls(
                settings=StoreSettings(**settings),
                shards=tuple(Shard(**shard) for shard in raw["shards"]),
                next_shard=int(raw["next_shard"]),
                generator_file=raw.get("generator_file"),
                inverter_file=raw.get("inverter_file"),
            )
        except FileNotFoundError as e:
            raise StoreError(f"{folder} is not a ris store: run `ris ingest FOLDER` first") from e
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise StoreError(
                f"{path} is damaged or not a ris manifest ({type(e).__name__}: {e})"
            ) from e
