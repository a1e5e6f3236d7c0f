"""Rows of the store and the Parquet shards that hold them.

A shard is a sealed file (`ris.data.sealed`). Its note says what it takes to rebuild a lost
manifest: the store's ``settings``, the ``commit`` that wrote it (the first number of that commit),
and the numbers of the shards that then stayed ``beside`` it: all others below that number were no
part of the store any more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ris.data import sealed
from ris.data.blendshapes import BLENDSHAPES
from ris.data.manifest import StoreSettings
from ris.data.row_keys import COLUMNS, from_footer, row_keys, sum_of, to_footer

ROW_GROUP = 64
"""Rows read or written at a time: about 10 MB of vectors."""
VECTORS = ("w", "sigma", "scores")
GIVEN = "given"
"""Inverter of a row whose latent was given."""
SHAPES = {"quad": (4, 2), "box": (4,), "blendshapes": (len(BLENDSHAPES),)}
"""Small fixed-size lists, which may be missing."""


@dataclass
class FaceRow:
    """One face.

    Attributes:
        id: hash of the photo's bytes, with ``-1``, ``-2``, ... for further faces of one photo.
        path: the photo, relative to the store's parent folder where it lies below it.
        width, height: pixel size of the photo.
        file_size, file_mtime_ns: of the photo's file when it was read.
        inverter: what gave the latent: an inverter's fingerprint, or ``given``.
        inversion_error: the inverter's reconstruction error; None for given latents.
        w: (L, 512) float32 W+ code.
        sigma: (C,) float32 style coefficients.
        scores: (K, C') float16 contribution scores M, from which every mask is rebuilt.
        face: number of the face in its photo, 0 for the first (the largest).
        selection: which faces of the photo were taken: ``largest`` or ``all``.
        aligned: whether the photo was taken as it is, as a face crop.
        quad: (4, 2) float32, the square that was inverted, in pixels of the upright photo: upper
            left, lower left, lower right, upper right. None if nobody looked.
        box: (4,) float32 left, top, right, bottom of the face, likewise; None if none was found.
        yaw, pitch, roll: degrees, positive to the right of the picture, up, and clockwise; or
            None.
        blendshapes: (52,) float32, 0 to 1, `ris.data.blendshapes.BLENDSHAPES`; or None.
    """

    id: str
    path: str
    width: int
    height: int
    file_size: int
    file_mtime_ns: int
    inverter: str
    inversion_error: float | None
    w: np.ndarray
    sigma: np.ndarray
    scores: np.ndarray
    face: int = 0
    selection: str = "largest"
    aligned: bool = True
    quad: np.ndarray | None = None
    box: np.ndarray | None = None
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    blendshapes: np.ndarray | None = None

    @property
    def photo(self) -> str:
        """Id of the photo: that of its first face."""
        return photo_of(self.id)


def photo_of(face: str) -> str:
    """Id of the photo that a face id belongs to."""
    return face.partition("-")[0]


def schema(settings: StoreSettings) -> pa.Schema:
    """Arrow schema of a shard; vectors are fixed-size lists, lists that may be missing are not."""
    scores = len(settings.classes) * settings.covered.channels
    return pa.schema(
        [
            *_ALWAYS,
            pa.field("w", pa.list_(pa.float32(), settings.latent_rows * settings.latent_size)),
            pa.field("sigma", pa.list_(pa.float32(), settings.layout.channels)),
            pa.field("scores", pa.list_(pa.float16(), scores)),
        ]
    )


def is_of(found: pa.Schema, settings: StoreSettings) -> bool:
    """Whether a file's columns are those of a shard of a store, of this version or before."""
    wanted = schema(settings)
    return found.names == wanted.names and all(
        f.type == w.type or (f.name in SHAPES and f.type == _fixed(f.name))
        for f, w in zip(found, wanted, strict=True)
    )


_NUMBERS = {pa.float16(): np.float16, pa.float32(): np.float32}
"""Numpy's types for the values of vectors; Arrow's own answer needs pandas before pyarrow 26."""
_LIST = pa.list_(pa.float32())
"""Of `SHAPES`. Arrow before 26 cannot read missing values of fixed-size lists, which older shards
have."""
_ALWAYS = [
    pa.field("id", pa.string(), nullable=False),
    pa.field("path", pa.string(), nullable=False),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("file_size", pa.int64()),
    pa.field("file_mtime_ns", pa.int64()),
    pa.field("inverter", pa.string()),
    pa.field("inversion_error", pa.float32()),
    pa.field("face", pa.int32()),
    pa.field("selection", pa.string()),
    pa.field("aligned", pa.bool_()),
    pa.field("quad", _LIST),
    pa.field("box", _LIST),
    pa.field("yaw", pa.float32()),
    pa.field("pitch", pa.float32()),
    pa.field("roll", pa.float32()),
    pa.field("blendshapes", _LIST),
]
_PLAIN = {field.name: field.type for field in _ALWAYS}


def to_table(rows: Sequence[FaceRow], settings: StoreSettings) -> pa.Table:
    """Rows as an Arrow table of `schema`.

    Raises:
        ValueError: a vector of another length than the settings say.
    """
    target = schema(settings)
    columns = []
    for column in target:
        values = [getattr(row, column.name) for row in rows]
        if column.name in VECTORS:
            flat = np.stack([np.asarray(v).reshape(-1) for v in values])
            if flat.shape[1] != column.type.list_size:
                raise ValueError(
                    f"{column.name} has {flat.shape[1]} values, expected {column.type.list_size}"
                )
            flat = flat.astype(_NUMBERS[column.type.value_type], copy=False)
            array = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), type=column.type)
        elif column.name in SHAPES:
            lists = [None if v is None else np.asarray(v, np.float32).reshape(-1) for v in values]
            array = pa.array(lists, type=column.type)
        else:
            array = pa.array(values, type=column.type)
        columns.append(array)
    return pa.Table.from_arrays(columns, schema=target)


def vectors(batch: pa.RecordBatch, column: str) -> np.ndarray:
    """(N, list size) array of a fixed-size list column."""
    array = batch.column(batch.schema.get_field_index(column))
    flat: np.ndarray = array.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(batch), -1)


@dataclass(frozen=True)
class Written:
    """A shard that was written: number of rows, sha256 of the file, sum of the rows' keys."""

    rows: int
    sha256: str
    keys: str


@dataclass(frozen=True)
class RowKeys:
    """The rows of a shard in order: (n,) bytes ids and (n,) uint64 keys (`ris.data.row_keys`)."""

    ids: np.ndarray
    keys: np.ndarray


def write(
    path: Path,
    tables: Iterator[pa.Table],
    settings: StoreSettings,
    note: Mapping[str, Any] | None = None,
) -> Written:
    """Writes tables of rows into one Parquet file, a row group at a time, and syncs it.

    Args:
        path: of the file.
        tables: of rows.
        settings: of the store, kept in the file.
        note: what else is kept in it.
    """
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": False,
        "write_statistics": ["id", "path"],
    }
    keys = [np.empty(0, np.uint64)]
    kept = {**(note or {}), "settings": asdict(settings)}
    with sealed.writer(path, schema(settings), kept, **options) as writer:
        for table in tables:
            writer.write_table(table, row_group_size=ROW_GROUP)
            keys += [row_keys(batch) for batch in table.combine_chunks().to_batches()]
        every = np.concatenate(keys)
        writer.keep(to_footer(every))
    return Written(len(every), writer.sha256, sum_of(every))


def read(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Row groups of one shard, one at a time.

    Raises:
        StoreError: the file is missing or damaged.
    """
    with _opened(path) as f:
        for i in range(f.num_row_groups):
            yield from _group(f, i, columns).to_batches()


def read_light(path: Path, columns: Sequence[str]) -> pa.Table:
    """Some columns of a whole shard at once, which are no vectors.

    Raises:
        StoreError: the file is missing or damaged.
    """
    with _opened(path) as f:
        table = f.read(columns=list(columns), use_threads=False)
        return _checked(table, columns, f.metadata.num_rows)


def read_row(path: Path, number: int) -> pa.Table:
    """One row of a shard, by its number.

    Raises:
        StoreError: the file is missing or damaged.
    """
    with _opened(path) as f:
        group = 0
        while number >= (rows := f.metadata.row_group(group).num_rows):
            number -= rows
            group += 1
        return _group(f, group, None).slice(number, 1).combine_chunks()


def read_keys(path: Path, expected: str = "") -> RowKeys:
    """Ids and keys of all rows of one shard, without its vectors where the file has the keys.

    Args:
        path: the shard.
        expected: sum of the keys that the manifest records, if it does.

    Raises:
        StoreError: the file is missing or damaged.
    """
    with _opened(path) as f:
        light = f.read(columns=["id"], use_threads=False)
        ids = _checked(light, ["id"], f.metadata.num_rows)["id"].to_pylist()
        keys = from_footer(f.metadata.metadata, len(ids))
        if keys is None or (expected and sum_of(keys) != expected):
            groups = (_group(f, i, COLUMNS) for i in range(f.num_row_groups))
            parts = [row_keys(batch) for group in groups for batch in group.to_batches()]
            keys = np.concatenate([np.empty(0, np.uint64), *parts])
        return RowKeys(np.array([name.encode() for name in ids], dtype="S"), keys)


def read_rows(
    path: Path, numbers: np.ndarray, columns: Sequence[str]
) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
    """Some rows of one shard, a row group at a time, without the groups that have none of them.

    Args:
        path: the shard.
        numbers: (n,) int64 ascending row numbers.
        columns: columns wanted.

    Yields:
        the numbers of some of the rows, and those rows.

    Raises:
        StoreError: the file is missing or damaged.
    """
    with _opened(path) as f:
        first = 0
        for i in range(f.num_row_groups):
            last = first + f.metadata.row_group(i).num_rows
            wanted = numbers[(numbers >= first) & (numbers < last)]
            if len(wanted):
                table = _group(f, i, columns)
                if len(wanted) < last - first:
                    table = table.take(pa.array(wanted - first))
                for batch in table.combine_chunks().to_batches():
                    yield wanted, batch
            first = last


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    with sealed.opened(path) as f:
        _check_columns(f.schema_arrow)
        yield f


def _check_columns(found: pa.Schema) -> None:
    """Fails for a file that is no shard of any store; shards without a seal may be anything."""
    for name, wanted in _PLAIN.items():
        kind = found.field(name).type
        if kind != wanted and not (name in SHAPES and kind == _fixed(name)):
            raise ValueError(f"its column {name} is {kind}")
    for name, of in _VALUES.items():
        kind = found.field(name).type
        if not pa.types.is_fixed_size_list(kind) or kind.value_type != of:
            raise ValueError(f"its column {name} is {kind}")


def _size(name: str) -> int:
    """Values of one of `SHAPES`."""
    return math.prod(SHAPES[name])


def _fixed(name: str) -> pa.DataType:
    """Type that one of `SHAPES` had in earlier versions."""
    return pa.list_(pa.float32(), _size(name))


def _group(f: pq.ParquetFile, number: int, columns: Sequence[str] | None) -> pa.Table:
    """Columns of one row group."""
    table = f.read_row_group(number, columns=list(columns) if columns else None)
    return _checked(table, columns, f.metadata.row_group(number).num_rows)


def _checked(table: pa.Table, columns: Sequence[str] | None, rows: int) -> pa.Table:
    """Rows of a shard in one piece, without its note; fails where texts are none, a value is
    missing that has to be there, or a page was skipped, since its head says that it is none."""
    if table.num_rows != rows:
        raise ValueError(f"it gives {table.num_rows} rows instead of {rows}")
    table = table.replace_schema_metadata(None).combine_chunks()
    table.validate(full=True)
    for name in SHAPES.keys() & table.column_names:
        if table[name].type != _LIST:
            at = table.column_names.index(name)
            table = table.set_column(at, pa.field(name, _LIST), table[name].cast(_LIST))
        if pc.all(pc.equal(pc.list_value_length(table[name]), _size(name))).as_py() is False:
            raise ValueError(f"its column {name} has lists of another length")
    for name in columns or table.column_names:
        if name in _NEEDED and table[name].null_count:
            raise ValueError(f"its column {name} lacks a value")
    return table


_VALUES = {"w": pa.float32(), "sigma": pa.float32(), "scores": pa.float16()}
_NEEDED = ("id", "path", *VECTORS)
