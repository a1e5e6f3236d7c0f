"""Many searches of one store: what is kept between them, and several queries at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ris.data.store import Store
from ris.errors import InputError, QueryError
from ris.face_names import FaceId
from ris.index.build import build_indices
from ris.ingest.loaded_models import Models
from ris.query.searcher import Searcher, SearchResult, search


@pytest.fixture
def store(filled, tmp_path) -> Store:
    shutil.copytree(filled.folder, tmp_path / ".ris")
    return Store.open(tmp_path / ".ris")


def ids_of(store: Store) -> list[str]:
    return [face for batch in store.batches(["id"]) for face in batch.column("id").to_pylist()]


@pytest.fixture
def photo(generator, tmp_path) -> Path:
    """A face that is not in the store."""
    from ris.ingest.sampling import sample

    sample(tmp_path / "new", generator, n=1, seed=900, size=256)
    return tmp_path / "new" / "seed000900.jpg"


@pytest.fixture
def leaf(tmp_path) -> Path:
    Image.new("RGB", (200, 200), "green").save(tmp_path / "leaf.png")
    return tmp_path / "leaf.png"


def test_indices_are_kept_until_they_are_replaced(store):
    ids = ids_of(store)
    searcher = Searcher(store)
    first = searcher.search(FaceId(ids[0]), {"eyes": 1.0}, k=3)
    kept = searcher._indices.get(["eyes"])["eyes"]
    assert searcher.search(FaceId(ids[0]), {"eyes": 1.0}, k=3).nearest == first.nearest
    assert searcher._indices.get(["eyes"])["eyes"] is kept
    build_indices(store, ["eyes"], norm="none")  # the same faces, other vectors
    other = searcher.search(FaceId(ids[0]), {"eyes": 1.0}, k=3)
    assert searcher._indices.get(["eyes"])["eyes"] is not kept
    assert [m.score for m in other.nearest] != [m.score for m in first.nearest]


def test_a_photos_models_are_loaded_once(store, photo):
    searcher = Searcher(store)
    first = searcher.search(str(photo), {"hair": 1.0}, k=4)
    models = searcher.models
    assert isinstance(models, Models)
    loaded = models.generator, models.inverter, models.aligner.finder._networks
    again = searcher.search(str(photo), {"hair": 1.0}, k=4)
    assert again.nearest == first.nearest
    models = searcher.models
    now = models.generator, models.inverter, models.aligner.finder._networks
    assert all(a is b for a, b in zip(loaded, now, strict=True))
    assert search(store, str(photo), {"hair": 1.0}, k=4).nearest == first.nearest


def test_a_photos_answer_does_not_depend_on_its_being_in_the_store(store, photo, models):
    from ris.ingest.run import ingest_collection

    before = Searcher(store, models).search(str(photo), {"mouth": 1.0}, k=5)
    alone = shutil.copy(photo, photo.parent.parent)  # away from its latent
    done = ingest_collection(str(alone), store.folder.parent / "other" / ".ris", models)
    row = done.store.face(ids_of(done.store)[0])
    assert np.array_equal(row.sigma, before.query.sigma)
    assert np.array_equal(row.scores.astype(np.float32), before.query.scores)


@pytest.mark.parametrize("features", [{"nose": 1.0}, {"nose": -1.0}, {"eyes": 2.0, "hair": 1.0}])
@pytest.mark.parametrize("where", [None, "odd = 0"])
def test_several_queries_at_once_are_each_as_alone(store, features, where):
    ids = ids_of(store)[5:9]
    together = Searcher(store).search_all(list(map(FaceId, ids)), features, k=6, where=where)
    for face, found in zip(ids, together, strict=True):
        assert isinstance(found, SearchResult)
        alone = search(store, FaceId(face), features, k=6, where=where)
        assert (found.query.id, found.nearest, found.furthest) == (
            face,
            alone.nearest,
            alone.furthest,
        )


def test_a_query_that_fails_leaves_the_others_alone(store, leaf):
    ids = ids_of(store)
    queries = [FaceId(ids[0]), str(leaf), "nothere.jpg", FaceId(ids[1])]
    first, second, third, fourth = Searcher(store).search_all(queries, {"eyes": 1.0}, k=2)
    assert isinstance(first, SearchResult) and first.query.id == ids[0]
    assert isinstance(fourth, SearchResult) and fourth.query.id == ids[1]
    assert isinstance(second, InputError) and str(second) == f"{leaf}: no face found"
    assert isinstance(third, QueryError)
    failed = Searcher(store).search_all([str(leaf)], {"eyes": 1.0})
    assert [type(f) for f in failed] == [InputError]
    with pytest.raises(InputError, match="`k` is at least 1"):
        Searcher(store).search_all([FaceId(ids[0])], {"eyes": 1.0}, k=0)


def test_several_queries_on_the_command_line(ris, store, leaf):
    ids = ids_of(store)
    words = ("--feature", "mouth", "--k", 2)
    status, out, err = ris("query", ids[0], ids[1], *words, "--json")
    assert (status, err) == (0, "")
    both = json.loads(out)
    singles = [json.loads(ris("query", face, *words, "--json")[1]) for face in ids[:2]]
    assert both == singles
    status, out, err = ris("query", ids[0], leaf, ids[1], *words, "--out", "s/sheet.png")
    assert status == 1
    assert err == f"ris: {leaf}: no face found\n"
    assert out.count("most alike by mouth") == 2
    sheets = sorted(p.name for p in Path("s").iterdir())
    assert sheets == sorted(f"sheet-{face}.png" for face in ids[:2])
    status, out, err = ris("query", ids[0], leaf, *words, "--json")
    found = json.loads(out)
    assert status == 1
    assert found[0] == singles[0]
    assert found[1] == {
        "query": {"id": None, "path": str(leaf)},
        "error": f"{leaf}: no face found",
    }


def test_one_query_that_fails_is_one_line(ris, store, leaf):
    status, out, err = ris("query", leaf, "--feature", "mouth", "--json")
    assert (status, out, err) == (1, "", f"ris: {leaf}: no face found\n")


def test_one_searcher_answers_photos_stored_faces_and_several_at_once(store, monkeypatch):
    row = store.face(ids_of(store)[0])
    shutil.copy(store.folder.parent / row.path, store.folder.parent / "face.jpg")
    monkeypatch.chdir(store.folder.parent)
    searcher = Searcher(Store.open())
    found = searcher.search("face.jpg", {"eyes": 1.0}, k=5)
    again = searcher.search(FaceId(found.nearest[0].id), {"mouth": 1.0})
    assert len(found.nearest) == len(again.nearest) == 5
    whole, none = searcher.search_all(["face.jpg", "nobody.jpg"], {"hair": 1.0})
    assert isinstance(whole, SearchResult) and whole.features == {"hair": 1.0}
    assert isinstance(none, QueryError) and str(none) == "no photo nobody.jpg"
