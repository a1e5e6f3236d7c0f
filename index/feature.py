"""The index of one feature, tied to the store that it was built from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ris.data.durable import listed
from ris.data.manifest import StoreSettings
from ris.data.store import Store
from ris.errors import IndexMissingError, InputError, MismatchError, StoreError
from ris.index.contents import Contents
from ris.index.directory import open_index
from ris.index.meta import META, IndexMeta, read_meta
from ris.index.recipe import settings_hash
from ris.index.searching import VectorIndex
from ris.method.features import MaskOptions, face_vector, features_of

FOLDER = "index"


def index_folder(store: Store, feature: str) -> Path:
    """Where the index of a feature lies."""
    return store.folder / FOLDER / feature


def indexed_features(store: Store) -> list[str]:
    """The features that have an index, sound or not."""
    return [path.name for path in listed(store.folder / FOLDER) if (path / META).exists()]


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

    It stays as it was when it was opened, whatever becomes of the store and of its files
    (`ris.index.live` follows the store).

    Attributes:
        vectors: the vector index.
        ids: (N,) bytes, face id of each row, memory-mapped; empty for deleted rows.
        contents: the faces that were looked at when it was made.
        meta: what is recorded of it.
    """

    def __init__(
        self,
        settings: StoreSettings,
        vectors: VectorIndex,
        ids: np.ndarray,
        contents: Contents,
        meta: IndexMeta,
        centre: np.ndarray,
        scale: np.ndarray,
    ) -> None:
        self._settings = settings
        self._centre, self._scale = centre, scale
        self.vectors = vectors
        self.ids = ids
        self.contents = contents
        self.meta = meta

    @classmethod
    def open(cls, store: Store, feature: str) -> FeatureIndex:
        """Opens the index of a feature.

        Raises:
            InputError: the store's catalogue has no such feature.
            IndexMissingError: it was not built yet.
            MismatchError: it was built for another generator, catalogue or resolution.
            StoreError: its files are damaged.
        """
        check_feature(store.settings, feature)
        opened = open_index(index_folder(store, feature))
        meta, kept = opened.meta, opened.attached
        if meta.extra.get("settings") != settings_hash(store.settings):
            raise MismatchError(
                f"the index for {feature!r} was built with another generator, catalogue or "
                f"resolution than the faces of {store.folder}: run `ris index --feature {feature}`"
            )
        try:
            if opened.ids is None:
                raise ValueError("has no ids")
            contents = Contents.from_arrays(kept, meta.rows)
            # Vectors made with different statistics do not compare, so queries are made with
            # those that the rows were made with, not with those of the store as it is now.
            centre, scale = kept["mean"], kept["scale"]
        except (KeyError, ValueError) as e:
            raise StoreError(
                f"the index for {feature!r} does not say which faces it holds or how their vectors "
                f"were made: run `ris index --feature {feature}`"
            ) from e
        return cls(store.settings, opened.index, opened.ids, contents, meta, centre, scale)

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
