"""meta.json of an index: what is known of it without opening it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from index import kinds
from index.recall import Recall
from index.storage import DENSE, SPARSE
from ris.errors import IndexMissingError, StoreError

VERSION = 2
META = "meta.json"
IDS = "ids.npy"
ATTACHED = "attached.npz"
CODES = "codes.i8"
CODER = "coder.npz"
FAISS = "faiss.index"
PROJECTION = "projection.npz"
GROWING = (*DENSE, *SPARSE, CODES)
"""Files that are appended to; the others are written anew under another revision."""
EDGE = 64 << 10  # bytes at either end of a file that its fingerprint covers
BUILD = "build-"  # prefix of the folders with the files


@dataclass(frozen=True)
class FileRecord:
    """A file of a build.

    Attributes:
        bytes: committed size; what follows in the file, if anything, is not part of it.
        edges: SHA-256 of its first and last `EDGE` committed bytes.
        revision: which writing of it, 0 for the first; part of the file's name.
    """

    bytes: int
    edges: str
    revision: int = 0

    @classmethod
    def of(cls, build: Path, name: str, revision: int = 0, size: int | None = None) -> FileRecord:
        """The record of a file, or of its first `size` bytes if it has so many; reads at most
        128 KiB, so that opening stays instant."""
        path = build / file_name(name, revision)
        found = path.stat().st_size
        size = found if size is None else min(size, found)
        with path.open("rb") as file:
            digest = hashlib.sha256(file.read(min(EDGE, size)))
            if size > EDGE:
                start = max(EDGE, size - EDGE)
                file.seek(start)
                digest.update(file.read(size - start))
        return cls(size, digest.hexdigest(), revision)


def file_name(name: str, revision: int) -> str:
    """``ids.npy`` of revision 3 is the file ``ids.3.npy``."""
    stem, _, suffix = name.partition(".")
    return f"{stem}.{revision}.{suffix}" if revision else name


@dataclass(frozen=True)
class IndexMeta:
    """What meta.json says.

    Attributes:
        kind: one of `index.kinds.KINDS`.
        rows: N, deleted ones included.
        dims: D.
        build: name of the folder with the files.
        files: record of every file, by name.
        efforts: `index.efforts.Efforts` as JSON, None for exact kinds.
        recall: against the exact scan when the index was built; 1 for exact kinds.
        bytes: of all files together.
        built_rows: rows when the index was built, before anything was appended.
        gone: rows that were deleted since.
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
    built_rows: int
    gone: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
    version: int = VERSION

    @property
    def revision(self) -> int:
        """The latest of its files."""
        return max(record.revision for record in self.files.values())

    def path(self, folder: Path, name: str) -> Path:
        """Where one of its files lies; KeyError if it has none of that name."""
        return folder / self.build / file_name(name, self.files[name].revision)

    @classmethod
    def from_json(cls, text: str) -> IndexMeta:
        """Reads meta.json's text; ValueError, TypeError or KeyError if it is no such thing."""
        value = json.loads(text)
        value["files"] = {name: FileRecord(**record) for name, record in value["files"].items()}
        value["recall"] = Recall(**value["recall"])
        meta = cls(**value)
        kinds.check_kind(meta.kind)
        sizes = (meta.rows >= meta.built_rows >= 1, meta.dims >= 1, 0 <= meta.gone <= meta.rows)
        if not all(sizes) or not meta.build.startswith(BUILD):
            raise ValueError("has a size or a build that cannot be")
        names = set(meta.files) - {IDS, ATTACHED}
        if names not in _names(meta.kind) or Path(meta.build).name != meta.build:
            raise ValueError("names other files than its kind has")
        if any(name in GROWING and record.revision for name, record in meta.files.items()):
            raise ValueError("names other files than its kind has")
        _check_sizes(meta)
        return meta


def _names(kind: str) -> list[set[str]]:
    own = {"exact": set[str](), "flat": set(), "sketch": {CODES, CODER}}
    return [{*stored, *own.get(kind, {FAISS, PROJECTION})} for stored in (DENSE, SPARSE)]


def _check_sizes(meta: IndexMeta) -> None:
    sizes = {name: record.bytes for name, record in meta.files.items()}
    if DENSE[0] in sizes:
        fits = sizes[DENSE[0]] == 2 * meta.rows * meta.dims
    else:
        fits = sizes[SPARSE[0]] == 8 * meta.rows and sizes[SPARSE[1]] == sizes[SPARSE[2]]
    if not fits:
        name = DENSE[0] if DENSE[0] in sizes else SPARSE[0]
        raise ValueError(f"{name} does not hold {meta.rows} x {meta.dims} values")
    if CODES in sizes and sizes[CODES] % meta.rows:
        raise ValueError(f"{CODES} does not hold {meta.rows} codes")


def read_meta(folder: Path) -> IndexMeta:
    """What is known of the index in a folder, without opening it.

    Raises:
        IndexMissingError: there is none.
        StoreError: its meta.json is damaged or of another version.
    """
    folder = Path(folder)
    try:
        text = (folder / META).read_text(encoding="utf-8")
        version = json.loads(text)["version"]
        if version != VERSION:
            raise StoreError(
                f"the index {folder} has layout {version}, this version of ris reads {VERSION}: "
                f"run `ris index --feature {folder.name}`"
            )
        return IndexMeta.from_json(text)
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
