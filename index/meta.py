"""meta.json of an index: what is known of it without opening it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from index import kinds
from index.recall import Recall
from ris.errors import IndexMissingError, StoreError

VERSION = 1
META = "meta.json"
VECTORS = "vectors.f16"
IDS = "ids.npy"
FAISS = "faiss.index"
PROJECTION = "projection.npz"
EDGE = 64 << 10  # bytes at either end of a file that its fingerprint covers
BUILD = "build-"  # prefix of the folders with the files


@dataclass(frozen=True)
class FileRecord:
    """A file of a build: size in bytes and SHA-256 of its first and last `EDGE` bytes."""

    bytes: int
    edges: str

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """The record of a file; reads at most 128 KiB, so that opening stays instant."""
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.sha256(file.read(EDGE))
            if size > EDGE:
                file.seek(max(EDGE, size - EDGE))
                digest.update(file.read(EDGE))
        return cls(size, digest.hexdigest())


@dataclass(frozen=True)
class IndexMeta:
    """What meta.json says.

    Attributes:
        kind: one of `index.kinds.KINDS`.
        rows: N.
        dims: D.
        build: name of the folder with the files.
        files: record of every file, by name.
        efforts: `index.approximate.Efforts` as JSON, None for exact kinds.
        recall: against the exact scan; 1 for exact kinds.
        bytes: of all files together.
        extra: what the caller gave: feature, fingerprints, mask and so on.
        version: of the layout.
    """

    kind: str
    rows: int
    dims: int
    build: str
    files: dict[str, FileRecord]
    efforts: dict[str, dict[str, int]] | None
    recall: Recall
    bytes: int
    extra: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION

    @classmethod
    def from_json(cls, text: str) -> IndexMeta:
        """Reads meta.json's text; ValueError, TypeError or KeyError if it is no such thing."""
        value = json.loads(text)
        if value["version"] != VERSION:
            raise ValueError(f"is of version {value['version']}, expected {VERSION}")
        value["files"] = {name: FileRecord(**record) for name, record in value["files"].items()}
        value["recall"] = Recall(**value["recall"])
        meta = cls(**value)
        kinds.check_kind(meta.kind)
        if not (meta.rows >= 1 and meta.dims >= 1 and meta.build.startswith(BUILD)):
            raise ValueError("has a size or a build that cannot be")
        names = {VECTORS, FAISS, PROJECTION} if meta.efforts else {VECTORS}
        if set(meta.files) - {IDS} != names or Path(meta.build).name != meta.build:
            raise ValueError("names other files than its kind has")
        return meta


def read_meta(folder: Path) -> IndexMeta:
    """What is known of the index in a folder, without opening it.

    Raises:
        IndexMissingError: there is none.
        StoreError: its meta.json is damaged or of another version.
    """
    folder = Path(folder)
    try:
        return IndexMeta.from_json((folder / META).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IndexMissingError(
            f"no index for '{folder.name}': run `ris index --feature {folder.name}`"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(folder, f"{META} {reason(error)}") from error


def damaged(folder: Path, why: str) -> StoreError:
    """The error for an index that cannot be used."""
    return StoreError(
        f"the index {folder} is damaged ({why}): run `ris index --feature {folder.name}`"
    )


def reason(error: Exception) -> str:
    """An error's message in one line."""
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "is not JSON"
    if isinstance(error, KeyError):
        return f"lacks {error}"
    return " ".join(str(error).split())
