"""DuckDB over the store: a view ``faces`` of everything but the vectors."""

from __future__ import annotations

import duckdb
import pyarrow as pa
from pyarrow import dataset

from data import shards
from data.blendshapes import BLENDSHAPES, DERIVED
from data.manifest import Manifest, StoreSettings
from data.store import Store
from ris.errors import QueryError, StoreError

METADATA = "metadata.parquet"


def connect(store: Store, manifest: Manifest) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the view ``faces`` (one row a face, the user's metadata joined).

    No file can be read or written through the connection.
    """
    connection = duckdb.connect(":memory:")
    schema = pa.schema([f for f in shards.schema(manifest.settings) if _is_plain(f)])
    columns = ", ".join(f"f.{name}" for name in columns_of(manifest.settings))
    files = [str(store.folder / "faces" / s.file) for s in manifest.shards]
    metadata = store.folder / METADATA
    try:
        rows = dataset.dataset(files, schema=schema) if files else schema.empty_table()
        connection.register("raw", rows)
        connection.execute(f"CREATE VIEW stored AS {_spread(schema)}")
        select = f"SELECT {columns} FROM stored f"
        if metadata.exists():
            connection.register("given", dataset.dataset(str(metadata)))
            select = (
                f"SELECT {columns}, m.* EXCLUDE (id) FROM stored f LEFT JOIN given m ON f.id = m.id"
            )
        connection.execute("SET enable_external_access = false")
        connection.execute(f"CREATE VIEW faces AS {select}")
    except (duckdb.Error, OSError, pa.ArrowException) as e:
        raise StoreError(f"{store.folder} cannot be read: {_line(e)}") from e
    return connection


def columns_of(settings: StoreSettings) -> list[str]:
    """Columns of the view ``faces``, without the user's own.

    Those of a row but for vectors; ``box`` as ``box_left`` and so on; and instead of
    ``blendshapes`` a column for each of them and for what follows from them.
    """
    plain = [f.name for f in shards.schema(settings) if _is_plain(f)]
    return [n for n in plain if n not in _SPREAD] + [*_BOX, *BLENDSHAPES, *DERIVED]


_BOX = ("box_left", "box_top", "box_right", "box_bottom")
_SPREAD = {"box": _BOX, "blendshapes": BLENDSHAPES}


def _is_plain(field: pa.Field) -> bool:
    return field.name not in shards.VECTORS


def _spread(schema: pa.Schema) -> str:
    """SELECT that makes a column of each element of the lists in `_SPREAD`."""
    kept = [n for n in schema.names if n not in _SPREAD]
    kept += [f"{n}[{i}] AS {c}" for n, names in _SPREAD.items() for i, c in enumerate(names, 1)]
    derived = [f"({expression}) AS {name}" for name, expression in DERIVED.items()]
    return f"SELECT *, {', '.join(derived)} FROM (SELECT {', '.join(kept)} FROM raw)"


def run_sql(store: Store, statement: str) -> tuple[list[str], list[tuple[object, ...]]]:
    """Column names and rows of a SQL statement over ``faces``.

    Raises:
        QueryError: the statement is wrong; the message is DuckDB's own first line.
    """

    def read(manifest: Manifest) -> tuple[list[str], list[tuple[object, ...]]]:
        with connect(store, manifest) as connection:
            columns = [str(row[0]) for row in connection.execute("DESCRIBE faces").fetchall()]
            try:
                if len(connection.extract_statements(statement)) != 1:
                    raise QueryError('give one SQL statement, as in "select id from faces"')
                result = connection.execute(statement)
                return [d[0] for d in result.description or ()], result.fetchall()
            except duckdb.IOException as e:
                raise StoreError(f"{store.folder} cannot be read: {_line(e)}") from e
            except duckdb.Error as e:
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
        raise QueryError('the condition is empty: write it as in --where "width > 500"')
    _, rows = run_sql(store, f"SELECT id FROM faces WHERE ({where}\n)")
    return {str(row[0]) for row in rows}


def _line(error: Exception) -> str:
    return (str(error).splitlines() or ["error"])[0][:300]
