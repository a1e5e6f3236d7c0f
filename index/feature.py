"""The index of one feature, tied to the store that it was built from and to how it was made."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from ris.data.changes import Contents
from ris.data.manifest import Manifest, StoreSettings
from ris.data.store import Store
from ris.errors import IndexMissingError, InputError, MismatchError, StoreError
from ris.fingerprints import text_digest
from ris.index.directory import index_folder, open_index
from ris.index.files import Files
from ris.index.kind import Kind
from ris.index.meta import IndexMeta, read_meta
from ris.method.features import MaskOptions, face_vector, features_of


@dataclass(frozen=True)
class Recipe:
    """What an index is made by; indices of equal recipes may share rows.

    Attributes:
        feature: name.
        mask: `ris.method.masks.MaskOptions` as a dict.
        norm: normalisation of sigma.
        settings: hash of the store's settings.
    """

    feature: str
    mask: dict[str, Any]
    norm: str
    settings: str

    @classmethod
    def of(cls, feature: str, mask: dict[str, Any], norm: str, settings: StoreSettings) -> Recipe:
        """With the hash of the settings."""
        return cls(feature, mask, norm, settings_hash(settings))

    def extra(
        self, manifest: Manifest, contents: Contents, rows: int, **more: Any
    ) -> dict[str, Any]:
        """What `IndexMeta.extra` says of an index.

        Args:
            manifest: the state of the store that it was brought to.
            contents: the faces that it looked at.
            rows: how many of them are rows.
            more: further values.
        """
        return {
            **dataclasses.asdict(self),
            "without_feature": len(contents.keys) - rows,
            "store_content": manifest.content,
            "store_faces": manifest.rows,
            **more,
        }


def settings_hash(settings: StoreSettings) -> str:
    """Hash of everything that changes the vectors of a store's rows."""
    text = json.dumps(dataclasses.asdict(settings), sort_keys=True)
    return text_digest(text)


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


@dataclass(frozen=True, eq=False)
class FeatureIndex:
    """An opened index, the faces behind its rows, and how query vectors for it are made.

    It stays as it was when it was opened, whatever becomes of the store and of its files
    (`ris.index.live` follows the store).

    Attributes:
        vectors: to search.
        ids: (N,) bytes, face id of each row, memory-mapped; empty for deleted rows.
        contents: the faces that were looked at when it was made.
        meta: what is recorded of it.
        files: that it consists of.
        settings: of the store.
        centre: (C',) float32, subtracted from covered sigma.
        scale: (C',) float32, that it is divided by then.
    """

    vectors: Kind
    ids: np.ndarray
    contents: Contents
    meta: IndexMeta
    files: Files
    settings: StoreSettings
    centre: np.ndarray
    scale: np.ndarray

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
                f"resolution than the faces of {store.folder}",
                f"run `Collection.index({feature!r})`",
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
                "were made",
                f"run `Collection.index({feature!r})`",
            ) from e
        return cls(
            vectors=opened.index,
            ids=opened.ids,
            contents=contents,
            meta=meta,
            files=opened.files,
            settings=store.settings,
            centre=centre,
            scale=scale,
        )

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
            self.settings.covered,
            self.settings.classes,
            extra["feature"],
            MaskOptions(**extra["mask"]),
            self.centre,
            self.scale,
        )
