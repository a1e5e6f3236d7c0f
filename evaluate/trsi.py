"""TRSI-IoU: per-image masks against the averaged mask of EIS (paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from data.statistics import style_statistics
from data.store import Store
from data.views import run_sql
from evaluate.topk import RunningTop
from index.build import row_tensors
from ris.contribution import AverageScores
from ris.errors import InputError
from ris.masks import MaskKind, MaskOptions
from ris.metrics import trsi_iou
from ris.normaliser import Normaliser, NormMode
from ris.representation import represent

FEATURES = ("eyes", "nose", "mouth", "hair")
METHODS = ("per-image", "averaged")
MASKS: tuple[MaskKind, ...] = ("soft", "hard")


@dataclass(frozen=True)
class TrsiResult:
    """TRSI-IoU by mask kind, method and pair of features.

    Attributes:
        k: size of the retrieved sets.
        queries: number of query faces.
        faces: size of the collection.
        iou: (mask, method) -> pair of features -> (Q,) IoU in [0, 1].
    """

    k: int
    queries: int
    faces: int
    iou: dict[tuple[str, str], dict[tuple[str, str], np.ndarray]]

    def mean(self, mask: str, method: str) -> float:
        """Mean over all queries and pairs of features; lower is better."""
        return float(np.mean([v.mean() for v in self.iou[mask, method].values()]))

    def to_json(self) -> dict[str, Any]:
        """Means, ready for JSON."""
        table = {
            mask: {
                method: {
                    "mean": self.mean(mask, method),
                    "pairs": {
                        f"{a}-{b}": float(v.mean()) for (a, b), v in self.iou[mask, method].items()
                    },
                }
                for method in METHODS
            }
            for mask in MASKS
        }
        return {"k": self.k, "queries": self.queries, "faces": self.faces, "trsi_iou": table}

    def table(self) -> str:
        """A Markdown table of the means."""
        pairs = list(self.iou[MASKS[0], METHODS[0]])
        head = ["mask", "method", "mean", *(f"{a}-{b}" for a, b in pairs)]
        lines = [" | ".join(head), " | ".join("---" for _ in head)]
        for (mask, method), found in self.iou.items():
            cells = [mask, method, f"{self.mean(mask, method):.4f}"]
            cells += [f"{found[pair].mean():.4f}" for pair in pairs]
            lines.append(" | ".join(cells))
        title = f"TRSI-IoU@{self.k}, {self.queries} queries in {self.faces} faces"
        return "\n".join([title, "", *(f"| {line} |" for line in lines)])


def evaluate_trsi(
    store: Store,
    *,
    k: int = 5,
    queries: int = 1000,
    identity: str | None = None,
    norm: NormMode = "layer",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> TrsiResult:
    """Ranks the store by every feature under per-image masks and under the averaged mask.

    Memory is bounded by the queries: the collection streams by, once for the averaged scores
    and once for the rankings.

    Args:
        store: the collection.
        k: size of the retrieved sets, at least 1.
        queries: number of query faces drawn from the store; 0 or too many for all.
        identity: metadata column that tells who a face is; None counts every face as its own.
        norm: normalisation of sigma over the collection.
        seed: of the draw.
        progress: called with rows done and rows in all.

    Raises:
        InputError: too few faces, or no such column.
    """
    manifest = store.manifest()
    if k < 1 or manifest.rows < k + 1:
        raise InputError(f"{manifest.rows} faces are too few for the top {k} of others")
    total = manifest.rows
    rng = np.random.default_rng(seed)
    count = total if queries <= 0 else min(queries, total)
    chosen = np.sort(rng.choice(total, count, replace=False))
    normaliser = Normaliser.fit(norm, style_statistics(store), store.settings.covered)

    average = AverageScores()
    drawn: list[pa.RecordBatch] = []
    start = 0
    for batch in store.batches(["sigma", "scores"], manifest):
        average.add(row_tensors(batch, store.settings)[1])
        inside = chosen[(chosen >= start) & (chosen < start + len(batch))] - start
        drawn.append(batch.take(pa.array(inside)))
        start += len(batch)
    mean = average.mean()[None]

    def vectors(
        sigma: torch.Tensor, scores: torch.Tensor, feature: str, mask: MaskKind, method: str
    ) -> torch.Tensor:
        return represent(
            sigma,
            scores if method == "per-image" else mean,
            store.settings.covered,
            store.settings.classes,
            feature,
            MaskOptions(kind=mask),
            normaliser,
        )

    keys = [(mask, method, f) for mask in MASKS for method in METHODS for f in FEATURES]
    asked = [row_tensors(batch, store.settings) for batch in drawn]
    tops = {
        (mask, method, f): RunningTop(
            torch.cat([vectors(*rows, f, mask, method) for rows in asked]), k
        )
        for mask, method, f in keys
    }
    del asked, drawn  # the queries' scores are large and no longer needed
    own = torch.from_numpy(chosen)
    start = 0
    for batch in store.batches(["sigma", "scores"], manifest):
        rows = row_tensors(batch, store.settings)
        for mask, method, f in keys:
            tops[mask, method, f].add(start, vectors(*rows, f, mask, method), own)
        start += len(batch)
        if progress:
            progress(start, total)

    names = _identities(store, manifest, identity)
    iou: dict[tuple[str, str], dict[tuple[str, str], np.ndarray]] = {
        (mask, method): trsi_iou(
            {f: [names[rows].tolist() for rows in tops[mask, method, f].rows()] for f in FEATURES}
        )
        for mask in MASKS
        for method in METHODS
    }
    return TrsiResult(k, count, total, iou)


def _identities(store: Store, manifest: Any, column: str | None) -> np.ndarray:
    """Who the face of each row is, in row order."""
    ids = [i for batch in store.batches(["id"], manifest) for i in batch.column(0).to_pylist()]
    if column is None:
        return np.array(ids)
    quoted = column.replace('"', '""')
    _, rows = run_sql(store, f'SELECT id, "{quoted}" FROM faces')
    who = {str(face): name for face, name in rows}
    missing = sum(who.get(i) is None for i in ids)
    if missing:
        raise InputError(f"{missing} faces have no {column}: ingest them with --metadata")
    return np.array([str(who[i]) for i in ids])
