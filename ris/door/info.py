"""Numbers and settings of a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class IndexInfo:
    """An index that there is.

    Attributes:
        kind: of the index.
        rows: faces in it, removed ones included.
        bytes: of its files.
        current: whether it was made from the faces that there are now.
    """

    kind: str
    rows: int
    bytes: int
    current: bool


@dataclass(frozen=True)
class Info:
    """Numbers and settings of a collection.

    Attributes:
        store: its folder.
        faces: number of faces.
        failures: number of photos that gave none.
        generator: fingerprint of the generator.
        generator_file: where its weights were last found; None where they ship.
        inverter_file: likewise the encoder's.
        catalogue: fingerprint of the feature catalogue.
        style_channels: length of sigma, C.
        covered_channels: channels that the scores cover, C'.
        max_resolution: widest activation in the scores, pixels; None for all.
        features: that can be searched by.
        inverters: number of faces by what gave their latents, without given ones.
        indices: by feature.
        shards: number of files of faces.
        bytes: of all files.
    """

    store: Path
    faces: int
    failures: int
    generator: str
    generator_file: Path | None
    inverter_file: Path | None
    catalogue: str
    style_channels: int
    covered_channels: int
    max_resolution: int | None
    features: Sequence[str]
    inverters: Mapping[str, int]
    indices: Mapping[str, IndexInfo]
    shards: int
    bytes: int

    def __len__(self) -> int:
        return self.faces

    def __bool__(self) -> bool:
        return True

    def to_dict(self) -> dict[str, Any]:
        """What ``ris info --json`` prints."""
        found: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("generator_file", "inverter_file"):
            if found[name] is None:
                del found[name]
            else:
                found[name] = str(found[name])
        indices = {feature: dict(vars(index)) for feature, index in self.indices.items()}
        return found | {
            "store": str(self.store),
            "features": list(self.features),
            "inverters": dict(self.inverters),
            "indices": indices,
        }


def info_of(facts: Mapping[str, Any]) -> Info:
    """From what `ris.data.inspect.summary` says."""
    files = {
        name: Path(facts[name]) if name in facts else None
        for name in ("generator_file", "inverter_file")
    }
    own = {
        "store": Path(facts["store"]),
        "features": tuple(facts["features"]),
        "indices": {name: IndexInfo(**entry) for name, entry in facts["indices"].items()},
    }
    return Info(**{**facts, **files, **own})
