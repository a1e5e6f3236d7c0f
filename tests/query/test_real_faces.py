"""Real photos of faces, where there are some beside the checkout."""

from __future__ import annotations

import shutil

import torch

from ris.data.store import Store
from ris.face_names import FaceId
from ris.images import from_pixels
from ris.index.build import build_indices
from ris.ingest.inversion.contract import resize
from ris.ingest.inversion.optimisation import load_inverter
from ris.ingest.pictures.decode import decode_aligned
from ris.ingest.run import ingest_collection
from ris.query.searcher import search


def test_a_real_photo_is_ingested_and_found(shared_faces, models, tmp_path, filled):
    photos = sorted(shared_faces.iterdir())[:1]
    (tmp_path / "photos").mkdir()
    for photo in photos:
        shutil.copy(photo, tmp_path / "photos")
    shutil.copytree(filled.folder, tmp_path / ".ris")
    done = ingest_collection(str(tmp_path / "photos"), tmp_path / ".ris", models)
    assert (done.report.ingested, done.faces) == (1, 61)
    store = Store.open(tmp_path / ".ris")
    relative = f"photos/{photos[0].name}"
    (face,) = [
        store.face(i).id
        for batch in store.batches(["id", "path"])
        for i, path in zip(*batch.to_pydict().values(), strict=True)
        if path == relative
    ]
    row = store.face(face)
    assert row.inverter == models.inverter.fingerprint
    photo = from_pixels(decode_aligned(photos[0], 256).pixels[None])
    judge = load_inverter(models.generator, steps=0)
    error = judge.error(torch.tensor(row.w)[None], resize(photo, judge.input_size))
    assert error < 1.0  # 0.5 is a clear likeness, 2 another person
    build_indices(store, ["hair"])
    found = search(store, FaceId(face), {"hair": 1.0}, k=3)
    assert len(found.nearest) == 3
    assert found.nearest[0].score > 0.3
