"""Brings an index up to date with the store by the rows that changed, where that is sound.

The vectors are made with statistics of sigma over the collection, which move with every face.
Vectors of different statistics do not compare, so an index keeps the mean and scale that it was
built with, uses them for new rows and for queries, and is built anew when those of the store have
drifted from them: when the means, in units of the scale, differ by more than `DRIFT` (root mean
square over the channels), or the scales by more than that share. It is also built anew when what
it learned from its rows may be outdated or its deleted rows cost too much: when it would have
grown by more than `GROWTH` since it was built, or more than `GONE` of its rows would be deleted.

Shards of the store are never changed in place, so only shards that the index has not seen are
read. A face in such a shard that the index has already (shards are merged, and photos read again)
keeps its row if its vector is the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from data import shards
from data.manifest import Manifest, Shard, StoreSettings
from data.store import Store
from index import kinds
from index.appender import IndexAppender
from index.meta import IndexMeta
from index.rows import batch_ids, row_tensors
from index.storage import DENSE, SPARSE
from ris.errors import IndexMissingError, MismatchError, StoreError
from ris.normaliser import Normaliser

DRIFT = 0.025  # leaves 97 % of the top ten as they were, at either end (docs/search.md)
GROWTH = 0.5
GONE = 0.2
SAME = 1e-6  # squared distance of unit vectors that differ by rounding only

MakeVectors = Callable[[tuple[torch.Tensor, torch.Tensor], Normaliser], np.ndarray]
"""Sigma and scores of n rows -> (n, D) vectors, zero where there is nothing."""


@dataclass(frozen=True)
class Recipe:
    """What an index is made by; indices of equal recipes may share rows.

    Attributes:
        feature: name.
        mask: `ris.masks.MaskOptions` as a dict.
        norm: normalisation of sigma.
        settings: hash of the store's settings.
    """

    feature: str
    mask: dict[str, Any]
    norm: str
    settings: str

    @classmethod
    def of(cls, feature: str, mask: dict[str, Any], norm: str, settings: StoreSettings) -> Recipe:
        """With the hash of the settings."""
        text = json.dumps(dataclasses.asdict(settings), sort_keys=True)
        return cls(feature, mask, norm, hashlib.sha256(text.encode()).hexdigest()[:16])

    def extra(self, manifest: Manifest, rows: int, **more: int) -> dict[str, Any]:
        """What `IndexMeta.extra` says of an index over `rows` of the store's faces."""
        return {
            **dataclasses.asdict(self),
            "without_feature": manifest.rows - rows,
            "store_state": manifest.state,
            "store_faces": manifest.rows,
            **more,
        }


def kept_normaliser(meta: IndexMeta, attached: Mapping[str, np.ndarray]) -> Normaliser:
    """The normaliser that an index's vectors were made with, and new ones are."""
    mean, scale = (torch.from_numpy(attached[name]) for name in ("mean", "scale"))
    return Normaliser(meta.extra["norm"], mean, scale)


def attached(manifest: Manifest, normaliser: Normaliser) -> dict[str, np.ndarray]:
    """What is kept with an index: its normaliser and the shards that it has seen."""
    return {
        "mean": normaliser.mean.numpy(),
        "scale": normaliser.scale.numpy(),
        "shards": np.array([_mark(shard) for shard in manifest.shards]),
    }


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
        manifest: the state to bring it to.
        recipe: of the index.
    """

    def __init__(
        self, appender: IndexAppender, store: Store, manifest: Manifest, recipe: Recipe
    ) -> None:
        self._appender, self._store = appender, store
        self._manifest, self._recipe = manifest, recipe
        self._normaliser = kept_normaliser(appender.meta, appender.attached)
        self._order = np.argsort(appender.ids, kind="stable")
        self._sorted = appender.ids[self._order]
        self._before = len(appender.ids) - appender.gone
        self._appended = 0

    def __enter__(self) -> IndexUpdate:
        return self

    def __exit__(self, *details: Any) -> None:
        self._appender.__exit__(*details)

    @classmethod
    def start(
        cls,
        store: Store,
        manifest: Manifest,
        folder: Path,
        recipe: Recipe,
        normaliser: Normaliser,
        kind: str,
        memory: int,
    ) -> IndexUpdate | None:
        """Opens the index for an update; None where it has to be built.

        Args:
            store: that it belongs to.
            manifest: the state to bring it to.
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
                update = cls(appender, store, manifest, recipe)
                seen = set(appender.attached["shards"].tolist())
            except (IndexMissingError, StoreError, KeyError, ValueError):
                return None  # damaged, or nothing to go by; a lock held by others fails below
            if drift(update._normaliser, normaliser) > DRIFT:
                return None
            if kind not in (meta.kind, "auto") or (
                kind == "auto" and _chosen(meta, memory) != meta.kind
            ):
                return None
            fresh = update._ids([shard for shard in manifest.shards if _mark(shard) not in seen])
            unknown = int(np.count_nonzero(~np.isin(fresh, appender.ids)))
            if meta.rows + unknown > (1 + GROWTH) * meta.built_rows:
                return None
            if seen - {_mark(shard) for shard in manifest.shards}:
                there = np.isin(appender.ids, update._ids(manifest.shards))
                appender.drop(np.flatnonzero(~there))
                if appender.gone > GONE * appender.rows or appender.gone == appender.rows:
                    return None
            stack.pop_all()
            return update

    def run(self, make: MakeVectors) -> dict[str, Any]:
        """Reads the shards that are new and publishes the index; returns its meta.json."""
        seen = set(self._appender.attached["shards"].tolist())
        for shard in self._manifest.shards:
            if _mark(shard) in seen:
                continue
            for batch in self._read(shard.file):
                vectors = make(row_tensors(batch, self._manifest.settings), self._normaliser)
                self._take(vectors, batch_ids(batch))
        rows = self._appender.rows - self._appender.gone
        removed = self._before + self._appended - rows
        return self._appender.finish(
            self._recipe.extra(self._manifest, rows, appended=self._appended, removed=removed),
            attached(self._manifest, self._normaliser),
        )

    def _take(self, vectors: np.ndarray, ids: list[str]) -> None:
        names = np.array([name.encode() for name in ids])
        at = np.searchsorted(self._sorted, names).clip(max=len(self._sorted) - 1)
        known = self._sorted[at] == names
        shown = np.abs(vectors).max(axis=1) > 0
        kept = np.zeros(len(ids), bool)
        rows = self._order[at[known & shown]]
        if len(rows):
            fresh = vectors[known & shown]
            fresh = fresh / np.linalg.norm(fresh, axis=1, keepdims=True)
            apart = np.square(self._appender.stored(rows) - fresh).sum(axis=1)
            kept[known & shown] = apart < SAME
        self._appender.drop(self._order[at[known & ~kept]])
        new = np.flatnonzero(shown & ~kept)
        self._appender.append(vectors[new], [ids[i] for i in new])
        self._appended += len(new)

    def _ids(self, shards: Sequence[Shard]) -> np.ndarray:
        """(n,) bytes: the ids of all faces in some shards."""
        parts = [
            np.array([name.encode() for name in batch_ids(batch)])
            for shard in shards
            for batch in self._read(shard.file, ["id"])
        ]
        return np.concatenate(parts) if parts else np.empty(0, "S1")

    def _read(self, file: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        try:
            yield from shards.read(
                self._store.folder / "faces" / file, columns or ["id", "sigma", "scores"]
            )
        except StoreError as error:
            if self._store.manifest().state == self._manifest.state:
                raise
            raise MismatchError(
                "the store changed while it was read: run the command again"
            ) from error


def _mark(shard: Shard) -> str:
    return f"{shard.file}:{shard.sha256[:16]}"


def _chosen(meta: IndexMeta, memory: int) -> str:
    stored = sum(r.bytes for name, r in meta.files.items() if name in (*DENSE, *SPARSE))
    return kinds.choose_kind(meta.rows, stored / meta.rows, meta.dims, memory)
