"""What is said of an index that is damaged, and which rows of it are known not to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ris.errors import StoreError


def damaged(folder: Path, why: str) -> StoreError:
    """The error for an index that cannot be used."""
    return StoreError(
        f"the index {folder} is damaged ({why}): run `ris index --feature {folder.name} --rebuild`"
    )


def reason(error: Exception) -> str:
    """An error's message in one line."""
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "is not JSON"
    if isinstance(error, KeyError):
        return f"lacks {error}"
    return " ".join(str(error).split()) or type(error).__name__


class CheckedRows:
    """Compares rows with their sums when they are first used.

    Reading everything when an index is opened would take seconds; a row's sum takes a tenth of
    the time of its first use, and nothing later. May be used by several threads.

    Args:
        rows: N.
        sums: file of (N,) uint32 sums, whose folder's folder is the index's; None: all rows are
            believed.
        compute: (n,) row numbers, or None for all -> (n,) int64 sums as they are.

    Raises:
        ValueError: the file is too short.
        OSError: it cannot be read.
    """

    def __init__(
        self, rows: int, sums: Path | None, compute: Callable[[np.ndarray | None], np.ndarray]
    ) -> None:
        self.done = sums is None
        """Whether every row has been compared."""
        self._compute = compute
        if sums is not None:
            self._folder = sums.parent.parent
            self._sums = np.memmap(sums, "<u4", "r", shape=(rows,)).view(np.ndarray)
            self._seen = np.zeros(rows, bool)

    def check(self, rows: np.ndarray) -> None:
        """Looks at (n,) rows, given by number.

        Raises:
            StoreError: one is not what was written.
        """
        if self.done:
            return
        fresh = rows[~self._seen[rows]]
        if not len(fresh):
            return
        bad = np.flatnonzero(self._compute(fresh) != self._sums[fresh])
        if len(bad):
            raise damaged(self._folder, f"row {fresh[bad[0]]} is not what was written")
        self._seen[fresh] = True
        self.done = len(fresh) == len(self._seen) or bool(self._seen.all())
