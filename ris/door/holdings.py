"""What a collection holds: answers to SQL, numbers and settings, photos that gave no face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ris.door.model_settings import PathLike
from ris.once import once

if TYPE_CHECKING:
    from ris.data.failures import Failure
    from ris.data.store import Store
    from ris.door.evaluation import Evaluation
    from ris.door.face_rows import Face
    from ris.door.info import Info

VECTORS = ("id", "path", "w", "sigma")
"""What is exported unless told otherwise."""


class Rows(list[dict[str, Any]]):
    """Rows of an answer, each a dict by column.

    Attributes:
        columns: as the statement names them; in the dicts a second one of a name is ``name_1``.
    """

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.columns = list(columns)
        names = named_apart(self.columns)
        super().__init__(dict(zip(names, row, strict=True)) for row in rows)


def named_apart(names: Sequence[str]) -> list[str]:
    """Names of columns, all different: a second ``id`` becomes ``id_1``."""
    result: list[str] = []
    for name in names:
        fresh, number = name, 0
        while fresh in result or (number and fresh in names):
            number += 1
            fresh = f"{name}_{number}"
        result.append(fresh)
    return result


class Contents:
    """What is in a collection, read. `len` is the number of faces.

    Attributes:
        folder: where it is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def __len__(self) -> int:
        return self._store.manifest().rows

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<Collection {self.folder}>"

    @once
    def _store(self) -> Store:
        """For reading; each writer opens its own."""
        from ris.data.store import Store

        return Store.open(self.folder)

    def faces(self, where: str | None = None, *, vectors: bool = False) -> Iterator[Face]:
        """The faces one by one, in the order in which they were committed; memory does not grow
        with their number (with `where` their ids are held).

        Args:
            where: SQL condition on the view ``faces``; None for all.
            vectors: read the latents, coefficients and scores too, about 150 KB a face.

        Raises:
            QueryError: a wrong condition.
            StoreError: the collection is damaged, or was changed while it was gone through.

        Example:
            >>> next(faces.faces()).path.name
            'seed000100.jpg'
            >>> next(faces.faces("yaw < 90", vectors=True)).w.shape
            (22, 512)
        """
        from ris.door.face_rows import faces_of

        return faces_of(self._store, where, vectors=vectors)

    def sql(self, statement: str) -> Rows:
        """Asks DuckDB about the faces: a view ``faces`` of everything but the vectors, with your
        own columns, and a view ``failures``.

        Returns:
            a list with a dict a row. A second column of one name is called ``name_1``.

        Raises:
            QueryError: the statement is wrong; the message names the columns that there are.
            StoreError: the collection is damaged.

        Example:
            >>> faces.sql("select count(*) as n from faces where yaw < 90")
            [{'n': 12}]
        """
        from ris.data.views import run_sql

        return Rows(*run_sql(self._store, statement))

    def failures(self, stages: Sequence[str] | None = None) -> list[Failure]:
        """The photos that gave no face, by path, with stage and reason.

        Args:
            stages: where they failed: ``read``, ``decode``, ``align``, ``invert``; None for all.

        Raises:
            StoreError: the list is damaged.

        Example:
            >>> faces.failures()
            []
        """
        from ris.data.failures import damaged, read_failures
        from ris.data.sealed import DamagedError

        try:
            found = read_failures(self._store)
        except DamagedError as e:
            raise damaged(e) from e
        return [f for f in found if stages is None or f.stage in stages]

    def info(self) -> Info:
        """Numbers and settings of the collection and of its indices.

        Example:
            >>> faces.info().features
            ('eyes', 'nose', 'mouth', 'hair', 'skin', 'neck', 'clothes', 'background', 'pose')
        """
        from ris.data.inspect import summary
        from ris.door.info import info_of

        return info_of(summary(self._store))

    def export(self, path: PathLike, columns: Sequence[str] = VECTORS) -> int:
        """Writes columns of all faces into one Parquet file for other tools, streaming.

        Args:
            path: file to write (.parquet).
            columns: of the faces; by default id, path, w and sigma.

        Returns:
            number of faces written.

        Raises:
            InputError: an unknown column, or another suffix.
            StoreError: the collection is damaged, or the file cannot be written.

        Example:
            >>> faces.export("faces.parquet", ["id", "sigma"])
            12
        """
        from ris.data.inspect import export

        return export(self._store, Path(path), columns)

    @property
    def evaluation(self) -> Evaluation:
        """The paper's measures on this collection."""
        from ris.door.evaluation import Evaluation

        return Evaluation(self._store)
