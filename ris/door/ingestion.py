"""Photos into a collection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ris.door.indexing import Refreshed, bring_up_to_date
from ris.door.model_settings import PathLike
from ris.door.words import Progress, stage

if TYPE_CHECKING:
    from ris.data.failures import Failure
    from ris.data.metadata import Joined
    from ris.ingest.loaded_models import Models


@dataclass(frozen=True)
class IngestReport:
    """What became of the photos. Every file is counted once, in `photos`, `skipped`, `failures`,
    `not_pictures` or `left_out`. `len` is the number of new faces.

    Attributes:
        ingested: faces that are new in the collection.
        photos: photos that gave them.
        skipped: photos that the collection held already, or that were named before.
        failures: photos that gave no face, and folders that cannot be read.
        not_pictures: other files in the folders.
        left_out: number of files that were not looked at, by reason.
        pruned: faces removed because their photo is gone.
        metadata: what became of the metadata, if there was any.
        engine: what computed the scores: ``native`` or ``torch``.
        seconds: time that reading took.
        indices: what became of the indices that there were, by feature.
        faces: number of faces in the collection now.
        folder: of the collection.
        held: whether any of the photos is in the collection now.
        named: the photos as they were named, in short.
    """

    ingested: int
    photos: int
    skipped: int
    failures: Sequence[Failure]
    not_pictures: int
    left_out: Mapping[str, int]
    pruned: int
    metadata: Joined | None
    engine: str
    seconds: float
    indices: Mapping[str, Refreshed]
    faces: int
    folder: Path
    held: bool
    named: str

    @property
    def failed(self) -> int:
        """Number of photos that gave no face."""
        return len(self.failures)

    @property
    def files(self) -> int:
        """Number of files that were dealt with."""
        looked_at = self.photos + self.skipped + self.failed + self.not_pictures
        return looked_at + sum(self.left_out.values())

    def reasons(self) -> Counter[str]:
        """Number of failures by stage and reason."""
        return Counter(f"{f.stage}: {f.reason}" for f in self.failures)

    def __len__(self) -> int:
        return self.ingested

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return (
            f"<IngestReport: {self.ingested} faces ingested, {self.skipped} photos skipped, "
            f"{self.failed} failed, {self.faces} faces in {self.folder}>"
        )

    def to_dict(self) -> dict[str, Any]:
        """What ``ris ingest --json`` prints."""
        return {
            "ingested": self.ingested,
            "photos": self.photos,
            "skipped": self.skipped,
            "failed": self.failed,
            "not_pictures": self.not_pictures,
            "left_out": dict(self.left_out),
            "files": self.files,
            "pruned": self.pruned,
            "failures": [dict(vars(f)) for f in self.failures],
            **({"metadata": dict(vars(self.metadata))} if self.metadata else {}),
            "engine": self.engine,
            "seconds": round(self.seconds, 3),
            "indices": {feature: done.to_dict() for feature, done in self.indices.items()},
        }


def ingest(
    photos: PathLike | Sequence[PathLike],
    folder: Path,
    models: Models,
    *,
    latents: PathLike | None = None,
    metadata: PathLike | None = None,
    metadata_key: str | None = None,
    prune: bool = False,
    index: bool = True,
    progress: Progress | None = None,
) -> tuple[IngestReport, Models]:
    """See `ris.door.collection.Collection.ingest`; also gives the models, which are loaded now."""
    import os

    from ris.ingest.run import ingest_collection
    from ris.ingest.sources.sources import briefly

    named = [photos] if isinstance(photos, str | os.PathLike) else list(photos)
    words = [name if isinstance(name, str) else Path(name) for name in named]
    done = ingest_collection(
        words,
        folder,
        models,
        latents=None if latents is None else Path(latents),
        metadata=None if metadata is None else Path(metadata),
        metadata_key=metadata_key,
        prune=prune,
        progress=stage(progress, "ingesting"),
    )
    report = done.report
    told = IngestReport(
        ingested=report.ingested,
        photos=report.photos,
        skipped=report.skipped,
        failures=tuple(report.failures),
        not_pictures=report.not_pictures,
        left_out=dict(report.left_out),
        pruned=done.pruned,
        metadata=done.labelled,
        engine=done.models.embedder.engine_used,
        seconds=report.seconds,
        indices=bring_up_to_date(done.store, progress) if index else {},
        faces=done.faces,
        folder=done.store.folder,
        held=report.held,
        named=briefly(words),
    )
    return told, done.models
