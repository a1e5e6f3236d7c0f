"""Labelled photos to train the attribute classifier on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ris.data.file_names import FileNames
from ris.data.metadata import match_rows
from ris.data.tables import read_table
from ris.errors import InputError
from ris.evaluate.attribute_labels import signs
from train.encoder_training.training_photos import load_photos, photo_names


class Labelled(NamedTuple):
    """Aligned photos with what is known of them.

    Attributes:
        images: (N, 3, 128, 128) uint8.
        labels: (N, A) int8: 1 has the attribute, -1 has it not, 0 unknown.
        people: (N,) int64 identities.
    """

    images: torch.Tensor
    labels: torch.Tensor
    people: torch.Tensor

    def rows(self, chosen: torch.Tensor) -> Labelled:
        """Some of them, by number or by truth value."""
        return Labelled(*(part[chosen] for part in self))


def load_labelled(
    folder: Path, table: Path, attributes: Sequence[str], identity: str = "identity"
) -> Labelled:
    """The photos that `train.encoder_training.training_photos.gather` kept, with their rows of a
    table.

    Args:
        folder: of the photos.
        table: CSV or Parquet with a column of file names, one of identities and one an attribute.
        attributes: columns, -1 and 1 (0 or empty: unknown), or 0 and 1.
        identity: column of the people shown.

    Raises:
        InputError: a column, the row of a photo or its identity is missing, or it is not clear
            which row is a photo's.
    """
    rows = read_table(table)
    wanted = [identity, *attributes]
    if missing := [name for name in wanted if name not in rows.names]:
        raise InputError(f"{table} has no column {', '.join(missing)}")
    photos = load_photos(folder)
    names = photo_names(folder)
    _, places = match_rows(rows, FileNames(names, folder))
    if unknown := [name for name in names if name not in places]:
        raise InputError(f"{table} has no row for {unknown[0]} ({len(unknown)} such photos)")
    at = [places[name] for name in names]
    chosen = {name: rows.column(name).take(at).to_pylist() for name in wanted}
    if None in chosen[identity]:
        nobody = names[chosen[identity].index(None)]
        raise InputError(f"{table} does not say in column {identity} who {nobody} shows")
    labels = np.stack([signs(chosen[a], a) for a in attributes], 1)
    _, people = np.unique(np.array(chosen[identity]), return_inverse=True)
    return Labelled(photos.images, torch.from_numpy(labels), torch.from_numpy(people))


def hold_out(data: Labelled, share: float, seed: int = 0) -> tuple[Labelled, Labelled]:
    """Two parts without a person in common: to train on, and `share` of the people to choose
    settings by."""
    people = torch.unique(data.people)
    order = torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))
    held = torch.isin(data.people, people[order[: round(share * len(people))]])
    return data.rows(~held), data.rows(held)
