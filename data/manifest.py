"""The store's manifest: what the rows were made with and which shards are committed.

The file is JSON with a checksum over all of its values (``checksum``, SHA-256 of the rest with
sorted keys and no blanks), and every value is checked when it is read: names that it gives are
names of shards and nothing else. Format 2, of earlier versions, had no checksum; it is read and
becomes format 3 with the next commit.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ris.data import values
from ris.data.durable import listed, of_surroundings, replacing, unreadable
from ris.errors import MismatchError, StoreError
from ris.fingerprints import text_digest
from ris.method.layout import StyleLayer, StyleLayout

FORMAT = 3
UNCHECKED = 2
"""The format without a checksum."""
FILE = "manifest.json"
SHARD_NAME = re.compile(r"part-([0-9]{5,12})\.parquet")
MOST = 1 << 20
"""More channels, rows or pixels than any network has."""
RECOVER = "`ris.recover` makes it anew from the shards"


class LostManifestError(StoreError):
    """A store whose manifest is gone or damaged."""


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

    @classmethod
    def from_json(cls, value: Any) -> StoreSettings:
        """The settings in JSON values, as `dataclasses.asdict` gives them.

        Raises:
            ValueError: a value that settings cannot have.
        """
        given = values.members(value, "settings", [f.name for f in fields(cls)])
        classes = [
            values.text(name, "a class") for name in values.items(given["classes"], "classes")
        ]
        if not classes or len(set(classes)) < len(classes):
            raise ValueError("settings name no class, or one twice")
        resolution = given["max_resolution"]
        settings = cls(
            generator=values.text(given["generator"], "generator"),
            generator_name=values.text(given["generator_name"], "generator_name"),
            catalogue=values.text(given["catalogue"], "catalogue"),
            classes=tuple(classes),
            layers=tuple(_layer(layer) for layer in values.items(given["layers"], "layers")),
            max_resolution=None
            if resolution is None
            else values.whole(resolution, "max_resolution", 1),
            instance_norm=values.truth(given["instance_norm"], "instance_norm"),
            latent_rows=values.whole(given["latent_rows"], "latent_rows", 1, MOST),
            latent_size=values.whole(given["latent_size"], "latent_size", 1, MOST),
        )
        _ = settings.covered  # both layouts check what they are made of
        return settings

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
                    f"this run has {_short(theirs)}",
                    "give the store's setting, or another store with `ris.create`",
                )


def _short(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _layer(value: Any) -> StyleLayer:
    needed = [f.name for f in fields(StyleLayer) if f.default is MISSING]
    given = values.members(value, "a layer", needed, [f.name for f in fields(StyleLayer)])
    return StyleLayer(
        name=values.text(given["name"], "a layer's name"),
        channels=values.whole(given["channels"], "a layer's channels", 1, MOST),
        resolution=values.whole(given["resolution"], "a layer's resolution", 1, MOST),
        row=values.whole(given["row"], "a layer's row", 0, MOST),
        to_image=values.truth(given.get("to_image", False), "to_image"),
        early=values.truth(given.get("early", False), "early"),
    )


@dataclass(frozen=True)
class Shard:
    """One committed Parquet file of rows.

    Attributes:
        file: its name.
        rows: number of rows.
        bytes: its size.
        sha256: of the file.
        keys: sum of the rows' keys (`ris.data.row_keys`); empty where an earlier version wrote it.
    """

    file: str
    rows: int
    bytes: int
    sha256: str
    keys: str = ""

    @property
    def number(self) -> int:
        """The number in its name."""
        return shard_number(self.file)

    @classmethod
    def from_json(cls, value: Any) -> Shard:
        """A shard in JSON values; ValueError if it is none, or its name is not a shard's."""
        needed = [f.name for f in fields(cls) if f.default is MISSING]
        given = values.members(value, "a shard", needed, [f.name for f in fields(cls)])
        keys = values.text(given.get("keys", ""), "keys", empty=True)
        if not re.fullmatch(r"[0-9a-f]{16}|", keys):
            raise ValueError(f"keys is {values.short(keys)}")
        shard_number(given["file"])
        if not re.fullmatch(r"[0-9a-f]{64}", values.text(given["sha256"], "sha256")):
            raise ValueError(f"sha256 is {values.short(given['sha256'])}")
        return cls(
            file=given["file"],
            rows=values.whole(given["rows"], "rows", 1),
            bytes=values.whole(given["bytes"], "bytes", 1),
            sha256=given["sha256"],
            keys=keys,
        )


def shard_name(number: int) -> str:
    """Name of the shard of a number."""
    return f"part-{number:05d}.parquet"


def shard_number(name: Any) -> int:
    """The inverse of `shard_name`; ValueError for a name that is no shard's."""
    found = SHARD_NAME.fullmatch(values.text(name, "a shard's name"))
    if not found or shard_name(int(found[1])) != name:
        raise ValueError(f"a shard's name is {values.short(name)}")
    return int(found[1])


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

    @cached_property
    def state(self) -> str:
        """Hash of the settings and of every committed shard: two equal states, equal files."""
        text = json.dumps([asdict(self.settings), sorted(s.sha256 for s in self.shards)])
        return text_digest(text)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that the file says: two equal digests, one manifest."""
        return _checksum(_plain(self))

    @cached_property
    def content(self) -> str:
        """What an index is made from, as one text: equal wherever the settings, the ids and the
        vectors of all rows are equal, whatever the shards, paths and times. Of a store with
        shards of an earlier version it is another one for other files too."""
        total = sum(int(s.keys, 16) for s in self.shards if s.keys) % 2**64
        older = sorted(s.sha256 for s in self.shards if not s.keys)
        text = json.dumps([asdict(self.settings), self.rows, total, older])
        return text_digest(text)

    def write(self, folder: Path) -> None:
        """Commits this manifest; see `ris.data.durable.replacing` for the order."""
        text = json.dumps({**_plain(self), "checksum": self.digest}, indent=1)
        with replacing(folder / FILE) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The committed manifest of a store.

        Raises:
            StoreError: none there, damaged, or of a newer version.
        """
        path = folder / FILE
        try:
            return _parsed(path.read_text(encoding="utf-8"))
        except _OtherFormatError as e:
            raise StoreError(
                f"{folder} has store format {e}, this version of ris reads "
                f"{UNCHECKED} and {FORMAT}",
                "use the version of ris that made it, or ingest the photos anew into another store "
                "(`ris.create`)",
            ) from e
        except FileNotFoundError as e:
            if has_remains(folder):
                raise LostManifestError(f"{folder} has faces and no {FILE}", RECOVER) from e
            raise StoreError(f"{folder} is not a ris store", "run `Collection.ingest` first") from e
        except OSError as e:
            if of_surroundings(e) or not folder.is_dir():
                raise unreadable(path, e) from e
            raise LostManifestError(f"{path} cannot be read ({e.strerror or e})", RECOVER) from e
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise LostManifestError(
                f"{path} is damaged or not a ris manifest ({_reason(e)})", RECOVER
            ) from e

    @classmethod
    def _from_json(cls, value: Any) -> Manifest:
        known = [f.name for f in fields(cls)]
        given = values.members(value, "it", ["settings", "shards", "next_shard", "format"], known)
        shards = tuple(Shard.from_json(s) for s in values.items(given["shards"], "shards"))
        if len({s.file for s in shards}) < len(shards):
            raise ValueError("it lists a shard twice")
        number = values.whole(given["next_shard"], "next_shard")
        if any(s.number >= number for s in shards):
            raise ValueError("next_shard is a number that a shard has")
        for name in ("generator_file", "inverter_file"):
            if given.get(name) is not None:
                values.text(given[name], name)
        return cls(
            settings=StoreSettings.from_json(given["settings"]),
            shards=shards,
            next_shard=number,
            generator_file=given.get("generator_file"),
            inverter_file=given.get("inverter_file"),
        )


class _OtherFormatError(Exception):
    """A manifest of a format that is not read."""


@lru_cache(maxsize=4)
def _parsed(text: str) -> Manifest:
    """The manifest in a file's text. A search reads the file several times, mostly the same one."""
    raw = json.loads(text)
    version = values.whole(raw["format"], "format")
    if version not in (UNCHECKED, FORMAT):
        raise _OtherFormatError(version)
    checksum = raw.pop("checksum", None)
    if (checksum is not None or version == FORMAT) and checksum != _checksum(raw):
        raise ValueError("its checksum does not fit")
    return Manifest._from_json(raw)


def has_remains(folder: Path) -> bool:
    """Whether a folder holds shards of a store, or what a store keeps beside them."""
    return (
        any((folder / name).exists() for name in ("stats.parquet", "metadata.parquet"))
        or any(path.name.startswith("part-") for path in listed(folder / "faces"))
        or any((path / "meta.json").exists() for path in listed(folder / "index"))
    )


def _plain(manifest: Manifest) -> dict[str, Any]:
    """JSON values of a manifest as they are after reading."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(manifest)))
    return plain


def _checksum(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        return "it is not JSON"
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)
