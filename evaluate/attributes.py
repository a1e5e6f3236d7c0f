"""How often the attribute classifier is right, attribute by attribute (paper, supplement,
Fig. 13)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ris.data.models.attribute_file import load_classifier
from ris.data.store import Store
from ris.data.views import run_sql
from ris.errors import InputError
from ris.evaluate.attribute_labels import predicted_logits, read_labels, to_labels
from ris.evaluate.markdown import markdown_table
from ris.evaluate.recut_faces import FaceReader
from ris.evaluate.retrieval import row_ids
from ris.ingest.alignment.cut import cut_again


def auc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: the chance that a face with the attribute has a higher score than
    one without, ties counting half (the Mann-Whitney statistic).

    Args:
        labels: (N, A) integers; 1 has the attribute, -1 has it not, 0 unknown and left out.
        scores: (N, A) of any scale, an attribute at a time.

    Returns:
        (A,) in [0, 1]; nan where no face has the attribute, or none is without it.

    Raises:
        ValueError: labels of another kind, or unequal shapes.
    """
    _check(labels, scores)
    return np.array([_auc(y, s) for y, s in zip(labels.T, scores.T, strict=True)])


def _auc(labels: np.ndarray, scores: np.ndarray) -> float:
    known = labels != 0
    positive = labels[known] == 1
    n, m = int(positive.sum()), int((~positive).sum())
    if n == 0 or m == 0:
        return float("nan")
    _, place, counts = np.unique(scores[known], return_inverse=True, return_counts=True)
    last = np.cumsum(counts)  # ranks count from 1; equal scores share their mean rank
    ranks = (last - (counts - 1) / 2)[place]
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * m))


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Share of the faces whose attribute was predicted right.

    Args:
        labels: (N, A), see `auc`.
        predicted: (N, A) of the same kind; faces with 0 in either are left out.

    Returns:
        (A,) in [0, 1]; nan where no face is left.

    Raises:
        ValueError: labels of another kind, or unequal shapes.
    """
    _check(labels, predicted)
    both = (labels != 0) & (predicted != 0)
    return _ratio(((labels == predicted) & both).sum(0), both.sum(0))


def share(labels: np.ndarray) -> np.ndarray:
    """(N, A) labels -> (A,) share of the faces with a known label that have the attribute, or
    nan."""
    return _ratio((labels == 1).sum(0), (labels != 0).sum(0))


def share_thresholds(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Thresholds that predict an attribute as often as it is there.

    Args:
        labels: (N, A), see `auc`.
        scores: (N, A) of real numbers; an attribute is predicted from its threshold on.

    Returns:
        (A,) midway between the scores of two faces; a face more or less than there should be is
        predicted only where scores are equal. Infinite where all faces have the attribute or none
        has it, nan where nothing is known.

    Raises:
        ValueError: labels of another kind, or unequal shapes.
    """
    _check(labels, scores)
    return np.array([_share_threshold(y, s) for y, s in zip(labels.T, scores.T, strict=True)])


def _share_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    known = labels != 0
    if not known.any():
        return float("nan")
    positive = int((labels[known] == 1).sum())
    falling = np.sort(scores[known].astype(np.float64))[::-1]
    if positive == 0:
        return float("inf")
    if positive == len(falling):
        return float("-inf")
    return float(falling[positive - 1] + falling[positive]) / 2


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.full(part.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _check(labels: np.ndarray, other: np.ndarray) -> None:
    if labels.ndim != 2 or not np.isin(labels, (-1, 0, 1)).all():
        raise ValueError("labels are an (N, A) array of 1, -1 and 0")
    if labels.shape != other.shape:
        raise ValueError(f"{labels.shape} labels, but {other.shape} to compare them with")


@dataclass(frozen=True)
class AttributesResult:
    """Predicted against given labels.

    Attributes:
        attributes: A names: those of the classifier's that the store has labels of.
        labels: (N, A) as given: 1, -1, 0 for unknown.
        predicted: (N, A) as predicted; 0 for a face that could not be read.
        logits: (N, A) behind them, nan for a face that could not be read.
        missing: names of the classifier's other attributes.
        classifier: fingerprint.
    """

    attributes: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    logits: np.ndarray
    missing: tuple[str, ...]
    classifier: str

    @property
    def read(self) -> np.ndarray:
        """(N,) whether a face could be read."""
        found: np.ndarray = ~np.isnan(self.logits).any(1)
        return found

    @property
    def known(self) -> np.ndarray:
        """(A,) number of faces that were read and whose label is given."""
        counts: np.ndarray = (self.labels[self.read] != 0).sum(0)
        return counts

    @property
    def accuracy(self) -> np.ndarray:
        """(A,) share of the known labels that were predicted; nan where none is known."""
        return accuracy(self.labels, self.predicted)

    @property
    def auc(self) -> np.ndarray:
        """(A,) area under the ROC curve; nan where not both labels occur."""
        return auc(self.labels[self.read], self.logits[self.read])

    @property
    def share(self) -> np.ndarray:
        """(A,) share of the faces that have the attribute; nan where none is known."""
        return share(self.labels[self.read])

    @property
    def predicted_share(self) -> np.ndarray:
        """(A,) the same as predicted, of the same faces."""
        return share(np.where(self.labels == 0, 0, self.predicted))

    @property
    def constant(self) -> np.ndarray:
        """(A,) accuracy of saying the more frequent label of every face."""
        shares = self.share
        likely: np.ndarray = np.maximum(shares, 1 - shares)
        return likely

    def to_dict(self) -> dict[str, Any]:
        """All numbers, shares and accuracy in percent, ready for JSON; unknown ones are null."""
        columns = {
            "accuracy": 100 * self.accuracy,
            "constant": 100 * self.constant,
            "auc": self.auc,
            "share": 100 * self.share,
            "predicted_share": 100 * self.predicted_share,
        }
        return {
            "faces": len(self.labels),
            "unread": int((~self.read).sum()),
            "classifier": self.classifier,
            "mean": {name: _number(_mean(values)) for name, values in columns.items()},
            "attributes": {
                a: {"known": int(self.known[i])}
                | {name: _number(values[i]) for name, values in columns.items()}
                for i, a in enumerate(self.attributes)
            },
            "missing": list(self.missing),
        }

    def table(self) -> str:
        """A Markdown table, a line an attribute and one for their means."""
        head = ["attribute", "faces", "accuracy", "constant", "AUC", "has it", "predicted"]
        columns = (
            (100 * self.accuracy, ".1f"),
            (100 * self.constant, ".1f"),
            (self.auc, ".3f"),
            (100 * self.share, ".1f"),
            (100 * self.predicted_share, ".1f"),
        )
        rows = []
        for i, name in enumerate(self.attributes):
            cells = [_cell(values[i], form) for values, form in columns]
            rows.append([name, str(self.known[i]), *cells])
        rows.append(["mean", "", *(_cell(_mean(values), form) for values, form in columns)])
        unread = int((~self.read).sum())
        note = f", {unread} photos could not be read" if unread else ""
        title = (
            f"Attribute classifier on {len(self.labels)} faces{note}: percent of right labels, of "
            "those that the more frequent label gets right, AUC, percent of faces that have it"
        )
        rest = f"No labels of {', '.join(self.missing)}." if self.missing else ""
        return markdown_table(head, rows, title=title, note=rest)


def evaluate_attributes(
    store: Store,
    *,
    read: FaceReader = cut_again,
    progress: Callable[[int, int], None] | None = None,
) -> AttributesResult:
    """Predicts the attributes of a labelled store's faces and compares.

    40 numbers a face stay in memory.

    Args:
        store: with columns of CelebA's names (`ris ingest --metadata`); some are enough.
        read: cuts out a face.
        progress: called with faces done and faces in all.

    Raises:
        InputError: no face, or no column of the classifier's attributes.
        ModelFileError: the classifier's file is missing or damaged.
    """
    classifier = load_classifier()
    manifest = store.manifest()
    columns = {name.lower() for name in run_sql(store, "SELECT * FROM faces LIMIT 0")[0]}
    here = [i for i, name in enumerate(classifier.attributes) if name.lower() in columns]
    names = tuple(classifier.attributes[i] for i in here)
    if not names or not manifest.rows:
        what = "faces" if not manifest.rows else "column of CelebA's attributes"
        raise InputError(f"the store has no {what}", "ingest photos with `metadata='LABELS.csv'`")
    ids = row_ids(store, manifest)
    labels = read_labels(store, ids, names)
    logits = predicted_logits(store, manifest, classifier, read=read, progress=progress)
    return AttributesResult(
        attributes=names,
        labels=labels,
        predicted=to_labels(classifier, logits)[:, here],
        logits=logits[:, here],
        missing=tuple(n for n in classifier.attributes if n not in names),
        classifier=classifier.fingerprint,
    )


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _cell(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "-"
