"""DuckDB over the store: a view ``faces`` of everything but the vectors."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from data import shards
from data.store import Store
from ris.errors import QueryError, StoreError

METADATA = "metadata.parquet"


def connect(store: Store) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the view ``faces`` (one row a face, the user's metadata joined).

    Files outside the store cannot be read through the connection.
    """
    connection = duckdb.connect(":memory:")
    manifest = store.manifest()
    plain = [f.name for f in shards.schema(manifest.settings) if f.name not in shards.VECTORS]
    columns = ", ".join(f"f.{name}" for name in plain)
    if manifest.shards:
        files = ", ".join(_quote(str(store.folder / "faces" / s.file)) for s in manifest.shards)
        rows = f"read_parquet([{files}])"
    else:
        empty = pa.schema([f for f in shards.schema(manifest.settings) if f.name in plain])
        connection.register("no_faces", empty.empty_table())
        rows = "no_faces"
    metadata = store.folder / METADATA
    try:
        connection.execute(f"SET allowed_directories = [{_quote(str(store.folder))}]")
        connection.execute("SET enable_external_access = false")
        if metadata.exists():
            joined = f"read_parquet({_quote(str(metadata))}) m"
            connection.execute(
                f"CREATE VIEW faces AS SELECT {columns}, m.* EXCLUDE (id) "
                f"FROM {rows} f LEFT JOIN {joined} ON f.id = m.id"
            )
        else:
            connection.execute(f"CREATE VIEW faces AS SELECT {columns} FROM {rows} f")
    except duckdb.Error as e:
        raise StoreError(f"{store.folder} cannot be read: {_line(e)}") from e
    return connection


def run_sql(store: Store, statement: str) -> tuple[list[str], list[tuple[object, ...]]]:
    """Column names and rows of a SQL statement over ``faces``.

    Raises:
        QueryError: the statement is wrong; the message is DuckDB's own first line.
    """
    with connect(store) as connection:
        try:
            result = connection.execute(statement)
            return [d[0] for d in result.description or ()], result.fetchall()
        except duckdb.Error as e:
            raise QueryError(f"{_line(e)} (columns: {_columns(connection)})") from e


def select_ids(store: Store, where: str) -> set[str]:
    """Ids of the faces that satisfy a SQL condition, e.g. ``"width > 500 and Smiling = 1"``.

    Raises:
        QueryError: the condition is wrong; names the columns that there are.
    """
    _, rows = run_sql(store, f"SELECT id FROM faces WHERE ({where}\n)")
    return {str(row[0]) for row in rows}


def _columns(connection: duckdb.DuckDBPyConnection) -> str:
    names = [row[0] for row in connection.execute("DESCRIBE faces").fetchall()]
    return ", ".join(names[:60])


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _line(error: Exception) -> str:
    return (str(error).splitlines() or ["error"])[0][:300]
