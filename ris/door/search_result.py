"""What a search found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ris.door.model_settings import PathLike
from ris.errors import InputError
from ris.places import shown

if TYPE_CHECKING:
    from ris.data.store import Store
    from ris.query import searcher


class Labels:
    """The user's own columns of some faces, read when they are first asked for."""

    def __init__(self, store: Store, ids: Sequence[str]) -> None:
        self._store, self._ids = store, ids

    @cached_property
    def by_face(self) -> Mapping[str, Mapping[str, Any]]:
        """Values by column, by face id; without the faces that have none."""
        from ris.data.metadata_file import labels_of

        return labels_of(self._store.folder, self._ids)


@dataclass(frozen=True)
class Match:
    """One face that a search found.

    Attributes:
        rank: from 1, at its end of the ranking.
        id: of the face.
        path: its photo.
        similarity: cosine of the query and the face, in [-1, 1]; of several features the weighted
            mean.
    """

    rank: int
    id: str
    path: Path
    similarity: float
    _labels: Labels = field(compare=False, repr=False)

    @property
    def face(self) -> int:
        """Number of the face in its photo, 0 for the first (the largest)."""
        return int(self.id.partition("-")[2] or 0)

    @property
    def labels(self) -> dict[str, Any]:
        """The user's own columns (``metadata=`` of `Collection.ingest`) by name; empty where the
        face has none."""
        return dict(self._labels.by_face.get(self.id, {}))

    def to_dict(self) -> dict[str, Any]:
        """Rank, id, path and score (the similarity), ready for JSON."""
        return {
            "rank": self.rank,
            "id": self.id,
            "path": shown(self.path),
            "score": self.similarity,
        }


@dataclass(frozen=True, repr=False)
class SearchResult:
    """Both ends of a ranking. `len` is the number of nearest faces.

    Attributes:
        features: weight of each feature.
        k: number of results asked for at each end; there are fewer where the collection is smaller.
        id: of the query's face in the collection; None for a photo that is not in it.
        path: the query's photo; None where it was given as pixels or bytes.
        nearest: most similar first.
        furthest: least similar first.
        unsearched: faces that were not looked at, since they are newer than an index and too many
            to be added on the way: `Collection.index` adds them.
    """

    features: Mapping[str, float]
    k: int
    id: str | None
    path: Path | None
    nearest: Sequence[Match]
    furthest: Sequence[Match]
    unsearched: int
    _found: searcher.SearchResult = field(compare=False)

    @classmethod
    def of(cls, store: Store, found: searcher.SearchResult) -> SearchResult:
        """The result of a search as the engine gives it."""
        labels = Labels(store, [m.id for m in (*found.nearest, *found.furthest)])

        def matches(end: Sequence[searcher.Match]) -> list[Match]:
            return [Match(m.rank, m.id, m.path, m.score, labels) for m in end]

        return cls(
            found.features,
            found.k,
            found.query.id,
            found.query.path,
            matches(found.nearest),
            matches(found.furthest),
            found.unsearched,
            found,
        )

    @property
    def label(self) -> str:
        """The features as they are typed: ``eyes`` or ``eyes:2 mouth:1``."""
        return self._found.label

    def __len__(self) -> int:
        return len(self.nearest)

    def __repr__(self) -> str:
        best = f", best {self.nearest[0].similarity:+.3f}" if self.nearest else ""
        return f"<SearchResult by {self.label}: {len(self)} nearest{best}>"

    def to_dict(self) -> dict[str, Any]:
        """What ``ris query --json`` prints: plain values, without vectors."""
        return {
            "feature": self.label,
            "k": self.k,
            "query": {"id": self.id, "path": None if self.path is None else shown(self.path)},
            "nearest": [match.to_dict() for match in self.nearest],
            "furthest": [match.to_dict() for match in self.furthest],
            "unsearched": self.unsearched,
        }

    def sheet(self, path: PathLike, *, furthest: bool = False) -> Path:
        """Draws a contact sheet: the query, its nearest faces and, if asked for, its furthest.

        Args:
            path: picture to write (.png or .jpg); folders are made.
            furthest: draw the other end too.

        Returns:
            the path.

        Raises:
            InputError: another suffix.
            StoreError: it cannot be written.
        """
        from ris.query.sheet import contact_sheet, save_picture

        target = Path(path)
        save_picture(contact_sheet(self._found, furthest=furthest), target)
        return target


def overview(results: Sequence[SearchResult], path: PathLike) -> Path:
    """Draws one picture of many searches: a row a search, the query and then its nearest five.

    Args:
        results: one or more.
        path: picture to write (.png or .jpg); folders are made.

    Returns:
        the path.

    Raises:
        InputError: no result, or another suffix.
        StoreError: it cannot be written.

    Example:
        >>> found = [faces.search("face.jpg", feature) for feature in ("eyes", "mouth")]
        >>> ris.overview(found, "overview.png").name
        'overview.png'
    """
    from ris.query import sheet

    if not results:
        raise InputError("an overview needs one search or more")
    target = Path(path)
    sheet.save_picture(sheet.overview([result._found for result in results]), target)
    return target
