"""The faces of a store, cut out of their photos again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ris.data.manifest import Manifest
from ris.data.squares import square_of
from ris.data.store import Store
from ris.errors import ImageError
from ris.ingest.alignment.cut import cut_again

FaceReader = Callable[[Path, np.ndarray | None, int], np.ndarray]
"""Photo, its face's quad (None: the photo is the face) and a size S -> the face's FFHQ crop,
(S, S, 3) uint8; raises ImageError."""


def faces_of(
    store: Store,
    manifest: Manifest,
    size: int,
    *,
    read: FaceReader = cut_again,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[np.ndarray | None]:
    """FFHQ crops of a store's faces, (size, size, 3) uint8, in the order of its rows; None for a
    photo that is gone, damaged or another one than it was. One photo at a time is in memory.

    Args:
        store: its photos should still be where they were.
        manifest: the state whose rows are meant.
        size: pixels of a crop.
        read: cuts out a face.
        progress: called with faces done and faces in all.
    """
    done = 0
    for batch in store.batches(["path", "aligned", "quad"], manifest):
        for row in batch.to_pylist():
            quad = square_of(row["quad"], row["aligned"])
            try:
                yield read(store.resolve(row["path"]), quad, size)
            except ImageError:
                yield None
            done += 1
            if progress:
                progress(done, manifest.rows)
