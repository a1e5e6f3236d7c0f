"""meta.json of an index: what is known of it without opening it."""

from __future__ import annotations

import json
import math
import re
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ris.data.durable import check_blame
from ris.errors import IndexMissingError, StoreError
from ris.index import FORMER, KINDS
from ris.index.files import (
    ATTACHED,
    CODES,
    DENSE,
    GROWING,
    IDS,
    SPARSE,
    SUMS,
    FileRecord,
    damaged,
    reason,
)
from ris.index.kind import Efforts, Recall

VERSION = 3
META = "meta.json"
SEAL = "crc32"
"""Key of meta.json's own checksum, that of the other values as JSON with sorted keys."""
BUILD = "build-"  # prefix of the folders with the files
_BUILD = re.compile(BUILD + "[0-9a-f]{8}")


@dataclass(frozen=True)
class IndexMeta:
    """What meta.json says.

    Attributes:
        kind: one of `ris.index.KINDS`.
        rows: N, deleted ones included.
        dims: D.
        build: name of the folder with the files.
        files: record of every file, by name.
        efforts: `ris.index.kind.Efforts` as JSON, None for kinds that have none.
        recall: against the exact scan when the index was built; 1 for the exact scan.
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

    def to_json(self) -> str:
        """Text of meta.json."""
        value = asdict(self)
        return json.dumps(value | {SEAL: seal(value)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> IndexMeta:
        """Reads meta.json's text.

        Raises:
            ValueError, TypeError, KeyError: it is no such thing.
        """
        value = json.loads(text)
        if value.pop(SEAL) != seal(value):
            raise ValueError("is not the file that was written")
        value["files"] = {name: FileRecord(**record) for name, record in value["files"].items()}
        value["recall"] = Recall(**value["recall"])
        meta = cls(**value)
        _check_values(meta)
        _check_files(meta)
        return meta


@dataclass(frozen=True)
class BuildReport:
    """What became of one index that was built or brought up to date.

    Attributes:
        meta: of the index as it is now.
        built: whether it was built, not added to.
        appended: faces that were added to it; 0 where it was built.
        removed: faces that were deleted from it; 0 where it was built.
    """

    meta: IndexMeta
    built: bool = True
    appended: int = 0
    removed: int = 0

    @property
    def faces(self) -> int:
        """Faces that a search may return."""
        return self.meta.rows - self.meta.gone

    @property
    def without_feature(self) -> int:
        """Faces that were looked at and left out, since they do not show the feature."""
        return int(self.meta.extra["without_feature"])

    def to_dict(self) -> dict[str, Any]:
        """JSON values: what meta.json says, and under ``extra`` what an update has changed."""
        value = asdict(self.meta)
        if not self.built:
            value["extra"] |= {"appended": self.appended, "removed": self.removed}
        return value


def seal(value: dict[str, Any]) -> int:
    """Checksum of what meta.json says."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def _check_values(meta: IndexMeta) -> None:
    """Types and ranges; ValueError where one cannot be."""
    if meta.kind not in KINDS:
        raise ValueError(f"unknown index kind {meta.kind!r}")
    records = meta.files.values()
    counts = (meta.rows, meta.dims, meta.built_rows, meta.gone, meta.bytes)
    numbers = [n for r in records for n in (r.bytes, r.crc32, r.revision)]
    if not all(type(n) is int and 0 <= n < 1 << 63 for n in (*counts, *numbers)):
        raise ValueError("has a number that cannot be")
    if not (meta.rows >= meta.built_rows >= 1 and meta.dims >= 1 and meta.gone <= meta.rows):
        raise ValueError("has a size that cannot be")
    if not isinstance(meta.build, str) or not _BUILD.fullmatch(meta.build):
        raise ValueError("names a build that cannot be")
    shares = (meta.recall.nearest, meta.recall.furthest)
    if not all(type(s) in (int, float) and math.isfinite(s) for s in shares):
        raise ValueError("has a recall that is no number")
    if type(meta.version) is not int or meta.version != VERSION:
        raise ValueError("has a version that cannot be")
    if not isinstance(meta.extra, dict):
        raise ValueError("has no table of what else is known")
    if KINDS[meta.kind].tuned:
        Efforts.from_json(meta.efforts or {})


def _check_files(meta: IndexMeta) -> None:
    """Names and sizes; ValueError where they are not those of the kind."""
    names = [{*s, SUMS, *KINDS[meta.kind].files} for s in (DENSE, SPARSE)]
    moved = any(record.revision for name, record in meta.files.items() if name in GROWING)
    if set(meta.files) - {IDS, ATTACHED} not in names or moved:
        raise ValueError("names other files than its kind has")
    sizes = {name: record.bytes for name, record in meta.files.items()}
    if DENSE[0] in sizes:
        fits = sizes[DENSE[0]] == 2 * meta.rows * meta.dims
    else:
        fits = sizes[SPARSE[0]] == 8 * meta.rows and sizes[SPARSE[1]] == sizes[SPARSE[2]]
    if not fits or sizes[SUMS] != 4 * meta.rows:
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
        value = json.loads(text)
        version, anew = value["version"], f"run `Collection.index({folder.name!r})`"
        if isinstance(version, int) and 0 < version != VERSION:
            raise StoreError(
                f"the index {folder} has layout {version}, this version of ris reads {VERSION}",
                anew,
            )
        if (kind := value.get("kind")) in FORMER:
            raise StoreError(
                f"the index {folder} is of the kind {kind!r}, which this version of ris has no "
                "more",
                f"{anew} to build it anew",
            )
        return IndexMeta.from_json(text)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IndexMissingError(
            f"no index for {folder.name!r}", f"run `Collection.index({folder.name!r})`"
        ) from error
    except OSError as error:
        check_blame(folder / META, error)
        raise damaged(folder, f"{META} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(folder, f"{META} {reason(error)}") from error
