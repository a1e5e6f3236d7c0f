"""The user's own columns (labels, identities), joined to faces by file name.

`ris.data.tables` reads them, `ris.data.column_types` says what type a column has,
`ris.data.file_names` which photo a name means. They lie in ``metadata.parquet``, one row a face
that has any, by face id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ris.data import sealed, shards
from ris.data.column_types import without_nan
from ris.data.durable import replacing
from ris.data.file_names import FileNames
from ris.data.manifest import StoreSettings
from ris.data.metadata_file import METADATA, damaged_metadata
from ris.data.store import Store
from ris.data.tables import Table, read_table
from ris.data.views import columns_of, open_database
from ris.errors import InputError

FILE_COLUMNS = ("file", "filename", "file_name", "path", "image", "image_id", "name")
"""Usual names of the column with the photos' file names. They decide between columns that both
hold photos of the store, and are never enough alone."""
SHOWN = 3


@dataclass(frozen=True)
class Joined:
    """What `join_metadata` did.

    Attributes:
        matched: faces that have a row.
        without: faces that have none.
        column: the one that held the file names.
        photos_without: the first photos without a row.
        unused: rows that mean no photo of the store.
        names_unused: their first file names.
    """

    matched: int
    without: int
    column: str
    photos_without: tuple[str, ...] = ()
    unused: int = 0
    names_unused: tuple[str, ...] = ()


def join_metadata(store: Store, source: Path | Table, key: str | None = None) -> Joined:
    """Joins a table to the faces in the store and keeps its columns.

    Columns and values of an earlier join stay unless they are given anew. A column whose name
    the store uses itself (``width``, say) is kept as ``user_width``.

    Args:
        store: its faces may be none.
        source: a table, or its file, see `ris.data.tables.read_table`.
        key: column of file names; None: the one whose values are photos of the store.

    Raises:
        InputError: no row means a photo of the store, or it is not clear which; a column does
            not fit the one of an earlier join; or no column `key`.
    """
    table = source if isinstance(source, Table) else read_table(source)
    with store.locked() as manifest:
        faces = [b.select(["id", "path"]) for b in store.batches(["id", "path"], manifest)]
        if not faces:
            return Joined(0, 0, key or "")
        known = pa.Table.from_batches(faces)
        paths = known["path"].to_pylist()
        column, rows = match_rows(table, FileNames(paths, store.root), key)
        places = pa.array([rows.get(path) for path in paths], pa.int64())
        names = [name for name in table.names if name != column]
        fresh = {
            kept: table.column(name).take(places)
            for name, kept in zip(names, _safe_names(store.settings, names), strict=True)
        }
        _write(store.folder / METADATA, known["id"], places.is_valid(), fresh, table.source)
    given = table.text(column)
    used = set(rows.values())
    unused = [i for i in range(table.rows) if i not in used]
    missing = sorted({path for path in paths if path not in rows})
    return Joined(
        matched=len(places) - places.null_count,
        without=places.null_count,
        column=column,
        photos_without=tuple(missing[:SHOWN]),
        unused=len(unused),
        names_unused=tuple(str(given[i].as_py()) for i in unused[:SHOWN] if given is not None),
    )


def check_possible(table: Table, photos: FileNames, key: str | None = None) -> None:
    """Tells early, before photos are read, that a table is about none of them.

    Raises:
        InputError: no name of the table could mean one of `photos`, or there is no column `key`.
    """
    column, names = _names(table, photos, key)
    if not any(name and photos.possible(name) for name in names):
        raise _unrelated(table, column, names, photos)


def match_rows(
    table: Table, photos: FileNames, key: str | None = None
) -> tuple[str, dict[str, int]]:
    """The column of file names, and the row of each photo that has one.

    Raises:
        InputError: see `join_metadata`.
    """
    column, names = _names(table, photos, key)
    try:
        found = photos.match(names, table.where)
    except InputError as e:
        raise InputError(f"{table.source}, column {column!r}: {e}") from e
    if not found.rows:
        raise _unrelated(table, column, names, photos)
    return column, found.rows


def _names(table: Table, photos: FileNames, key: str | None) -> tuple[str, list[str | None]]:
    """The column of file names, and what it holds."""
    column = _named(table, key) if key is not None else _file_column(table, photos)
    text = table.text(column)
    if text is None:
        raise InputError(f"{table.source}: column {column!r} holds no file names")
    headed = column.lower() in FILE_COLUMNS or column.isalpha() or not table.as_text
    if not headed and photos.possible(column):
        raise InputError(
            f"{table.source} has no header: its first line names the photo {column!r}; write the "
            "columns' names there, as in file,smiling"
        )
    return column, text.to_pylist()


def _unrelated(
    table: Table, column: str, names: Sequence[str | None], photos: FileNames
) -> InputError:
    first = next((i for i, name in enumerate(names) if name), 0)
    return InputError(
        f"{table.source} is about none of the photos: its column {column!r} has {names[first]!r} "
        f"({table.where(first)}), and a photo is {photos.photos[0]!r}",
        "name the column of file names with `metadata_key`, or write them as the photos' are",
    )


def _named(table: Table, key: str) -> str:
    near = [name for name in table.names if name == key]
    near += [name for name in table.names if name.lower() == key.lower()]
    if not near:
        raise InputError(
            f"{table.source} has no column {key!r}; there are: {', '.join(table.names[:40])}"
        )
    return near[0]


def _file_column(table: Table, photos: FileNames) -> str:
    """The column whose values are photos of the store: the one with the most.

    Where a second has half as many, the usual names decide.
    """
    kinds = {name: table.column(name).type for name in table.names}
    words = [n for n in table.names if not (_is_numeric(kinds[n]) or pa.types.is_boolean(kinds[n]))]
    # whole numbers can be names too, 0 of 0.jpg, but labels 0 and 1 must not win over names
    whole = [n for n in table.names if pa.types.is_integer(kinds[n])]
    hits = {name: _hits(table, name, photos) for name in words}
    if not any(hits.values()):
        hits = {name: _hits(table, name, photos) for name in whole}
    best = max(hits.values(), default=0)
    near = [name for name in hits if best and 2 * hits[name] >= best]
    if len(near) == 1:
        return near[0]
    usual = [n for u in FILE_COLUMNS for n in near or table.names if n.lower() == u]
    if near and not usual:
        raise InputError(
            f"{table.source}: columns {near[0]!r} and {near[1]!r} both hold photos of the store",
            "name one with `metadata_key`",
        )
    return (usual or words or table.names)[0]


def _hits(table: Table, name: str, photos: FileNames) -> int:
    text = table.text(name)
    values = [] if text is None else pc.unique(text).to_pylist()
    return sum(1 for value in values if value and photos.possible(value))


def _safe_names(settings: StoreSettings, names: Sequence[str]) -> list[str]:
    """Names under which the columns of a table are kept, all different."""
    taken = {n.lower() for n in shards.schema(settings).names}
    taken |= {n.lower() for n in columns_of(settings)}
    result = []
    for name in names:
        fresh = name
        while fresh.lower() in taken:
            fresh = f"user_{fresh}"
        taken.add(fresh.lower())
        result.append(fresh)
    return result


def _write(
    target: Path,
    ids: pa.ChunkedArray,
    has_row: pa.BooleanArray,
    fresh: dict[str, pa.ChunkedArray],
    source: Path,
) -> None:
    """Puts columns into the file at `target`, beside and over those that are there."""
    columns: dict[str, pa.ChunkedArray] = {}
    if target.exists():
        before = _earlier(target)
        at = pc.index_in(ids.combine_chunks(), before["id"].combine_chunks())
        has_row = pc.or_(has_row, at.is_valid())
        columns = {n: without_nan(before[n]).take(at) for n in before.column_names if n != "id"}
    # SQL's names have no case: a column given again in another case is the same one
    spelt = {name.lower(): name for name in columns}
    for name, values in fresh.items():
        kept = spelt.get(name.lower(), name)
        try:
            columns[kept] = _over(values, columns[kept]) if kept in columns else values
        except pa.ArrowException as e:
            raise InputError(
                f"{source}: column {name!r} is {values.type} and was {columns[kept].type} in an "
                "earlier table: rename it"
            ) from e
    result = pa.table({"id": ids, **columns}).filter(has_row)
    _check_readable(result, source)
    with replacing(target) as temporary:
        sealed.write_table(temporary, result)


def _over(fresh: pa.ChunkedArray, before: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values given anew, and the earlier ones where there are none; of different types as
    numbers where they can be, else as text."""
    if fresh.type != before.type:
        if before.null_count == len(before):
            before = before.cast(fresh.type, safe=False)
        elif fresh.null_count == len(fresh):
            fresh = fresh.cast(before.type, safe=False)
        else:
            numbers = all(_is_numeric(c.type) for c in (fresh, before))
            kind = pa.float64() if numbers else pa.string()
            fresh, before = fresh.cast(kind), before.cast(kind)
    both = pa.chunked_array([*fresh.chunks, *before.chunks], fresh.type)
    at = pa.array(range(len(fresh)), pa.int64())
    return both.take(pc.if_else(fresh.is_valid(), at, pc.add(at, len(fresh))))


def _is_numeric(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _check_readable(table: pa.Table, source: Path) -> None:
    """Refuses types that SQL could not read afterwards."""
    if _unreadable(table) is None:
        return
    for field in table.schema:
        if reason := _unreadable(table.select([field.name])):
            raise InputError(
                f"{source}: column {field.name!r} is {field.type}, which SQL cannot read "
                f"({reason}): write it as numbers or text"
            )


def _unreadable(table: pa.Table) -> str | None:
    import duckdb

    try:
        with open_database() as db:
            db.register("given", table.slice(0, 1))
            db.execute("SELECT * FROM given").fetchall()
    except duckdb.Error as e:
        return (str(e).splitlines() or ["error"])[0][:200]
    return None


def _earlier(target: Path) -> pa.Table:
    try:
        return sealed.read_table(target)
    except sealed.DamagedError as e:
        raise damaged_metadata(e) from e
