"""Attribute Matching Score: do faces found by a feature share its attributes (paper, section 4)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ris.evaluate.metrics import ATTRIBUTES, RULES, AttributeMatch, MatchRule, attribute_match
from ris.evaluate.representations import FEATURES
from ris.evaluate.retrieval import Rankings

LABELS = tuple(dict.fromkeys(a for f in FEATURES for a in ATTRIBUTES[f]))
"""All attributes of Table 3."""


@dataclass(frozen=True)
class AmsResult:
    """Attribute Matching Scores by representation and feature.

    Attributes:
        k: results for each query.
        queries: number of query faces.
        faces: size of the collection.
        matches: (representation, feature, rule) -> the score; see
        `ris.evaluate.metrics.attribute_match`.
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


def ams(rankings: Rankings, labels: np.ndarray) -> AmsResult:
    """Attribute Matching Scores of every representation.

    Args:
        rankings: of a store.
        labels: (N, A) of `LABELS` in row order, see `ris.evaluate.metrics.attribute_match`.
    """
    rankings.check(len(labels))
    matches: dict[tuple[str, str, MatchRule], AttributeMatch] = {}
    queries = rankings.queries.tolist()
    for (name, feature), rows in rankings.found.items():
        own = labels[:, [LABELS.index(a) for a in ATTRIBUTES[feature]]]
        lists = [r.tolist() for r in rows]
        for rule in RULES:
            matches[name, feature, rule] = attribute_match(own, queries, lists, rule)
    return AmsResult(rankings.k, len(queries), len(labels), matches)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
