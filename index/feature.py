"""The index of one feature, tied to the store that it was built from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data.manifest import StoreSettings
from data.store import Store
from index.directory import open_index
from index.meta import IndexMeta, read_meta
from index.protocol import VectorIndex
from ris.errors import IndexMissingError, InputError, MismatchError, StoreError
from ris.features import MaskOptions, face_vector, features_of

FOLDER = "index"


def index_folder(store: Store, feature: str) -> Path:
    """Where the index of a feature lies."""
    return store.folder / FOLDER / feature


def check_feature(settings: StoreSettings, feature: str) -> None:
    """Fails for a feature that the store's catalogue does not have.

    Raises:
        InputError: names the known ones.
    """
    known = features_of(settings.classes)
    if feature not in known:
        raise InputError(f"unknown feature {feature!r}; known: {', '.join(known)}")


def is_indexed(store: Store, feature: str) -> bool:
    """Whether there is an index of the feature, current or not.

    Raises:
        InputError: the store's catalogue has no such feature.
        StoreError: there is one, but it is damaged.
    """
    check_feature(store.settings, feature)
    try:
        read_meta(index_folder(store, feature))
    except IndexMissingError:
        return False
    return True


class FeatureIndex:
    """An opened index, the faces behind its rows, and how query vectors for it are made.

    Attributes:
        vectors: the vector index.
        ids: (N,) bytes, face id of each row, memory-mapped; empty for deleted rows.
        meta: what is recorded of it.
    """

    def __init__(
        self,
        store: Store,
        vectors: VectorIndex,
        ids: np.ndarray,
        meta: IndexMeta,
        centre: np.ndarray,
        scale: np.ndarray,
    ) -> None:
        self._settings = store.settings
        self._centre, self._scale = centre, scale
        self.vectors = vectors
        self.ids = ids
        self.meta = meta

    @classmethod
    def open(cls, store: Store, feature: str) -> FeatureIndex:
        """Opens the index of a feature.

        Raises:
            InputError: the store's catalogue has no such feature.
            IndexMissingError: it was not built yet.
            MismatchError: the store has changed since it was built.
            StoreError: its files are damaged.
        """
        manifest = store.manifest()
        check_feature(manifest.settings, feature)
        opened = open_index(index_folder(store, feature))
        meta = opened.meta
        if meta.extra.get("store_state") != manifest.state:
            raise MismatchError(
                f"the index for {feature!r} was built from {meta.extra.get('store_faces')} faces "
                f"(state {meta.extra.get('store_state')}), the store now has {manifest.rows} "
                f"(state {manifest.state}): run `ris index --feature {feature}`"
            )
        kept = opened.attached
        if opened.ids is None or not {"mean", "scale"} <= kept.keys():
            raise StoreError(
                f"the index for {feature!r} does not say which faces it holds or how their vectors "
                f"were made: run `ris index --feature {feature}`"
            )
        # Vectors made with different statistics do not compare, so queries are made with those
        # that the rows were made with, not with those of the store as it is now.
        return cls(store, opened.index, opened.ids, meta, kept["mean"], kept["scale"])

    def is_current(self, store: Store) -> bool:
        """Whether this is still the feature's index, and of the store as it is now.

        Raises:
            IndexMissingError: the feature has no index any more.
        """
        build = read_meta(index_folder(store, self.meta.extra["feature"])).build
        state: str = self.meta.extra["store_state"]
        return build == self.meta.build and state == store.manifest().state

    def query_vector(self, sigma: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """A face's vector under its own mask, made as the rows' were (Eq. 7).

        Args:
            sigma: (C,) float32 style coefficients.
            scores: (K, C') float32 contribution scores.

        Returns:
            (D,) float32; all zero if the feature covers nothing of the face.
        """
        extra = self.meta.extra
        return face_vector(
            np.asarray(sigma),
            np.asarray(scores),
            self._settings.covered,
            self._settings.classes,
            extra["feature"],
            MaskOptions(**extra["mask"]),
            self._centre,
            self._scale,
        )

    def row_of(self, face: str) -> int:
        """Row of a face, -1 if it has none."""
        found = np.flatnonzero(self.ids == face.encode())
        return int(found[0]) if len(found) else -1

    def rows_of(self, faces: Iterable[str]) -> np.ndarray:
        """(N,) bool: which rows belong to the given faces."""
        return np.isin(self.ids, np.array([face.encode() for face in faces]))

    def rows_in(self, other: FeatureIndex) -> np.ndarray:
        """(N,) int64: for each row of this index the same face's row in `other`, or -1."""
        order = np.argsort(other.ids)
        at = np.searchsorted(other.ids, self.ids, sorter=order).clip(max=len(order) - 1)
        rows = order[at]
        return np.where((other.ids[rows] == self.ids) & (self.ids != b""), rows, -1)
