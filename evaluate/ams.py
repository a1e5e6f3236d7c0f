"""Attribute Matching Score: do faces found by a feature share its attributes (paper, section 4)?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from ris.evaluate.markdown import markdown_table
from ris.evaluate.representations import FEATURES
from ris.evaluate.retrieval import Rankings

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "eyes": ("Arched_Eyebrows", "Bags_Under_Eyes", "Bushy_Eyebrows", "Narrow_Eyes"),
    "nose": ("Big_Nose", "Pointy_Nose"),
    "mouth": (
        "5_o_Clock_Shadow",
        "Big_Lips",
        "Goatee",
        "Mouth_Slightly_Open",
        "Mustache",
        "No_Beard",
        "Smiling",
        "Wearing_Lipstick",
    ),
    "hair": (
        "Bald",
        "Bangs",
        "Black_Hair",
        "Blond_Hair",
        "Brown_Hair",
        "Gray_Hair",
        "Receding_Hairline",
        "Sideburns",
        "Straight_Hair",
        "Wavy_Hair",
    ),
}
"""CelebA's attributes that speak of each feature (paper, Table 3)."""

LABELS = tuple(dict.fromkeys(a for f in FEATURES for a in ATTRIBUTES[f]))
"""All attributes of Table 3."""

MatchRule = Literal["mean", "majority"]
RULES: tuple[MatchRule, ...] = ("mean", "majority")


@dataclass(frozen=True)
class AttributeMatch:
    """Attribute Matching Score of one representation on one feature's attributes.

    Attributes:
        rule: how the results of a query are summed up, see `attribute_match`.
        matches: (A,) mean over the queries, attribute by attribute, in [0, 1]; nan where no
            query has both a label and labelled results.
        random: (A,) expectation of `matches` for results drawn at random, exact.
        queries: (A,) number of queries behind each.
        unanswered: queries that found nothing; they are in no mean.
    """

    rule: MatchRule
    matches: np.ndarray
    random: np.ndarray
    queries: np.ndarray
    unanswered: int

    @property
    def score(self) -> float:
        """AMS in percent: the mean over the attributes, each with equal weight."""
        return _percent(self.matches)

    @property
    def chance(self) -> float:
        """The same for random results, in percent."""
        return _percent(self.random)

    @property
    def corrected(self) -> float:
        """(score - chance) / (100 - chance): 0 for random results, 1 for perfect ones.

        Most attributes are rare, so that random faces agree on them too.
        """
        if self.chance == 100:
            return 0.0
        return (self.score - self.chance) / (100 - self.chance)  # nan where nothing was found


def attribute_match(
    labels: np.ndarray,
    queries: Sequence[int],
    retrieved: Sequence[Sequence[int]],
    rule: MatchRule = "mean",
) -> AttributeMatch:
    """Attribute Matching Score: do the faces found share the query's attributes (section 4)?

    For a query and an attribute, rule ``mean`` gives the share of the results that have the
    query's label; ``majority`` gives 1 if more than half of them have it, 1/2 for exactly half,
    else 0. Results without a label of the attribute do not count, nor does a query without one.

    Chance is what the same rule gives on average if the results are other faces drawn at random
    without replacement, as many as the query has results with a label: for ``mean`` the share of
    other faces that have the query's label, for ``majority`` a tail of the hypergeometric
    distribution.

    Args:
        labels: (N, A) integers; 1 has the attribute, -1 has it not, 0 unknown.
        queries: rows of the Q queries.
        retrieved: for each query the rows found, fewer than k or none where there are no more.
        rule: see above.

    Raises:
        ValueError: labels of another kind, unequal numbers of queries, or a query among its
            own results.
    """
    if labels.ndim != 2 or not np.isin(labels, (-1, 0, 1)).all():
        raise ValueError("labels are an (N, A) array of 1, -1 and 0")
    if len(queries) != len(retrieved):
        raise ValueError(f"{len(queries)} queries have {len(retrieved)} lists of results")
    attributes = labels.shape[1]
    sums, chances = np.zeros(attributes), np.zeros(attributes)
    counts = np.zeros(attributes, dtype=np.int64)
    known = (labels != 0).sum(0)  # faces with a label, by attribute
    having = {1: (labels == 1).sum(0), -1: (labels == -1).sum(0)}
    chance = cache(_majority_chance)
    for query, rows in zip(queries, retrieved, strict=True):
        if query in rows:
            raise ValueError(f"face {query} is among its own results")
        agreement = labels[np.asarray(rows, dtype=np.int64)] * labels[query]  # [k, A]
        agree, found = (agreement == 1).sum(0), (agreement != 0).sum(0)
        for a in np.flatnonzero(found):
            same, others = int(having[int(labels[query, a])][a]) - 1, int(known[a]) - 1
            if rule == "mean":
                sums[a] += agree[a] / found[a]
                chances[a] += same / others
            else:
                sums[a] += (np.sign(2 * agree[a] - found[a]) + 1) / 2
                chances[a] += chance(same, others, int(found[a]))
            counts[a] += 1
    with np.errstate(invalid="ignore"):
        matches, random = sums / counts, chances / counts
    unanswered = sum(len(rows) == 0 for rows in retrieved)
    return AttributeMatch(rule, matches, random, counts, unanswered)


def _majority_chance(same: int, others: int, drawn: int) -> float:
    """P(more than half of the drawn are among `same` of `others`) + P(exactly half) / 2."""
    total = 0.0
    for hits in range((drawn + 1) // 2, drawn + 1):
        ways = math.comb(same, hits) * math.comb(others - same, drawn - hits)
        total += ways * (0.5 if 2 * hits == drawn else 1.0)
    return total / math.comb(others, drawn)


def _percent(values: np.ndarray) -> float:
    return 100 * float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


@dataclass(frozen=True)
class AmsResult:
    """Attribute Matching Scores by representation and feature.

    Attributes:
        k: results for each query.
        queries: number of query faces.
        faces: size of the collection.
        matches: (representation, feature, rule) -> the score; see `attribute_match`.
    """

    k: int
    queries: int
    faces: int
    matches: dict[tuple[str, str, MatchRule], AttributeMatch]

    @property
    def names(self) -> list[str]:
        """The representations, in order."""
        return list(dict.fromkeys(name for name, _, _ in self.matches))

    def to_dict(self) -> dict[str, Any]:
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
        rows = []
        for name in self.names:
            found = [self.matches[name, f, rule] for f in FEATURES]
            cells = [f"{m.score:.1f} ({m.corrected:.3f})" for m in found]
            empty = [m.unanswered for m in found]
            note = f" ({'/'.join(map(str, empty))} unanswered)" if any(empty) else ""
            rows.append([name + note, *cells])
        title = (
            f"AMS@{self.k} by {rule}, and in brackets (score - chance) / (100 - chance); "
            f"{self.queries} queries in {self.faces} faces"
        )
        return markdown_table(["representation", *FEATURES], rows, title=title)


def ams(rankings: Rankings, labels: np.ndarray) -> AmsResult:
    """Attribute Matching Scores of every representation.

    Args:
        rankings: of a store.
        labels: (N, A) of `LABELS` in row order, see `attribute_match`.
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
