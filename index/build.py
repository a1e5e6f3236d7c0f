"""Rows of the store to per-feature indices: built anew, or brought up to date where that is sound.

The vectors are made with statistics of sigma over the collection, which move with every face.
Vectors of different statistics do not compare, so an index keeps the mean and scale that it was
built with, uses them for new rows and for queries, and is built anew when those of the store have
drifted from them: when the means, in units of the scale, differ by more than `DRIFT` (root mean
square over the channels), or the scales by more than that share. It is also built anew when what
it learned from its rows may be outdated or its deleted rows cost too much: when it would have
grown by more than `GROWTH` since it was built, or more than `GONE` of its rows would be deleted.

Only faces that the index has not looked at are read (`ris.data.changes`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import torch

from ris.choices import IndexKind, NormMode
from ris.data.changes import GONE as NOWHERE
from ris.data.changes import Contents, ShardKeys, mark, read_new
from ris.data.durable import UnreadableError
from ris.data.manifest import StoreSettings
from ris.data.row_tensors import batch_ids, row_tensors
from ris.data.stats_file import style_statistics
from ris.data.store import Store
from ris.errors import IndexMissingError, InputError, RisError, StoreError
from ris.index import DEFAULT_MEMORY, KINDS, choose_kind
from ris.index.directory import index_folder, indexed_features
from ris.index.feature import Recipe, check_feature
from ris.index.files import DENSE, SPARSE, reason
from ris.index.meta import BuildReport, IndexMeta, read_meta
from ris.index.writing import IndexAppender, IndexWriter
from ris.method.masks import MaskOptions, eligible_channels
from ris.method.normaliser import NORM_MODES, Normaliser
from ris.method.representation import DEFAULT_MASK, DEFAULT_NORM, represent
from ris.notices import warn

DEFAULT_FEATURES = ("eyes", "nose", "mouth", "hair", "pose")
DRIFT = 0.025  # leaves 97 % of the top ten as they were, at either end (docs/explanation/search.md)
GROWTH = 0.5
GONE = 0.2
_UNITS = {"": 1, "B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
Progress = Callable[[int, int], None]
Change = TypeVar("Change", IndexWriter, IndexAppender)


def parse_bytes(text: str) -> int:
    """``"4GB"`` -> bytes (1 KB is 1,024 bytes).

    Raises:
        InputError: not a size.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?B?)\s*", text.upper())
    if not match:
        raise InputError(f"{text!r} is not a size", "write it as 500MB or 4GB")
    unit = match[2] if match[2].endswith("B") or not match[2] else match[2] + "B"
    return int(float(match[1]) * _UNITS[unit])


def build_indices(
    store: Store,
    features: Sequence[str],
    *,
    options: MaskOptions | None = None,
    norm: NormMode = DEFAULT_NORM,
    kind: IndexKind = "auto",
    memory: int = DEFAULT_MEMORY,
    rebuild: bool = False,
    progress: Progress | None = None,
) -> dict[str, BuildReport]:
    """Brings the index of every feature up to date: by the faces that are new, changed or gone
    where that is sound, else by building it in one pass over the store.

    A face on which a feature covers nothing (no hair, say) has no vector for it and is left out
    of that index; the number is in the result.

    Args:
        store: must hold at least one face.
        features: names from `ris.method.masks.features_of`.
        options: how masks are made.
        norm: how sigma is normalised over the collection.
        kind: one of `ris.index.KINDS`, or ``auto`` to choose by size.
        memory: bytes that a search may keep resident, for ``auto``.
        rebuild: build even where an update would do.
        progress: called with rows done and rows to read; of several indices one after another.

    Returns:
        for each feature what became of its index.

    Raises:
        InputError: unknown feature, kind or normalisation.
        StoreError: no faces, damaged shards, or the disk is full.
    """
    options = options or DEFAULT_MASK
    manifest = store.manifest()
    settings = manifest.settings
    for feature in features:
        check_feature(settings, feature)
    if kind != "auto" and kind not in KINDS:
        raise InputError(f"index kind is auto or one of {', '.join(KINDS)}, not {kind!r}")
    if norm not in NORM_MODES:
        raise InputError(f"normalisation is one of {', '.join(NORM_MODES)}, not {norm!r}")
    if not manifest.rows:
        raise StoreError(f"{store.folder} holds no faces yet", "run `Collection.ingest` first")
    normaliser = Normaliser.fit(norm, style_statistics(store), settings.covered)
    recipes = {f: Recipe.of(f, asdict(options), norm, settings) for f in features}
    asked = {"kind": kind, "memory": memory}
    reports: dict[str, BuildReport] = {}
    for feature in () if rebuild else features:
        report = _updated(store, recipes[feature], normaliser, asked, progress)
        if report is not None:
            reports[feature] = report
    with contextlib.ExitStack() as stack:
        rows: dict[str, _Rows[IndexWriter]] = {}
        for feature in sorted({*features} - reports.keys()):  # so that two runs wait in turn
            keep = eligible_channels(settings.covered, feature, to_image=options.to_image)
            writer = IndexWriter(index_folder(store, feature), int(keep.sum()))
            stack.enter_context(writer)
            rows[feature] = _Rows(writer, recipes[feature], normaliser, settings)

        def take(batch: pa.RecordBatch) -> None:
            for own in rows.values():
                own.take(batch)

        if rows:
            manifest, read = read_new(store, Contents.none(), take, progress)
        for feature, own in rows.items():
            if not own.change.rows:
                raise StoreError(f"no face in the store shows {feature!r}: nothing to index")
            contents = read.arranged(0, 0, own.shown)
            extra = own.recipe.extra(manifest, contents, own.change.rows, asked=asked)
            meta = own.change.finish(kind, extra, memory, _attached(contents, normaliser))
            reports[feature] = BuildReport(meta)
    return {feature: reports[feature] for feature in features}


def refresh_indices(
    store: Store, progress: Progress | None = None
) -> dict[str, BuildReport | RisError]:
    """Brings every index that a store has up to date, each with the options that it was built
    with. An index that fails leaves the others alone.

    Args:
        store: the store.
        progress: as `build_indices`'s.

    Returns:
        for each feature that is indexed what became of its index, or what went wrong.
    """
    results: dict[str, BuildReport | RisError] = {}
    alike: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for feature in indexed_features(store):
        try:
            extra = read_meta(index_folder(store, feature)).extra
            asked = extra.get("asked", {})
            options = {
                "options": MaskOptions(**extra["mask"]),
                "norm": extra["norm"],
                "kind": asked.get("kind", "auto"),
                "memory": asked.get("memory", DEFAULT_MEMORY),
            }
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            results[feature] = StoreError(
                f"the index for {feature!r} does not say how it was built ({reason(e)})",
                f"run `Collection.index({feature!r}, rebuild=True)`",
            )
        except RisError as e:
            results[feature] = e
        else:
            alike.setdefault(repr(options), ([], options))[0].append(feature)
    for features, options in alike.values():
        try:
            results |= build_indices(store, features, progress=progress, **options)
        except RisError:
            for feature in features:  # one of them, perhaps: each for itself
                try:
                    results |= build_indices(store, [feature], progress=progress, **options)
                except RisError as e:
                    results[feature] = e
    return results


class _Rows(Generic[Change]):
    """Rows of the store on their way into one index.

    Args:
        change: of the index.
        recipe: of its vectors.
        normaliser: of its vectors.
        settings: of the store.
    """

    def __init__(
        self, change: Change, recipe: Recipe, normaliser: Normaliser, settings: StoreSettings
    ) -> None:
        self.change: Change = change
        self.recipe, self.normaliser = recipe, normaliser
        self._settings, self._options = settings, MaskOptions(**recipe.mask)
        self._shown: list[np.ndarray] = [np.empty(0, bool)]

    @property
    def shown(self) -> np.ndarray:
        """(n,) bool of the rows that were taken: whether they show the feature."""
        return np.concatenate(self._shown)

    def take(self, batch: pa.RecordBatch) -> None:
        """Appends the rows that show the feature."""
        settings, feature = self._settings, self.recipe.feature
        vectors = represent(
            *row_tensors(batch, settings),
            settings.covered,
            settings.classes,
            feature,
            self._options,
            self.normaliser,
        ).numpy()
        shown = np.abs(vectors).max(axis=1) > 0
        ids = batch_ids(batch)
        self.change.append(vectors[shown], [ids[i] for i in np.flatnonzero(shown)])
        self._shown.append(shown)


def _updated(
    store: Store,
    recipe: Recipe,
    normaliser: Normaliser,
    asked: dict[str, Any],
    progress: Progress | None,
) -> BuildReport | None:
    """An index that was brought up to date; None where it has to be built.

    Args:
        store: that it belongs to.
        recipe: asked for.
        normaliser: of the store as it is now.
        asked: kind and memory.
        progress: as `build_indices`'s.

    Raises:
        StoreError: another run is writing it, or shards are damaged.
    """
    folder = index_folder(store, recipe.feature)
    if not folder.exists():
        return None
    with contextlib.ExitStack() as stack:
        try:
            appender = IndexAppender(folder)
            stack.enter_context(appender)
            meta = appender.meta
            if any(meta.extra.get(k) != v for k, v in asdict(recipe).items()):
                return None
            contents = Contents.from_arrays(appender.attached, appender.rows)
            mean, scale = (torch.from_numpy(appender.attached[n]) for n in ("mean", "scale"))
            kept = Normaliser(meta.extra["norm"], mean, scale)
        except UnreadableError:
            raise
        except IndexMissingError:
            return None
        except (StoreError, KeyError, ValueError) as e:
            # damaged, or of a former kind; a lock that others hold fails below
            warn(f"the index {folder} cannot be used and is built anew: {e}")
            return None
        if drift(kept, normaliser) > DRIFT or asked["kind"] not in (meta.kind, "auto"):
            return None
        if asked["kind"] == "auto" and _chosen(meta, asked["memory"]) != meta.kind:
            return None
        keys_of = ShardKeys(store)
        difference = store.consistently(lambda m: contents.difference(m, keys_of))
        gone = np.count_nonzero(difference.gone[: meta.rows])
        if meta.rows + difference.new > (1 + GROWTH) * meta.built_rows:
            return None
        if gone > GONE * meta.rows or gone == meta.rows:
            return None
        rows = _Rows(appender, recipe, kept, store.settings)
        return _grown(store, rows, contents, asked, progress)
    return None


def _grown(
    store: Store,
    rows: _Rows[IndexAppender],
    contents: Contents,
    asked: dict[str, Any],
    progress: Progress | None,
) -> BuildReport:
    """Reads the faces that are new and publishes the index."""
    appender, looked_at = rows.change, len(contents.keys)
    marks = {mark(shard) for shard in store.manifest().shards}
    if marks == set(contents.marks.tolist()):  # nothing is new, so nothing is written
        return BuildReport(appender.meta, built=False)
    before, alive = appender.rows, appender.rows - appender.gone
    manifest, contents = read_new(store, contents, rows.take, progress)
    appender.drop(np.flatnonzero(contents.places[:before] == NOWHERE))
    contents = contents.arranged(before, looked_at, rows.shown)
    appended = appender.rows - before
    removed = alive + appended - (appender.rows - appender.gone)
    counts = {"appended": appended, "removed": removed}
    extra = rows.recipe.extra(manifest, contents, appender.rows, **counts, asked=asked)
    meta = appender.finish(extra, _attached(contents, rows.normaliser))
    return BuildReport(meta, built=False, **counts)


def drift(kept: Normaliser, now: Normaliser) -> float:
    """How far statistics have moved: the larger of the root mean square of the means' shift, in
    units of the kept scale, and of the scales' change."""
    shift = (now.mean - kept.mean) / kept.scale
    change = now.scale / kept.scale - 1
    return max(float(part.square().mean().sqrt()) for part in (shift, change))


def _attached(contents: Contents, normaliser: Normaliser) -> dict[str, np.ndarray]:
    """What is kept with an index: its normaliser and which faces it has looked at."""
    arrays = {"mean": normaliser.mean.numpy(), "scale": normaliser.scale.numpy()}
    return arrays | contents.to_arrays()


def _chosen(meta: IndexMeta, memory: int) -> str:
    stored = sum(r.bytes for name, r in meta.files.items() if name in (*DENSE, *SPARSE))
    return choose_kind(meta.rows, stored / meta.rows, meta.dims, memory)
