"""DuckDB over the store: a view ``faces`` of everything but the vectors, and one of failures."""

from __future__ import annotations

import contextlib
from pathlib import Path

import duckdb
import pyarrow as pa
from pyarrow import dataset

from ris.data import failures, sealed, shards
from ris.data.blendshapes import BLENDSHAPES, DERIVED
from ris.data.commit import FACES
from ris.data.manifest import Manifest, StoreSettings
from ris.data.metadata_file import METADATA, damaged_metadata
from ris.data.store import Store
from ris.errors import QueryError, StoreError
from ris.memory import check_room

_QUERY_ERRORS = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)
"""What no file has to do with."""


ROOM = 256 << 20
"""Bytes that DuckDB has to be able to ask for: where it gets less, it hangs or crashes."""


def open_database() -> duckdb.DuckDBPyConnection:
    """An empty DuckDB in memory.

    Raises:
        MemoryError: this process may not take as much as DuckDB needs.
    """
    check_room(ROOM)
    return duckdb.connect(":memory:")


def connect(store: Store, manifest: Manifest) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the views ``faces`` (one row a face, the user's metadata joined)
    and ``failures`` (path, stage and reason of the photos that gave no face).

    No file can be read or written through the connection.

    Raises:
        StoreError: a shard or the metadata is missing or damaged.
    """
    connection = open_database()
    schema = pa.schema([f for f in shards.schema(manifest.settings) if _is_plain(f)])
    columns = ", ".join(f"f.{name}" for name in columns_of(manifest.settings))
    files = [store.folder / FACES / s.file for s in manifest.shards]
    metadata = store.folder / METADATA
    for file in files:
        sealed.check_footer(file)
    try:
        rows = _dataset(files, schema) if files else schema.empty_table()
        connection.register("raw", rows)
        connection.execute(f"CREATE VIEW stored AS {_spread(schema)}")
        select = f"SELECT {columns} FROM stored f"
        if metadata.exists():
            connection.register("given", _metadata(metadata))
            select = (
                f"SELECT {columns}, m.* EXCLUDE (id) FROM stored f LEFT JOIN given m ON f.id = m.id"
            )
        connection.execute("SET enable_external_access = false")
        connection.execute(f"CREATE VIEW faces AS {select}")
        with contextlib.suppress(sealed.DamagedError):  # a damaged report must not hide the faces
            rows = [vars(f) for f in failures.read_failures(store)]
            connection.register("failures", pa.Table.from_pylist(rows, failures.SCHEMA))
    except (duckdb.Error, OSError, pa.ArrowException) as e:
        connection.close()
        raise StoreError(f"{store.folder} cannot be read: {_line(e)}") from e
    except StoreError:
        connection.close()
        raise
    return connection


def _dataset(files: list[Path], schema: pa.Schema | None = None) -> dataset.Dataset:
    """The rows of Parquet files, whose pages are checked as they are read."""
    options = dataset.ParquetFragmentScanOptions(page_checksum_verification=True)
    form = dataset.ParquetFileFormat(default_fragment_scan_options=options)
    return dataset.dataset([str(file) for file in files], schema=schema, format=form)


def _metadata(path: Path) -> dataset.Dataset:
    try:
        sealed.check_footer(path)
    except sealed.DamagedError as e:
        raise damaged_metadata(e) from e
    return _dataset([path])


def _check_files(store: Store, manifest: Manifest) -> None:
    """Fails if the rows that a view shows cannot be read."""
    columns = [f.name for f in shards.schema(manifest.settings) if _is_plain(f)]
    for shard in manifest.shards:
        shards.read_light(store.folder / FACES / shard.file, columns)
    if (store.folder / METADATA).exists():
        try:
            sealed.check(store.folder / METADATA)
        except sealed.DamagedError as e:
            raise damaged_metadata(e) from e


def _check_failures(store: Store) -> None:
    """Fails if there is no view of failures because their file is damaged."""
    try:
        failures.read_failures(store)
    except sealed.DamagedError as e:
        raise failures.damaged(e) from e


def columns_of(settings: StoreSettings) -> list[str]:
    """Columns of the view ``faces``, without the user's own.

    Those of a row but for vectors; ``box`` as ``box_left`` and so on; and instead of
    ``blendshapes`` a column for each of them and for what follows from them.
    """
    plain = [f.name for f in shards.schema(settings) if _is_plain(f)]
    return [n for n in plain if n not in _SPREAD] + [*_BOX, *BLENDSHAPES, *DERIVED]


_BOX = ("box_left", "box_top", "box_right", "box_bottom")
_WHOLE = "face IS NOT NULL AND width IS NOT NULL"
"""Holds for every row. So each statement reads two columns at least: the checksum of a page does
not cover the page's head, and a page that is skipped for its head shows by lengths that differ."""
_SPREAD = {"box": _BOX, "blendshapes": BLENDSHAPES}


def _is_plain(field: pa.Field) -> bool:
    return field.name not in shards.VECTORS


def _spread(schema: pa.Schema) -> str:
    """SELECT that makes a column of each element of the lists in `_SPREAD`."""
    kept = [n for n in schema.names if n not in _SPREAD]
    kept += [f"{n}[{i}] AS {c}" for n, names in _SPREAD.items() for i, c in enumerate(names, 1)]
    derived = [f"({expression}) AS {name}" for name, expression in DERIVED.items()]
    return f"SELECT *, {', '.join(derived)} FROM (SELECT {', '.join(kept)} FROM raw WHERE {_WHOLE})"


def run_sql(store: Store, statement: str) -> tuple[list[str], list[tuple[object, ...]]]:
    """Column names and rows of a SQL statement over ``faces`` and ``failures``.

    Raises:
        QueryError: the statement is wrong; the message is DuckDB's own first line.
        StoreError: a shard or the metadata is missing or damaged.
    """

    def read(manifest: Manifest) -> tuple[list[str], list[tuple[object, ...]]]:
        with connect(store, manifest) as connection:
            columns = [str(row[0]) for row in connection.execute("DESCRIBE faces").fetchall()]
            try:
                if len(connection.extract_statements(statement)) != 1:
                    raise QueryError(
                        "this is not one SQL statement", "give one, as in 'select id from faces'"
                    )
                result = connection.execute(statement)
                return [d[0] for d in result.description or ()], result.fetchall()
            except duckdb.Error as e:
                if not isinstance(e, _QUERY_ERRORS):
                    _check_files(store, manifest)  # the statement is not to blame for those
                if isinstance(e, duckdb.CatalogException) and "failures" in str(e):
                    _check_failures(store)
                named = [c for c in columns if c not in BLENDSHAPES]  # they would hide the others
                raise QueryError(
                    f"{_line(e)} (columns: {', '.join(named[:70])}, and the blendshapes)"
                ) from e

    return store.consistently(read)


def select_ids(store: Store, where: str) -> set[str]:
    """Ids of the faces that satisfy a SQL condition, e.g. ``"width > 500 and Smiling = 1"``.

    Raises:
        QueryError: the condition is wrong; names the columns that there are.
    """
    if not where.strip():
        raise QueryError("the condition is empty", "write it as in `where='width > 500'`")
    _, rows = run_sql(store, f"SELECT id FROM faces WHERE ({where}\n)")
    return {str(row[0]) for row in rows}


def _line(error: Exception) -> str:
    return (str(error).splitlines() or ["error"])[0][:300]
