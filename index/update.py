"""Brings an index up to date with the store by the rows that changed, where that is sound.

The vectors are made with statistics of sigma over the collection, which move with every face.
Vectors of different statistics do not compare, so an index keeps the mean and scale that it was
built with, uses them for new rows and for queries, and is built anew when those of the store have
drifted from them: when the means, in units of the scale, differ by more than `DRIFT` (root mean
square over the channels), or the scales by more than that share. It is also built anew when what
it learned from its rows may be outdated or its deleted rows cost too much: when it would have
grown by more than `GROWTH` since it was built, or more than `GONE` of its rows would be deleted.

Only faces that the index has not looked at are read (`ris.index.contents`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from ris.data.durable import UnreadableError
from ris.data.store import Store
from ris.errors import IndexMissingError, StoreError
from ris.index import kinds
from ris.index.appender import IndexAppender
from ris.index.contents import GONE as NOWHERE
from ris.index.contents import Contents, mark
from ris.index.files import DENSE, SPARSE
from ris.index.meta import BuildReport, IndexMeta
from ris.index.recipe import Recipe
from ris.index.rows import batch_ids, row_tensors
from ris.index.unread import keys_in, read_new
from ris.method.normaliser import Normaliser
from ris.notices import warn

DRIFT = 0.025  # leaves 97 % of the top ten as they were, at either end (docs/search.md)
GROWTH = 0.5
GONE = 0.2

MakeVectors = Callable[[tuple[torch.Tensor, torch.Tensor], Normaliser], np.ndarray]
"""Sigma and scores of n rows -> (n, D) vectors, zero where there is nothing."""


def kept_normaliser(meta: IndexMeta, attached: Mapping[str, np.ndarray]) -> Normaliser:
    """The normaliser that an index's vectors were made with, and new ones are."""
    mean, scale = (torch.from_numpy(attached[name]) for name in ("mean", "scale"))
    return Normaliser(meta.extra["norm"], mean, scale)


def attached(contents: Contents, normaliser: Normaliser) -> dict[str, np.ndarray]:
    """What is kept with an index: its normaliser and which faces it has looked at."""
    arrays = {"mean": normaliser.mean.numpy(), "scale": normaliser.scale.numpy()}
    return arrays | contents.to_arrays()


def drift(kept: Normaliser, now: Normaliser) -> float:
    """How far statistics have moved: the larger of the root mean square of the means' shift, in
    units of the kept scale, and of the scales' change."""
    shift = (now.mean - kept.mean) / kept.scale
    change = now.scale / kept.scale - 1
    return max(float(part.square().mean().sqrt()) for part in (shift, change))


class IndexUpdate:
    """An index that is being brought up to date; a context manager.

    Args:
        appender: of the index.
        store: that it belongs to.
        recipe: of the index.
    """

    def __init__(self, appender: IndexAppender, store: Store, recipe: Recipe) -> None:
        self._appender, self._store, self._recipe = appender, store, recipe
        self._contents = Contents.from_arrays(appender.attached, appender.rows)
        self._normaliser = kept_normaliser(appender.meta, appender.attached)
        self._shown: list[np.ndarray] = [np.empty(0, bool)]

    def __enter__(self) -> IndexUpdate:
        return self

    def __exit__(self, *details: Any) -> None:
        self._appender.__exit__(*details)

    @classmethod
    def start(
        cls,
        store: Store,
        folder: Path,
        recipe: Recipe,
        normaliser: Normaliser,
        kind: str,
        memory: int,
    ) -> IndexUpdate | None:
        """Opens the index for an update; None where it has to be built.

        Args:
            store: that it belongs to.
            folder: of the index.
            recipe: asked for.
            normaliser: of the store as it is now.
            kind: asked for; one of `kinds.KINDS` or ``auto``.
            memory: for ``auto``.

        Raises:
            StoreError: another run is writing it, or shards are damaged.
        """
        if not folder.exists():
            return None
        with contextlib.ExitStack() as stack:
            try:
                appender = stack.enter_context(IndexAppender(folder))
                meta = appender.meta
                if any(meta.extra.get(k) != v for k, v in dataclasses.asdict(recipe).items()):
                    return None
                update = cls(appender, store, recipe)
            except UnreadableError:
                raise
            except IndexMissingError:
                return None
            except (StoreError, KeyError, ValueError) as e:
                # damaged; a lock that others hold fails below
                warn(f"the index {folder} cannot be used and is built anew: {e}")
                return None
            if drift(update._normaliser, normaliser) > DRIFT:
                return None
            if kind not in (meta.kind, "auto") or (
                kind == "auto" and _chosen(meta, memory) != meta.kind
            ):
                return None
            keys_of = keys_in(store)
            difference = store.consistently(lambda m: update._contents.difference(m, keys_of))
            if meta.rows + difference.new > (1 + GROWTH) * meta.built_rows:
                return None
            gone = np.count_nonzero(difference.gone[: meta.rows])
            if gone > GONE * meta.rows or gone == meta.rows:
                return None
            stack.pop_all()
            return update

    def run(
        self, make: MakeVectors, progress: Callable[[int, int], None] | None = None, **more: Any
    ) -> BuildReport:
        """Reads the faces that are new and publishes the index.

        Args:
            make: vectors of rows.
            progress: called with rows read and rows to read.
            more: further values for `IndexMeta.extra`.
        """
        appender, before = self._appender, len(self._contents.keys)
        marks = {mark(shard) for shard in self._store.manifest().shards}
        if marks == set(self._contents.marks.tolist()):  # nothing is new, so nothing is written
            return BuildReport(appender.meta, built=False)
        rows, alive = appender.rows, appender.rows - appender.gone
        manifest, contents = read_new(
            self._store, self._contents, lambda batch: self._take(batch, make), progress
        )
        appender.drop(np.flatnonzero(contents.places[:rows] == NOWHERE))
        contents = contents.arranged(rows, before, np.concatenate(self._shown))
        appended = appender.rows - rows
        now = appender.rows - appender.gone
        counts = {"appended": appended, "removed": alive + appended - now}
        meta = appender.finish(
            self._recipe.extra(manifest, contents, appender.rows, **counts, **more),
            attached(contents, self._normaliser),
        )
        return BuildReport(meta, built=False, **counts)

    def _take(self, batch: pa.RecordBatch, make: MakeVectors) -> None:
        vectors = make(row_tensors(batch, self._store.settings), self._normaliser)
        shown = np.abs(vectors).max(axis=1) > 0
        ids = batch_ids(batch)
        self._appender.append(vectors[shown], [ids[i] for i in np.flatnonzero(shown)])
        self._shown.append(shown)


def _chosen(meta: IndexMeta, memory: int) -> str:
    stored = sum(r.bytes for name, r in meta.files.items() if name in (*DENSE, *SPARSE))
    return kinds.choose_kind(meta.rows, stored / meta.rows, meta.dims, memory)
