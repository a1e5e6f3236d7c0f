"""Whether a collection is as it was written, and what brings it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ris.door.model_settings import PathLike, home

if TYPE_CHECKING:
    from ris.data.store import Store


@dataclass(frozen=True)
class Verification:
    """What `Collection.verify` found. It is true where everything is whole.

    Attributes:
        shards: number of files of faces.
        faces: number of faces in them.
        damaged: shards that are gone or not as they were written; their faces are lost.
        lost_faces: number of those faces.
        problems: of the files beside the shards, one line each.
        strangers: files among the shards that the collection does not know; nothing reads or
            deletes them.
        unchecked: shards of an earlier version, damage of which only this check sees.
        missing_photos: photos that are gone; their faces are not.
        indices: what is wrong with indices, one line each.
    """

    shards: int
    faces: int
    damaged: Sequence[str]
    lost_faces: int
    problems: Sequence[str]
    strangers: Sequence[str]
    unchecked: int
    missing_photos: Sequence[str]
    indices: Sequence[str]

    def __bool__(self) -> bool:
        return not (self.damaged or self.problems or self.indices)

    def to_dict(self) -> dict[str, Any]:
        """What ``ris verify --json`` prints."""
        return dict(vars(self))


def verify(store: Store, *, drop_damaged: bool = False) -> Verification:
    """See `ris.door.collection.Collection.verify`."""
    from ris.data.verify import verify as check
    from ris.index.directory import check_indices

    found = check(store, drop_damaged=drop_damaged)
    return Verification(**vars(found), indices=[str(problem) for problem in check_indices(store)])


@dataclass(frozen=True)
class Recovery:
    """What `recover` did.

    Attributes:
        shards: number of files of faces that the collection holds now.
        faces: number of faces in them.
        damaged: shards that do not read whole; they stay where they are, outside the collection.
        replaced: shards left out since later ones took their place.
        undone: shards left out since their commit was not completed.
        doubtful: ids of faces that may have been removed before: shards of an earlier version do
            not say.
        unchecked: number of shards of an earlier version, which have no checksums.
    """

    shards: int
    faces: int
    damaged: Sequence[str]
    replaced: Sequence[str]
    undone: Sequence[str]
    doubtful: Sequence[str]
    unchecked: int

    def to_dict(self) -> dict[str, Any]:
        """What ``ris verify --recover --json`` prints."""
        return dict(vars(self))


def recover(folder: PathLike | None = None, *, like: PathLike | None = None) -> Recovery:
    """Makes the manifest of a collection, where it is lost or damaged, anew from the shards.

    No face is deleted. Faces that were removed since the last shard was written may be back.

    Args:
        folder: of the collection; by default the nearest ``.ris``, or what is left of one.
        like: folder of a collection that was made alike, for shards of an earlier version, which
            do not say how.

    Raises:
        InputError: the manifest is whole, or there is nothing to make it from.
        StoreError: the shards do not say how they were made, or differently.
    """
    from ris.data.recovery import recover as make_anew
    from ris.data.store import Store

    settings = Store.open(Path(like)).settings if like is not None else None
    return Recovery(**vars(make_anew(home(folder).absolute(), settings)))
