"""Attribute Matching Score: do faces found by a feature share its attributes (paper, section 4)?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from data.manifest import Manifest
from data.statistics import style_statistics
from data.store import Store
from evaluate.attributes import read_labels
from evaluate.representations import (
    FEATURES,
    MaskedStyle,
    Representation,
    Rows,
    WholeStyle,
    rank,
)
from index.build import row_tensors
from ris.contribution import AverageScores
from ris.errors import InputError
from ris.layout import StyleLayout
from ris.masks import MaskKind, MaskOptions
from ris.metrics import ATTRIBUTES, RULES, AttributeMatch, MatchRule, attribute_match
from ris.normaliser import Normaliser, NormMode, StyleStatistics

MASKS: tuple[MaskKind, ...] = ("soft", "hard")
LABELS = tuple(dict.fromkeys(a for f in FEATURES for a in ATTRIBUTES[f]))
"""All attributes of Table 3."""
QUERIES_AT_ONCE = 500
CHUNK = 64
"""Faces ranked at a time where all of them are in memory."""


@dataclass(frozen=True)
class AmsResult:
    """Attribute Matching Scores by representation and feature.

    Attributes:
        k: results for each query.
        queries: number of query faces.
        faces: size of the collection.
        matches: (representation, feature, rule) -> the score; see `ris.metrics.attribute_match`.
    """

    k: int
    queries: int
    faces: int
    matches: dict[tuple[str, str, MatchRule], AttributeMatch]

    @property
    def names(self) -> list[str]:
        """The representations, in order."""
        return list(dict.fromkeys(name for name, _, _ in self.matches))

    def to_json(self) -> dict[str, Any]:
        """All numbers, ready for JSON; unknown ones are null."""
        table: dict[str, Any] = {}
        for (name, feature, rule), match in self.matches.items():
            entry = {
                "score": _number(match.score),
                "chance": _number(match.chance),
                "corrected": _number(match.corrected),
                "unanswered": match.unanswered,
                "attributes": {
                    a: {"score": _number(100 * m), "chance": _number(100 * r), "queries": int(n)}
                    for a, m, r, n in zip(
                        ATTRIBUTES[feature],
                        match.matches,
                        match.random,
                        match.queries,
                        strict=True,
                    )
                },
            }
            table.setdefault(rule, {}).setdefault(name, {})[feature] = entry
        return {"k": self.k, "queries": self.queries, "faces": self.faces, "ams": table}

    def table(self, rule: MatchRule = "mean") -> str:
        """A Markdown table: AMS in percent and, in brackets, corrected for chance."""
        lines = [["representation", *FEATURES], ["---"] * (1 + len(FEATURES))]
        for name in self.names:
            found = [self.matches[name, f, rule] for f in FEATURES]
            cells = [f"{m.score:.1f} ({m.corrected:.3f})" for m in found]
            empty = [m.unanswered for m in found]
            note = f" ({'/'.join(map(str, empty))} unanswered)" if any(empty) else ""
            lines.append([name + note, *cells])
        title = (
            f"AMS@{self.k} by {rule}, and in brackets (score - chance) / (100 - chance); "
            f"{self.queries} queries in {self.faces} faces"
        )
        return "\n".join([title, "", *("| " + " | ".join(line) + " |" for line in lines)])


def score(
    labels: np.ndarray,
    queries: Sequence[int],
    found: dict[tuple[str, str], list[np.ndarray]],
    k: int,
) -> AmsResult:
    """Scores rankings.

    Args:
        labels: (N, A) of `LABELS`, see `ris.metrics.attribute_match`.
        queries: rows of the queries.
        found: what `rank` gives.
        k: results that were asked for.
    """
    matches: dict[tuple[str, str, MatchRule], AttributeMatch] = {}
    for (name, feature), rows in found.items():
        own = labels[:, [LABELS.index(a) for a in ATTRIBUTES[feature]]]
        for rule in RULES:
            lists = [r.tolist() for r in rows]
            matches[name, feature, rule] = attribute_match(own, queries, lists, rule)
    return AmsResult(k, len(queries), len(labels), matches)


def style_representations(
    layout: StyleLayout,
    classes: tuple[str, ...],
    normaliser: Normaliser,
    average: torch.Tensor,
) -> list[Representation]:
    """RIS and EIS with soft and hard masks, and sigma without a mask.

    Args:
        layout: style layout of the covered channels.
        classes: class names of the scores.
        normaliser: fitted on the collection.
        average: (K, C') mean scores of the collection.
    """
    masked: list[Representation] = [
        MaskedStyle(f"{method} {kind}", layout, classes, MaskOptions(kind=kind), normaliser, mean)
        for kind in MASKS
        for method, mean in (("RIS", None), ("EIS", average))
    ]
    return [*masked, WholeStyle(normaliser)]


def ams_of_arrays(
    sigma: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    layout: StyleLayout,
    classes: tuple[str, ...],
    *,
    norm: NormMode = "layer",
    k: int = 5,
    queries: Sequence[int] | None = None,
    extra: Sequence[Representation] = (),
) -> tuple[AmsResult, dict[tuple[str, str], list[np.ndarray]]]:
    """AMS of faces that are all in memory; every face is a query unless `queries` names some.

    Args:
        sigma: (N, C) float32 style coefficients.
        scores: (N, K, C') contribution scores.
        labels: (N, A) of `LABELS`: 1, -1, 0 for unknown.
        layout: style layout of the C' covered channels.
        classes: class names of the scores.
        norm: normalisation of sigma over the faces.
        k: results for each query.
        queries: rows of the queries.
        extra: more representations to rank by.

    Returns:
        the scores, and the rankings behind them as `rank` gives them.
    """
    statistics = StyleStatistics(sigma.shape[1])
    statistics.add(sigma)
    normaliser = Normaliser.fit(norm, statistics, layout)
    average = torch.from_numpy(scores.mean(0, dtype=np.float64)).float()
    asked = np.arange(len(sigma)) if queries is None else np.asarray(queries)

    def rows(numbers: np.ndarray) -> Rows:
        return Rows(
            torch.from_numpy(numbers),
            torch.from_numpy(sigma[numbers]),
            torch.from_numpy(scores[numbers].astype(np.float32)),
        )

    chunks = (np.arange(i, min(i + CHUNK, len(sigma))) for i in range(0, len(sigma), CHUNK))
    ways = [*style_representations(layout, classes, normaliser, average), *extra]
    found = rank(ways, rows(asked), map(rows, chunks), k)
    return score(labels, asked.tolist(), found, k), found


def evaluate_ams(
    store: Store,
    *,
    k: int = 5,
    queries: int = 500,
    norm: NormMode = "layer",
    seed: int = 0,
    rival: Callable[[Store, Manifest], Representation] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AmsResult:
    """Ranks a labelled store by every feature under every representation.

    Memory is bounded (but for what the rival keeps): the collection streams by, once for the
    averaged scores and twice for every `QUERIES_AT_ONCE` queries.

    Args:
        store: the collection, with the columns of `LABELS`.
        k: results for each query, at least 1.
        queries: number of query faces drawn from the store; 0 or too many for all.
        norm: normalisation of sigma over the collection.
        seed: of the draw.
        rival: makes a further representation of the store's faces:
            `evaluate.rivals.crop_embedding`.
        progress: called with rows done and rows in all.

    Raises:
        InputError: too few faces, or no labels.
    """
    manifest = store.manifest()
    if k < 1 or manifest.rows < k + 1:
        raise InputError(f"{manifest.rows} faces are too few for the top {k} of others")
    ids = [i for batch in store.batches(["id"], manifest) for i in batch.column(0).to_pylist()]
    labels = read_labels(store, ids, LABELS)
    total = manifest.rows
    count = total if queries <= 0 else min(queries, total)
    chosen = np.sort(np.random.default_rng(seed).choice(total, count, replace=False))
    normaliser = Normaliser.fit(norm, style_statistics(store), store.settings.covered)
    average = _average(store, manifest)
    ways = [
        *style_representations(store.settings.covered, store.settings.classes, normaliser, average),
        *([rival(store, manifest)] if rival else []),
    ]
    groups = np.array_split(chosen, -(-count // QUERIES_AT_ONCE))
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for g, group in enumerate(groups):

        def told(done: int, of: int, g: int = g) -> None:
            if progress:
                progress(g * of + done, len(groups) * of)

        asked = _chosen(store, manifest, group)
        for key, rows in rank(ways, asked, _batches(store, manifest, told), k).items():
            found.setdefault(key, []).extend(rows)
    return score(labels, chosen.tolist(), found, k)


def _batches(
    store: Store, manifest: Manifest, progress: Callable[[int, int], None] | None = None
) -> Iterator[Rows]:
    start = 0
    for batch in store.batches(["sigma", "scores"], manifest):
        yield _rows(store, batch, torch.arange(start, start + len(batch)))
        start += len(batch)
        if progress:
            progress(start, manifest.rows)


def _rows(store: Store, batch: pa.RecordBatch, numbers: torch.Tensor) -> Rows:
    return Rows(numbers, *row_tensors(batch, store.settings))


def _average(store: Store, manifest: Manifest) -> torch.Tensor:
    """(K, C') mean scores of all faces."""
    average = AverageScores()
    for rows in _batches(store, manifest):
        average.add(rows.scores)
    return average.mean()


def _chosen(store: Store, manifest: Manifest, chosen: np.ndarray) -> Rows:
    """Some rows of the collection, by number."""
    drawn = []
    for rows in _batches(store, manifest):
        inside = torch.from_numpy(np.isin(rows.numbers.numpy(), chosen))
        if inside.any():
            drawn.append([part[inside] for part in rows])
    return Rows(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
