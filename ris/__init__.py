"""RIS: search a collection of faces by eyes, nose, mouth, hair or pose, and edit one at a time.

Example:
    >>> import ris
    >>> faces = ris.open(".ris")  # ris.create("other/.ris") makes one
    >>> faces.ingest("celebahq/")
    <IngestReport: 0 faces ingested, 12 photos skipped, 0 failed, 12 faces in ...>
    >>> found = faces.search("face.jpg", "eyes", k=5)
    >>> found.nearest[0].path.name, found.nearest[0].similarity > 0
    ('...', True)
    >>> found.sheet("sheet.png").name
    'sheet.png'

Nothing is loaded before it is used. Errors are `ris.RisError`, each with one line for a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ris.data.failures import Failure
    from ris.data.metadata import Joined
    from ris.door.catalogues import DrawnCatalogue, FittedCatalogue, draw_catalogue, fit_catalogue
    from ris.door.collection import Collection
    from ris.door.entrances import create, open
    from ris.door.evaluation import Evaluation, frechet
    from ris.door.face_rows import Face
    from ris.door.health import Recovery, Verification, recover
    from ris.door.holdings import Rows
    from ris.door.indexing import FeatureIndex, IndexReport, Refreshed
    from ris.door.info import IndexInfo, Info
    from ris.door.ingestion import IngestReport
    from ris.door.model_files import Converted, ModelEntry, convert, models, models_folder, pull
    from ris.door.samples import SampleReport, sample
    from ris.door.search_result import Match, SearchResult, overview
    from ris.door.transferring import transfer
    from ris.door.words import FaceName, Features, Progress
    from ris.edit.provenance import Edited
    from ris.errors import (
        ImageError,
        IndexMissingError,
        InputError,
        MismatchError,
        ModelFileError,
        QueryError,
        RisError,
        StoreError,
    )
    from ris.face_names import FaceId, Seed
    from ris.ingest.pictures.decode import Photo

__version__ = "0.1.0"
__all__ = [
    "Collection",
    "Converted",
    "DrawnCatalogue",
    "Edited",
    "Evaluation",
    "Face",
    "FaceId",
    "FaceName",
    "Failure",
    "FeatureIndex",
    "Features",
    "FittedCatalogue",
    "ImageError",
    "IndexInfo",
    "IndexMissingError",
    "IndexReport",
    "Info",
    "IngestReport",
    "InputError",
    "Joined",
    "Match",
    "MismatchError",
    "ModelEntry",
    "ModelFileError",
    "Photo",
    "Progress",
    "QueryError",
    "Recovery",
    "Refreshed",
    "RisError",
    "Rows",
    "SampleReport",
    "SearchResult",
    "Seed",
    "StoreError",
    "Verification",
    "__version__",
    "convert",
    "create",
    "draw_catalogue",
    "fit_catalogue",
    "frechet",
    "models",
    "models_folder",
    "open",
    "overview",
    "pull",
    "recover",
    "sample",
    "transfer",
]
_MODULES = {
    "data.failures": ("Failure",),
    "data.metadata": ("Joined",),
    "door.catalogues": ("DrawnCatalogue", "FittedCatalogue", "draw_catalogue", "fit_catalogue"),
    "door.collection": ("Collection",),
    "door.holdings": ("Rows",),
    "door.info": ("IndexInfo", "Info"),
    "door.evaluation": ("Evaluation", "frechet"),
    "door.face_rows": ("Face",),
    "door.health": ("Recovery", "Verification", "recover"),
    "door.indexing": ("FeatureIndex", "IndexReport", "Refreshed"),
    "door.ingestion": ("IngestReport",),
    "door.model_files": (
        "Converted", "ModelEntry", "convert", "models", "models_folder", "pull",
    ),
    "door.entrances": ("create", "open"),
    "door.samples": ("SampleReport", "sample"),
    "door.search_result": ("Match", "SearchResult", "overview"),
    "door.transferring": ("transfer",),
    "ingest.pictures.decode": ("Photo",),
    "door.words": ("FaceName", "Features", "Progress"),
    "edit.provenance": ("Edited",),
    "errors": (
        "ImageError", "IndexMissingError", "InputError", "MismatchError", "ModelFileError",
        "QueryError", "RisError", "StoreError",
    ),
    "face_names": ("FaceId", "Seed"),
}  # fmt: skip
"""Where each name lives: a test holds that these are the imports above."""


if not TYPE_CHECKING:  # else a checker would take any name

    def __getattr__(name: str) -> Any:
        from importlib import import_module

        for module, names in _MODULES.items():
            if name in names:
                value = getattr(import_module(f"ris.{module}"), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module 'ris' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
