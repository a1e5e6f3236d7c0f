"""TRSI-IoU: do two features of a face find different people (paper, section 4.2)?

Of one query the identities that two features retrieve are compared as sets: |A and B| / |A or B|,
the intersection over union, is 0 where they have nobody in common and 1 where they find the same
people. The mean over queries and pairs of features is the measure; lower is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ris.data.store import Store
from ris.data.views import run_sql
from ris.errors import InputError
from ris.evaluate.extras import needs
from ris.evaluate.markdown import markdown_table
from ris.evaluate.representations import FEATURES
from ris.evaluate.retrieval import MASKS, Rankings

Pair = tuple[str, str]


def intersection_over_union(first: Sequence[object], second: Sequence[object]) -> float:
    """|A and B| / |A or B| of two collections taken as sets; 0 if both are empty."""
    a, b = set(first), set(second)
    return len(a & b) / len(a | b) if a or b else 0.0


def trsi_iou(
    retrieved: dict[str, Sequence[Sequence[object]]],
) -> dict[Pair, np.ndarray]:
    """Top-retrieved set of identities: IoU between two features' results of the same query.

    Two features of one face should be found in different people, so lower is better.

    Args:
        retrieved: for each feature, for each of Q queries, the identities of its top k.

    Returns:
        for each unordered pair of features a (Q,) array of IoU in [0, 1].

    Raises:
        ValueError: features with different numbers of queries.
    """
    if len({len(rows) for rows in retrieved.values()}) > 1:
        raise ValueError("every feature needs results for the same queries")
    return {
        (a, b): np.array(
            [intersection_over_union(x, y) for x, y in zip(retrieved[a], retrieved[b], strict=True)]
        )
        for a, b in combinations(retrieved, 2)
    }


@dataclass(frozen=True)
class TrsiResult:
    """TRSI-IoU by representation and pair of features.

    Attributes:
        k: size of the retrieved sets.
        faces: size of the collection.
        iou: representation -> pair of features -> (Q,) IoU in [0, 1].
    """

    k: int
    faces: int
    iou: dict[str, dict[Pair, np.ndarray]]

    @property
    def queries(self) -> int:
        """Number of query faces."""
        return len(self.by_query(next(iter(self.iou))))

    def by_query(self, name: str) -> np.ndarray:
        """(Q,) mean over the pairs of features."""
        mean: np.ndarray = np.mean(list(self.iou[name].values()), axis=0)
        return mean

    def mean(self, name: str) -> float:
        """Mean over all queries and pairs of features; lower is better."""
        return float(self.by_query(name).mean())

    def significance(self) -> dict[str, float]:
        """Mask kind -> p of Wilcoxon's signed-rank test, two-sided, that RIS and EIS have the
        same TRSI-IoU, query by query; 1 where no query differs.

        Raises:
            InputError: scipy is missing.
        """
        found: dict[str, float] = {}
        for kind in MASKS:
            names = f"RIS {kind}", f"EIS {kind}"
            if all(name in self.iou for name in names):
                found[kind] = signed_rank(*map(self.by_query, names))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Means and p values, ready for JSON."""
        table = {
            name: {
                "mean": self.mean(name),
                "pairs": {f"{a}-{b}": float(v.mean()) for (a, b), v in pairs.items()},
            }
            for name, pairs in self.iou.items()
        }
        return {
            "k": self.k,
            "queries": self.queries,
            "faces": self.faces,
            "trsi_iou": table,
            "wilcoxon_p": self.significance(),
        }

    def table(self) -> str:
        """A Markdown table of the means, and the p values below it."""
        pairs = list(next(iter(self.iou.values())))
        rows = []
        for name, found in self.iou.items():
            cells = [f"{found[pair].mean():.3f}" for pair in pairs]
            rows.append([name, f"{self.mean(name):.3f}", *cells])
        title = f"TRSI-IoU@{self.k}, lower is better; {self.queries} queries in {self.faces} faces"
        tests = [f"RIS {k} against EIS {k}: p = {p:.1e}" for k, p in self.significance().items()]
        note = "Wilcoxon's signed-rank test by query; " + "; ".join(tests)
        names = ["representation", "mean", *(f"{a}-{b}" for a, b in pairs)]
        return markdown_table(names, rows, title=title, note=note if tests else "")


def signed_rank(first: np.ndarray, second: np.ndarray) -> float:
    """p of Wilcoxon's signed-rank test of paired values, two-sided; 1 if all are equal.

    Raises:
        InputError: scipy is missing.
    """
    with needs("scipy"):
        from scipy.stats import wilcoxon
    if np.array_equal(first, second):
        return 1.0
    return float(wilcoxon(first, second).pvalue)


def trsi(rankings: Rankings, people: np.ndarray) -> TrsiResult:
    """TRSI-IoU of every representation.

    Args:
        rankings: of a store.
        people: (N,) who the face of each row is, see `identities`.
    """
    rankings.check(len(people))
    iou = {
        name: trsi_iou({f: [people[r].tolist() for r in rankings.found[name, f]] for f in FEATURES})
        for name in rankings.names
    }
    return TrsiResult(rankings.k, len(people), iou)


def identities(store: Store, ids: list[str], column: str | None) -> np.ndarray:
    """Who the face of each row is.

    Args:
        store: with the metadata.
        ids: of all faces, in row order.
        column: of the metadata; None: every face is a person of its own.

    Raises:
        InputError: no such column, or a face without a value.
    """
    if column is None:
        return np.array(ids)
    quoted = column.replace('"', '""')
    _, rows = run_sql(store, f'SELECT id, "{quoted}" FROM faces')
    who = {str(face): name for face, name in rows}
    missing = sum(who.get(i) is None for i in ids)
    if missing:
        raise InputError(f"{missing} faces have no {column}", "ingest them with `metadata`")
    return np.array([str(who[i]) for i in ids])
