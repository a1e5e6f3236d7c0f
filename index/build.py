"""Rows of the store to per-feature indices."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from ris.data.manifest import StoreSettings
from ris.data.stats_file import style_statistics
from ris.data.store import Store
from ris.errors import InputError, RisError, StoreError
from ris.index.contents import Contents
from ris.index.damage import reason
from ris.index.feature import check_feature, index_folder, indexed_features
from ris.index.kinds import KINDS
from ris.index.meta import BuildReport, read_meta
from ris.index.recipe import Recipe
from ris.index.rows import batch_ids, row_tensors
from ris.index.unread import read_new
from ris.index.update import IndexUpdate, MakeVectors, attached
from ris.index.writer import IndexWriter
from ris.method.masks import MaskOptions, eligible_channels
from ris.method.normaliser import NORM_MODES, Normaliser, NormMode
from ris.method.representation import DEFAULT_MASK, DEFAULT_NORM, represent

DEFAULT_FEATURES = ("eyes", "nose", "mouth", "hair", "pose")
DEFAULT_MEMORY = 4 * 2**30
_UNITS = {"": 1, "B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}


def parse_bytes(text: str) -> int:
    """``"4GB"`` -> bytes (1 KB is 1,024 bytes).

    Raises:
        InputError: not a size.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?B?)\s*", text.upper())
    if not match:
        raise InputError(f"{text!r} is not a size: write it as 500MB or 4GB")
    unit = match[2] if match[2].endswith("B") or not match[2] else match[2] + "B"
    return int(float(match[1]) * _UNITS[unit])


def build_indices(
    store: Store,
    features: Sequence[str],
    *,
    options: MaskOptions | None = None,
    norm: NormMode = DEFAULT_NORM,
    kind: str = "auto",
    memory: int = DEFAULT_MEMORY,
    rebuild: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, BuildReport]:
    """Brings the index of every feature up to date: by the faces that are new, changed or gone
    where that is sound (`ris.index.update`), else by building it in one pass over the store.

    A face on which a feature covers nothing (no hair, say) has no vector for it and is left out
    of that index; the number is in the result.

    Args:
        store: must hold at least one face.
        features: names from `ris.method.masks.features_of`.
        options: how masks are made.
        norm: how sigma is normalised over the collection.
        kind: one of `ris.index.kinds.KINDS`, or ``auto`` to choose by size.
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
        raise StoreError(f"{store.folder} holds no faces yet: run `ris ingest FOLDER` first")
    normaliser = Normaliser.fit(norm, style_statistics(store), settings.covered)
    recipes = {f: Recipe.of(f, asdict(options), norm, settings) for f in features}

    def maker(feature: str) -> MakeVectors:
        return partial(_vectors, settings=settings, feature=feature, options=options)

    asked = {"kind": kind, "memory": memory}
    reports: dict[str, BuildReport] = {}
    for feature in () if rebuild else features:
        update = IndexUpdate.start(
            store, index_folder(store, feature), recipes[feature], normaliser, kind, memory
        )
        if update is not None:
            with update:
                reports[feature] = update.run(maker(feature), progress, asked=asked)
    with contextlib.ExitStack() as stack:
        writers = {
            feature: stack.enter_context(
                IndexWriter(index_folder(store, feature), _dims(settings, feature, options))
            )
            for feature in sorted({*features} - reports.keys())  # so that two runs wait in turn
        }
        shown = {feature: [np.empty(0, bool)] for feature in writers}

        def take(batch: pa.RecordBatch) -> None:
            ids, tensors = batch_ids(batch), row_tensors(batch, settings)
            for feature, writer in writers.items():
                vectors = maker(feature)(tensors, normaliser)
                present = np.abs(vectors).max(axis=1) > 0
                writer.append(vectors[present], [ids[i] for i in np.flatnonzero(present)])
                shown[feature].append(present)

        if writers:
            manifest, read = read_new(store, Contents.none(), take, progress)
        for feature, writer in writers.items():
            if not writer.rows:
                raise StoreError(f"no face in the store shows {feature!r}: nothing to index")
            contents = read.arranged(0, 0, np.concatenate(shown[feature]))
            meta = writer.finish(
                kind,
                recipes[feature].extra(manifest, contents, writer.rows, asked=asked),
                memory,
                attached(contents, normaliser),
            )
            reports[feature] = BuildReport(meta)
    return {feature: reports[feature] for feature in features}


def refresh_indices(
    store: Store, progress: Callable[[int, int], None] | None = None
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
                f"the index for {feature!r} does not say how it was built ({reason(e)}): "
                f"run `ris index --feature {feature} --rebuild`"
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


def _vectors(
    tensors: tuple[torch.Tensor, torch.Tensor],
    normaliser: Normaliser,
    *,
    settings: StoreSettings,
    feature: str,
    options: MaskOptions,
) -> np.ndarray:
    """(n, D) float32 masked vectors of rows' sigma and scores."""
    layout, classes = settings.covered, settings.classes
    return represent(*tensors, layout, classes, feature, options, normaliser).numpy()


def _dims(settings: StoreSettings, feature: str, options: MaskOptions) -> int:
    return int(eligible_channels(settings.covered, feature, to_image=options.to_image).sum())
