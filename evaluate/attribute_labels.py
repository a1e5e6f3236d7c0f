"""Attribute labels of a store's faces: from the columns that `ris ingest --metadata` joined, or, as
in the paper, as the shipped classifier sees the photos."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch

from ris.data.manifest import Manifest
from ris.data.models.attribute_file import load_classifier
from ris.data.store import Store
from ris.data.views import run_sql
from ris.errors import InputError
from ris.evaluate.recut_faces import FaceReader, faces_of
from ris.images import from_pixels
from ris.ingest.alignment.cut import cut_again
from ris.ingest.inversion.contract import resize
from ris.networks.attribute_classifier import AttributeClassifier

READ_SIZE = 256
"""Pixels at which a face is read, as for inversion; the classifier sees it smaller."""
FACES_AT_ONCE = 32


def read_labels(store: Store, ids: Sequence[str], attributes: Sequence[str]) -> np.ndarray:
    """(N, A) int8 labels: 1 has it, -1 has it not, 0 unknown.

    Args:
        store: has one column an attribute, holding -1 and 1 (as CelebA's), 0 and 1, or truth
            values; empty, or 0 beside -1, where the label is unknown.
        ids: faces, one a row of the result.
        attributes: column names.

    Raises:
        InputError: no such columns, or one that holds something else.
    """
    columns = {name.lower() for name in run_sql(store, "SELECT * FROM faces LIMIT 0")[0]}
    missing = [a for a in attributes if a.lower() not in columns]
    if missing:
        raise InputError(
            f"the faces have no column {', '.join(missing)}",
            "ingest them with `metadata='LABELS.csv'`",
        )
    quoted = ", ".join(f'"{a}"' for a in attributes)
    _, rows = run_sql(store, f"SELECT id, {quoted} FROM faces")
    known = {str(face): values for face, *values in rows}
    labels = np.zeros((len(ids), len(attributes)), dtype=np.int8)
    for a, name in enumerate(attributes):
        labels[:, a] = signs([known[face][a] for face in ids], name)
    return labels


def signs(values: Sequence[object], name: str) -> np.ndarray:
    """(N,) int8 labels of a column: 1, -1, and 0 for unknown.

    Args:
        values: -1 and 1, where 0 is unknown; or 0 and 1, or truth values; None or NaN is unknown.
        name: of the column, for the error.

    Raises:
        InputError: another value.
    """
    # NaN is how some tables say "unknown"
    values = [None if isinstance(v, float) and math.isnan(v) else v for v in values]
    given = {v for v in values if v is not None}
    if not given <= {-1, 0, 1}:
        shown = ", ".join(sorted(map(repr, given))[:4])
        raise InputError(f"column {name} holds {shown}: an attribute is -1 or 1, 0 or 1, or empty")
    absent = -1 if -1 in given else 0
    return np.array([1 if v == 1 else -1 if v == absent else 0 for v in values], dtype=np.int8)


def attribute_logits_of(
    classifier: AttributeClassifier, faces: Iterable[np.ndarray | None]
) -> np.ndarray:
    """(N, A) float32 logits, nan for a face that could not be read.

    Args:
        classifier: see `ris.data.models.attribute_file.load_classifier`.
        faces: (S, S, 3) uint8 FFHQ crops, or None.
    """
    parts = [np.zeros((0, len(classifier.attributes)), np.float32)]
    for some in _groups(faces, FACES_AT_ONCE):
        logits = np.full((len(some), len(classifier.attributes)), np.nan, np.float32)
        seen = [i for i, face in enumerate(some) if face is not None]
        if seen:
            images = from_pixels(np.stack([face for face in some if face is not None]))
            small = resize(images, classifier.net.config.size)
            logits[seen] = classifier.logits(small).numpy()
        parts.append(logits)
    return np.concatenate(parts)


def predicted_logits(
    store: Store,
    manifest: Manifest,
    classifier: AttributeClassifier,
    *,
    read: FaceReader = cut_again,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """(N, A) logits of a store's faces, in the order of its rows; see `attribute_logits_of` and
    `ris.evaluate.recut_faces.faces_of`."""
    faces = faces_of(store, manifest, READ_SIZE, read=read, progress=progress)
    return attribute_logits_of(classifier, faces)


def to_labels(classifier: AttributeClassifier, logits: np.ndarray) -> np.ndarray:
    """(N, A) logits -> (N, A) int8: 1 has the attribute, -1 has it not, 0 where the logit is nan.

    The thresholds predict an attribute as often as it was there in held-out photos of CelebA.
    """
    labels = classifier.labels(torch.from_numpy(logits)).numpy()
    return np.where(np.isnan(logits), 0, labels).astype(np.int8)


def predicted_labels(
    store: Store,
    manifest: Manifest,
    attributes: Sequence[str],
    *,
    read: FaceReader = cut_again,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """What `read_labels` gives, predicted: (N, A) int8 of 1, -1, and
    0 for a face whose photo could not be read again.

    Args:
        store: its photos should still be where they were.
        manifest: the state whose rows are meant, in their order.
        attributes: A names of CelebA's.
        read: cuts out a face.
        progress: called with faces done and faces in all.

    Raises:
        InputError: an attribute that the classifier does not know.
        ModelFileError: the classifier's file is missing or damaged.
    """
    classifier = load_classifier()
    columns = columns_of(classifier, attributes)
    logits = predicted_logits(store, manifest, classifier, read=read, progress=progress)
    return to_labels(classifier, logits)[:, columns]


def columns_of(classifier: AttributeClassifier, attributes: Sequence[str]) -> list[int]:
    """Places of some attributes among the classifier's, their case aside.

    Raises:
        InputError: one that it does not know.
    """
    known = {name.lower(): i for i, name in enumerate(classifier.attributes)}
    if strange := [name for name in attributes if name.lower() not in known]:
        raise InputError(
            f"the attribute classifier does not know {', '.join(strange)}; it knows "
            f"{', '.join(classifier.attributes)}"
        )
    return [known[name.lower()] for name in attributes]


def _groups(faces: Iterable[np.ndarray | None], size: int) -> Iterator[list[np.ndarray | None]]:
    rest = iter(faces)
    while some := list(islice(rest, size)):
        yield some
