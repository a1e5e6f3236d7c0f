"""Rankings of a store's faces by many representations, in passes over the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch

from ris.choices import MaskMode, NormMode
from ris.data.manifest import Manifest
from ris.data.row_tensors import batch_ids, row_tensors
from ris.data.stats_file import style_statistics
from ris.data.store import Store
from ris.errors import InputError
from ris.evaluate.representations import (
    FEATURES,
    MaskedStyle,
    Representation,
    Rows,
    WholeStyle,
    rank,
)
from ris.method.contribution import AverageScores
from ris.method.layout import StyleLayout
from ris.method.masks import MaskOptions
from ris.method.normaliser import Normaliser
from ris.method.representation import DEFAULT_MASK, DEFAULT_NORM

MASKS: tuple[MaskMode, ...] = ("soft", "hard")
QUERIES_AT_ONCE = 1250
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Collection:
    """A state of a store, and what representations of its faces are made with.

    Attributes:
        store: the store.
        manifest: the state whose rows are meant.
        average: (K, C') mean scores of all faces, EIS's.
    """

    store: Store
    manifest: Manifest
    average: torch.Tensor

    @classmethod
    def of(cls, store: Store) -> Collection:
        """The store as it is now; reads all scores once."""
        manifest = store.manifest()
        average = AverageScores()
        for batch in store.batches(["sigma", "scores"], manifest):
            average.add(row_tensors(batch, store.settings)[1])
        return cls(store, manifest, average.mean())

    @property
    def layout(self) -> StyleLayout:
        """Style layout of the covered channels."""
        return self.store.settings.covered

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the scores."""
        return self.store.settings.classes

    def normaliser(self, mode: NormMode) -> Normaliser:
        """Fitted on all faces."""
        return Normaliser.fit(mode, style_statistics(self.store), self.layout)

    def batches(self, progress: Progress | None = None) -> Iterator[Rows]:
        """All faces, once."""
        start = 0
        for batch in self.store.batches(["sigma", "scores"], self.manifest):
            yield self._rows(batch, torch.arange(start, start + len(batch)))
            start += len(batch)
            if progress:
                progress(start, self.manifest.rows)

    def faces(self, numbers: np.ndarray) -> Rows:
        """Some faces, by row."""
        drawn = []
        for rows in self.batches():
            inside = torch.from_numpy(np.isin(rows.numbers.numpy(), numbers))
            if inside.any():
                drawn.append([part[inside] for part in rows])
        return Rows(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))

    def _rows(self, batch: pa.RecordBatch, numbers: torch.Tensor) -> Rows:
        return Rows(numbers, *row_tensors(batch, self.store.settings))

    def masked(
        self, name: str, options: MaskOptions, normaliser: Normaliser, *, eis: bool = False
    ) -> MaskedStyle:
        """RIS, or with `eis` one averaged mask for all faces."""
        average = self.average if eis else None
        return MaskedStyle(name, self.layout, self.classes, options, normaliser, average)


Ways = Callable[[Collection], Sequence[Representation]]


def style_representations(
    collection: Collection, norm: NormMode = DEFAULT_NORM
) -> list[Representation]:
    """RIS and EIS with soft and hard masks, and sigma without a mask."""
    normaliser = collection.normaliser(norm)
    masked: list[Representation] = [
        collection.masked(
            f"{method} {kind}", replace(DEFAULT_MASK, kind=kind), normaliser, eis=method == "EIS"
        )
        for kind in MASKS
        for method in ("RIS", "EIS")
    ]
    return [*masked, WholeStyle(normaliser)]


@dataclass(frozen=True)
class Rankings:
    """What was found.

    Attributes:
        k: results for each query that were asked for.
        queries: (Q,) rows of the queries.
        ids: of all faces, in row order.
        found: (representation, feature) -> for each query the rows found, best first.
    """

    k: int
    queries: np.ndarray
    ids: list[str]
    found: dict[tuple[str, str], list[np.ndarray]]

    @property
    def names(self) -> list[str]:
        """The representations, in order."""
        return list(dict.fromkeys(name for name, _ in self.found))

    def check(self, known: int) -> None:
        """Raises InputError unless `known`, a number of faces, is that of the ranked ones."""
        if known != len(self.ids):
            raise InputError("the store changed while it was measured: run this again")


def row_ids(store: Store, manifest: Manifest | None = None) -> list[str]:
    """The faces' ids, in row order."""
    batches = store.batches(["id"], manifest or store.manifest())
    return [i for batch in batches for i in batch_ids(batch)]


def rank_store(
    store: Store,
    ways: Ways,
    *,
    k: int = 5,
    queries: int = 500,
    seed: int = 0,
    progress: Progress | None = None,
) -> Rankings:
    """The top k of a store for some of its faces, by every representation and feature.

    Memory is bounded (but for what a representation keeps): the collection streams by, once for
    the averaged scores and twice for every `QUERIES_AT_ONCE` queries.

    Args:
        store: the collection.
        ways: makes the representations, all of different names.
        k: results for each query, at least 1.
        queries: number of query faces drawn from the store; 0 or too many for all.
        seed: of the draw.
        progress: called with rows done and rows in all.

    Raises:
        InputError: too few faces.
    """
    total = store.manifest().rows
    if k < 1 or total < k + 1:
        raise InputError(f"{total} faces are too few for the top {k} of others")
    collection = Collection.of(store)
    count = total if queries <= 0 else min(queries, total)
    chosen = np.sort(np.random.default_rng(seed).choice(total, count, replace=False))
    representations = ways(collection)
    groups = np.array_split(chosen, -(-count // QUERIES_AT_ONCE))
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for g, group in enumerate(groups):

        def told(done: int, of: int, g: int = g) -> None:
            if progress:
                progress(g * of + done, len(groups) * of)

        asked = collection.faces(group)
        for key, rows in rank(representations, asked, collection.batches(told), k).items():
            found.setdefault(key, []).extend(rows)
    ordered = {(r.name, f): found[r.name, f] for r in representations for f in FEATURES}
    return Rankings(k, chosen, row_ids(store, collection.manifest), ordered)
