"""The user's own columns (labels, identities), joined to faces by file name."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from data import shards
from data.durable import replacing
from data.store import Store
from data.views import METADATA, columns_of
from ris.errors import InputError, StoreError

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
    by_lower = {n.lower(): n for n in reversed(table.column_names)}
    column = next((by_lower[n] for n in FILE_COLUMNS if n in by_lower), table.column_names[0])
    table = table.rename_columns(_safe_names(store, table.column_names, column))
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
            db.register("before", _earlier(target))
            old = set(db.sql("SELECT * FROM before LIMIT 0").columns) - {"id"}
            # SQL names have no case: a column given again in another case is the same one
            spelt = {name.lower(): name for name in old}
            table = table.rename_columns([spelt.get(n.lower(), n) for n in table.column_names])
            new = set(table.column_names) - {"_file"}
            both = [f"coalesce(n.{_q(c)}, o.{_q(c)}) AS {_q(c)}" for c in sorted(old & new)]
            only = [f"o.{_q(c)}" for c in sorted(old - new)]
            only += [f"n.{_q(c)}" for c in sorted(new - old)]
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


def _safe_names(store: Store, names: list[str], file_column: str) -> list[str]:
    """Names under which the columns of a table are kept, all different."""
    taken = {"_file", *(n.lower() for n in shards.schema(store.settings).names)}
    taken |= {n.lower() for n in columns_of(store.settings)}
    result = []
    for name in names:
        fresh = "_file" if name == file_column else name
        while fresh != "_file" and fresh.lower() in taken:
            fresh = f"user_{fresh}"
        taken.add(fresh.lower())
        result.append(fresh)
    return result


def _earlier(target: Path) -> pa.Table:
    try:
        return pq.read_table(target)
    except (OSError, pa.ArrowException) as e:
        raise StoreError(f"{target} is damaged: delete it and give the metadata again") from e


def _q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


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
