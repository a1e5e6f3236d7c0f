"""Indices of a collection: built, and brought up to date."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ris.choices import TAU, IndexKind, MaskMode, NormMode
from ris.door.words import Progress, stage
from ris.errors import InputError, RisError

if TYPE_CHECKING:
    from ris.data.store import Store
    from ris.index.meta import BuildReport


@dataclass(frozen=True)
class FeatureIndex:
    """The index of one feature as it is now.

    Attributes:
        feature: eyes, nose, mouth, hair, pose or another of the collection's.
        kind: of the index.
        faces: number of faces that it finds.
        dims: length of its vectors.
        bytes: of its files.
        recall: share of the true ``k`` best faces that it finds, by end: ``nearest``, ``furthest``;
            1 where it scans exactly.
        k: of the recall.
        appended: faces that were added to it; None where it was built anew.
        removed: faces that were taken out of it; None likewise.
        without_feature: faces that do not show the feature and are left out.
    """

    feature: str
    kind: str
    faces: int
    dims: int
    bytes: int
    recall: Mapping[str, float]
    k: int
    appended: int | None
    removed: int | None
    without_feature: int
    _report: BuildReport = field(compare=False, repr=False)

    @classmethod
    def of(cls, feature: str, report: BuildReport) -> FeatureIndex:
        """From the engine's report."""
        meta = report.meta
        return cls(
            feature,
            meta.kind,
            report.faces,
            meta.dims,
            meta.bytes,
            {"nearest": meta.recall.nearest, "furthest": meta.recall.furthest},
            meta.recall.k,
            None if report.built else report.appended,
            None if report.built else report.removed,
            report.without_feature,
            report,
        )

    def to_dict(self) -> dict[str, Any]:
        """All that is recorded of the index, ready for JSON."""
        return self._report.to_dict()


@dataclass(frozen=True)
class IndexReport:
    """What became of each index that was asked for; goes through them in order.

    Attributes:
        indices: by feature.
    """

    indices: Mapping[str, FeatureIndex]

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[FeatureIndex]:
        return iter(self.indices.values())

    def __getitem__(self, feature: str) -> FeatureIndex:
        return self.indices[feature]

    def to_dict(self) -> dict[str, Any]:
        """What ``ris index --json`` prints."""
        return {feature: index.to_dict() for feature, index in self.indices.items()}


def build(
    store: Store,
    features: Sequence[str] | None,
    *,
    kind: IndexKind = "auto",
    mask: MaskMode = "soft",
    tau: float = TAU,
    to_image: bool = False,
    norm: NormMode = "blend",
    memory: int | str = "4GB",
    rebuild: bool = False,
    progress: Progress | None = None,
) -> IndexReport:
    """See `ris.door.collection.Collection.index`."""
    from ris.index.feature import check_feature

    for name in features or ():  # before what takes seconds to load
        check_feature(store.settings, name)
    from ris.index.build import DEFAULT_FEATURES, build_indices, parse_bytes
    from ris.method.masks import MaskOptions

    try:
        options = MaskOptions(kind=mask, tau=tau, to_image=to_image)
    except ValueError as e:
        raise InputError(str(e)) from e
    built = build_indices(
        store,
        list(DEFAULT_FEATURES if features is None else features),
        options=options,
        norm=norm,
        kind=kind,
        memory=parse_bytes(memory) if isinstance(memory, str) else memory,
        rebuild=rebuild,
        progress=stage(progress, "indexing"),
    )
    return IndexReport({name: FeatureIndex.of(name, made) for name, made in built.items()})


@dataclass(frozen=True)
class Refreshed:
    """What became of an index when faces were ingested.

    Attributes:
        feature: of the index.
        faces: number of faces that it finds.
        built: whether it was built anew.
        appended: faces that were added to it.
        removed: faces that were taken out of it.
        error: why it could not be brought up to date; searches find the faces all the same.
    """

    feature: str
    faces: int = 0
    built: bool = False
    appended: int = 0
    removed: int = 0
    error: RisError | None = None

    def to_dict(self) -> dict[str, Any]:
        """Numbers, or the error."""
        if self.error is not None:
            return {"error": str(self.error)}
        return {name: getattr(self, name) for name in ("faces", "built", "appended", "removed")}


def bring_up_to_date(store: Store, progress: Progress | None) -> dict[str, Refreshed]:
    """Adds the faces that are new to the indices that there are, by feature. An index that fails
    is no error: the faces are in the store, and searches find them."""
    from ris.index.build import refresh_indices

    report: dict[str, Refreshed] = {}
    for feature, made in refresh_indices(store, stage(progress, "indexing")).items():
        if isinstance(made, RisError):
            report[feature] = Refreshed(feature, error=made)
        else:
            report[feature] = Refreshed(
                feature, made.faces, made.built, made.appended, made.removed
            )
    return report
