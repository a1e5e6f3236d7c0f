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
from ris.evaluate.attribute_labels import read_labels
from ris.evaluate.classification import accuracy, auc, share
from ris.evaluate.predictions import predicted_logits, to_labels
from ris.evaluate.recut_faces import FaceReader
from ris.evaluate.retrieval import row_ids
from ris.ingest.alignment.cut import cut_again


@dataclass(frozen=True)
class AttributeReport:
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

    def to_json(self) -> dict[str, Any]:
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
        lines = [head, ["---"] * len(head)]
        for i, name in enumerate(self.attributes):
            cells = [_cell(values[i], form) for values, form in columns]
            lines.append([name, str(self.known[i]), *cells])
        lines.append(["mean", "", *(_cell(_mean(values), form) for values, form in columns)])
        unread = int((~self.read).sum())
        note = f", {unread} photos could not be read" if unread else ""
        title = (
            f"Attribute classifier on {len(self.labels)} faces{note}: percent of right labels, of "
            "those that the more frequent label gets right, AUC, percent of faces that have it"
        )
        rest = [f"No labels of {', '.join(self.missing)}."] if self.missing else []
        rows = ["| " + " | ".join(line) + " |" for line in lines]
        return "\n".join([title, "", *rows, *([""] if rest else []), *rest])


def evaluate_attributes(
    store: Store,
    *,
    read: FaceReader = cut_again,
    progress: Callable[[int, int], None] | None = None,
) -> AttributeReport:
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
        raise InputError(f"the store has no {what}: `ris ingest` photos with --metadata LABELS.csv")
    ids = row_ids(store, manifest)
    labels = read_labels(store, ids, names)
    logits = predicted_logits(store, manifest, classifier, read=read, progress=progress)
    return AttributeReport(
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
