"""The user's own columns (labels, identities), joined to faces by file name."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from data import shards
from data.durable import replacing
from data.store import Store
from data.views import METADATA
from ris.errors import InputError

FILE_COLUMNS = ("file", "filename", "file_name", "path", "image", "image_id", "name")
"""Names under which the column with the photo's file name is looked for; else the first one."""


def join_metadata(store: Store, source: Path) -> tuple[int, int]:
    """Joins a CSV or Parquet table to the faces in the store and keeps its columns.

    A row belongs to a face if its file name is the photo's, with or without leading folders.
    Columns and values of an earlier join stay unless they are given anew. A column whose name
    the store uses itself (``width``, say) is kept as ``user_width``.

    Returns:
        number of faces that have a row, number of faces that have none.

    Raises:
        InputError: not a readable table, or a file name stands in it twice.
    """
    table = read_table(source)
    column = next(
        (n for n in table.column_names if n.lower() in FILE_COLUMNS), table.column_names[0]
    )
    reserved = {f.name for f in shards.schema(store.settings)}
    names = [
        "_file" if n == column else f"user_{n}" if n in reserved else n for n in table.column_names
    ]
    table = table.rename_columns(names)
    with store.locked() as manifest, duckdb.connect(":memory:") as db:
        paths = [b.select(["id", "path"]) for b in store.batches(["id", "path"], manifest)]
        if not paths:
            return 0, 0
        db.register("faces", pa.Table.from_batches(paths))
        db.register("given", table)
        db.execute(
            "CREATE TABLE fresh AS SELECT f.id, g.* EXCLUDE (_file) FROM faces f JOIN given g "
            r"ON regexp_extract(f.path, '[^/]*$') = regexp_extract(g._file::VARCHAR, '[^/]*$') "
            "AND (f.path = g._file::VARCHAR OR ends_with('/' || f.path, '/' || g._file::VARCHAR))"
        )
        twice = db.execute("SELECT id FROM fresh GROUP BY id HAVING count(*) > 1").fetchall()
        if twice:
            raise InputError(f"{source} has several rows for the file of face {twice[0][0]}")
        matched = _count(db, "fresh")
        target = store.folder / METADATA
        merged = "SELECT * FROM fresh"
        if target.exists():
            db.register("before", pq.read_table(target))
            old = set(db.sql("SELECT * FROM before LIMIT 0").columns)
            new = set(table.column_names) - {"_file"}
            both = [f'coalesce(n."{c}", o."{c}") AS "{c}"' for c in sorted(old & new - {"id"})]
            only = [f'o."{c}"' for c in sorted(old - new - {"id"})]
            only += [f'n."{c}"' for c in sorted(new - old)]
            merged = (
                f"SELECT coalesce(n.id, o.id) AS id, {', '.join([*both, *only])} "
                "FROM fresh n FULL JOIN before o ON n.id = o.id"
            )
        try:
            result = db.sql(f"SELECT * FROM ({merged}) WHERE id IN (SELECT id FROM faces)")
            rows = result.to_arrow_table()
        except duckdb.Error as e:
            raise InputError(f"{source} does not fit the earlier metadata: {e}") from e
        with replacing(target) as temporary:
            pq.write_table(rows, temporary)
        return matched, manifest.rows - matched


def read_table(source: Path) -> pa.Table:
    """A CSV (or TSV) or Parquet file as an Arrow table, types found by DuckDB.

    Raises:
        InputError: missing or unreadable.
    """
    if not source.is_file():
        raise InputError(f"no metadata file {source}")
    path = str(source).replace("'", "''")
    parquet = source.suffix.lower() in (".parquet", ".pq")
    reader = "read_parquet" if parquet else "read_csv"
    try:
        with duckdb.connect(":memory:") as db:
            table = db.sql(f"SELECT * FROM {reader}('{path}')").to_arrow_table()
    except duckdb.Error as e:
        reason = (str(e).splitlines() or [""])[0][:200]
        raise InputError(f"{source} is not a readable CSV or Parquet table: {reason}") from e
    if table.num_columns < 2:
        raise InputError(f"{source} needs a column of file names and at least one more")
    return table


def _count(db: duckdb.DuckDBPyConnection, table: str) -> int:
    ((count,),) = db.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(count)
