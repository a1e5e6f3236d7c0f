"""Search end to end on rendered faces: both ends, filters, mixes, mismatches."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from ris.commands.face_words import photo_or_id
from ris.data.row_tensors import row_tensors
from ris.data.stats_file import style_statistics
from ris.data.store import Store
from ris.errors import IndexMissingError, InputError, MismatchError, QueryError, StoreError
from ris.face_names import FaceId
from ris.index.build import build_indices, parse_bytes
from ris.ingest.pictures.decode import decode_aligned
from ris.method.normaliser import Normaliser
from ris.method.representation import DEFAULT_MASK, DEFAULT_NORM, cosine, represent
from ris.query.query_face import face_of_photo
from ris.query.searcher import search
from ris.query.sheet import GAP, LABEL, TILE, TITLE, contact_sheet, overview, save_picture


class NoModels:
    """Photos of this file's tests are all in the store: nothing has to be inverted."""

    @property
    def embedder(self):
        raise AssertionError("nothing needs the generator")

    @property
    def inverter(self):
        raise AssertionError("nothing needs the inverter")


def oracle(store: Store, feature: str, mask: str = "soft", norm: str = DEFAULT_NORM) -> tuple:
    """Ids and the whole cosine matrix, straight from Eq. 4 to 8."""
    settings = store.settings
    (batch,) = list(store.batches())
    sigma, scores = row_tensors(batch, settings)
    normaliser = Normaliser.fit(norm, style_statistics(store), settings.covered)
    v = represent(
        sigma,
        scores,
        settings.covered,
        settings.classes,
        feature,
        dataclasses.replace(DEFAULT_MASK, kind=mask),
        normaliser,
    )
    return batch.column("id").to_pylist(), cosine(v, v)


@pytest.mark.parametrize("feature", ["eyes", "nose", "mouth", "hair", "pose"])
def test_both_ends_equal_the_formula(filled, feature):
    ids, matrix = oracle(filled, feature)
    for i in (0, 17, 42):
        others = [j for j in range(60) if j != i]
        ranking = sorted(others, key=lambda j: -matrix[i, j].item())
        found = search(filled, FaceId(ids[i]), {feature: 1.0}, k=59, models=NoModels())
        for ours, expected in ((found.nearest, ranking), (found.furthest, ranking[::-1])):
            assert len(ours) == 59
            wanted = [matrix[i, j].item() for j in expected]
            assert np.allclose([m.score for m in ours], wanted, atol=2e-3)
            # float16 storage may swap near-ties only
            for match in ours:
                assert abs(matrix[i, ids.index(match.id)].item() - match.score) < 2e-3
        assert ids[i] not in {m.id for m in found.nearest}
        assert [m.rank for m in found.nearest] == list(range(1, 60))


def test_features_of_a_face_find_different_faces(filled):
    ids, _ = oracle(filled, "eyes")
    tops = {
        f: {m.id for m in search(filled, FaceId(ids[3]), {f: 1.0}, k=5).nearest}
        for f in ("eyes", "mouth", "hair", "pose")
    }
    assert len(set.union(*tops.values())) >= 8  # 5 if all features found the same
    assert len({frozenset(found) for found in tops.values()}) == 4


def test_a_photo_of_the_store_is_its_face(filled):
    face = filled.face(oracle(filled, "eyes")[0][5])
    photo = filled.resolve(face.path)
    by_photo = search(filled, str(photo), {"mouth": 1.0}, k=5, models=NoModels())
    by_id = search(filled, FaceId(face.id), {"mouth": 1.0}, k=5, models=NoModels())
    assert by_photo.nearest == by_id.nearest
    assert by_photo.query.id == face.id


def test_fewer_faces_than_asked_for(filled):
    found = search(filled, FaceId(oracle(filled, "eyes")[0][0]), {"eyes": 1.0}, k=500)
    assert len(found.nearest) == len(found.furthest) == 59
    assert [m.id for m in found.nearest] == [m.id for m in found.furthest][::-1]


def test_filters(filled):
    ids, _ = oracle(filled, "nose")
    found = search(filled, FaceId(ids[0]), {"nose": 1.0}, k=60, where="odd = 1 and width > 10")
    odd = {m.path.name for m in found.nearest}
    assert odd == {f"seed{100 + i:06d}.jpg" for i in range(60) if i % 2} - {
        filled.resolve(filled.face(ids[0]).path).name
    }
    with pytest.raises(QueryError, match="no face satisfies"):
        search(filled, FaceId(ids[0]), {"nose": 1.0}, where="odd = 7")
    with pytest.raises(QueryError, match="columns: id, path"):
        search(filled, FaceId(ids[0]), {"nose": 1.0}, where="colour = 'red'")


def test_weighted_features_are_the_weighted_mean_of_cosines(filled):
    ids, eyes = oracle(filled, "eyes")
    _, mouth = oracle(filled, "mouth")
    weights = {"eyes": 2.0, "mouth": -1.0}
    found = search(filled, FaceId(ids[7]), weights, k=59)
    mixed = (2 * eyes[7] - mouth[7]) / 3
    expected = sorted((j for j in range(60) if j != 7), key=lambda j: -mixed[j].item())
    scores = [m.score for m in found.nearest]
    assert np.allclose(scores, [mixed[j].item() for j in expected], atol=2e-3)
    assert found.label == "eyes:2 mouth:-1"
    assert [m.id for m in found.furthest] == [m.id for m in found.nearest][::-1]


def test_what_is_typed_for_memory():
    assert parse_bytes("4GB") == 4 * 2**30
    assert parse_bytes("1.5 m") == 1.5 * 2**20
    with pytest.raises(InputError, match="write it as 500MB"):
        parse_bytes("much")


def test_hard_masks_kinds_and_norms_are_indexed_as_named(filled, tmp_path):
    store = copy_of(filled, tmp_path)
    for mask, norm, kind in (("hard", "channel", "ivf"), ("hard", "none", "hnsw")):
        built = build_indices(
            store,
            ["mouth"],
            options=dataclasses.replace(DEFAULT_MASK, kind=mask),
            norm=norm,
            kind=kind,
        )
        assert built["mouth"].meta.kind == kind
        ids, matrix = oracle(store, "mouth", mask, norm)
        best = max((j for j in range(60) if j != 4), key=lambda j: matrix[4, j].item())
        found = search(store, FaceId(ids[4]), {"mouth": 1.0}, k=3)
        assert found.nearest[0].score == pytest.approx(matrix[4, best].item(), abs=2e-3)


def test_faces_without_the_feature_are_left_out_and_cannot_be_queried(filled, tmp_path):
    store = copy_of(filled, tmp_path)
    face = store.face(oracle(filled, "eyes")[0][2])
    scores = face.scores.copy()
    scores[list(store.settings.classes).index("mouth")] = 0
    bare = dataclasses.replace(face, id="bare", path="bare.jpg", scores=scores)
    store.append([bare])
    built = build_indices(store, ["mouth"], options=dataclasses.replace(DEFAULT_MASK, kind="hard"))
    assert built["mouth"].without_feature == 1
    found = search(store, FaceId(face.id), {"mouth": 1.0}, k=99)
    assert "bare" not in {m.id for m in found.nearest + found.furthest}
    with pytest.raises(QueryError, match="shows no 'mouth'"):
        search(store, FaceId("bare"), {"mouth": 1.0})


def test_missing_and_foreign_indices_name_the_command(filled, tmp_path):
    store = copy_of(filled, tmp_path)
    face = oracle(filled, "eyes")[0][0]
    with pytest.raises(InputError, match="unknown feature 'ears'; known: eyes, nose"):
        search(store, FaceId(face), {"ears": 1.0})
    with pytest.raises(
        IndexMissingError, match=r"no index for 'skin': run `Collection.index\('skin'\)`"
    ):
        search(store, FaceId(face), {"skin": 1.0})
    made_foreign(store, catalogue="another")
    with pytest.raises(MismatchError, match=r"another generator.*`Collection.index\('eyes'\)`"):
        search(Store.open(store.folder), FaceId(face), {"eyes": 1.0})


def test_a_damaged_index_names_the_command(filled, tmp_path):
    store = copy_of(filled, tmp_path)
    (vectors,) = (store.folder / "index" / "eyes").rglob("vectors.f16")
    vectors.write_bytes(vectors.read_bytes()[:1000])
    with pytest.raises(StoreError, match=r"`Collection.index\('eyes', rebuild=True\)`"):
        search(store, FaceId(oracle(filled, "eyes")[0][0]), {"eyes": 1.0})


def test_a_foreign_generator_is_refused_for_photos(filled, tmp_path, models):
    store = copy_of(filled, tmp_path)
    made_foreign(store, generator="stylegan2-other")
    photo = tmp_path / "new.png"
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save(photo)
    with pytest.raises(MismatchError, match="generator stylegan2-other, this run has mobile"):
        face_of_photo(photo, models, Store.open(store.folder))


def test_queries_that_name_nothing(filled, tmp_path):
    with pytest.raises(QueryError, match="no photo nothere.jpg"):
        search(filled, "nothere.jpg", {"eyes": 1.0})
    with pytest.raises(InputError, match="is a folder"):
        search(filled, str(tmp_path), {"eyes": 1.0})
    bad = tmp_path / "bad.jpg"
    bad.write_text("no")
    with pytest.raises(InputError, match=r"bad.jpg: not a picture"):
        search(filled, str(bad), {"eyes": 1.0})
    with pytest.raises(InputError, match="`k` is at least 1"):
        search(filled, FaceId(oracle(filled, "eyes")[0][0]), {"eyes": 1.0}, k=0)


def test_an_empty_store_cannot_be_indexed(filled, tmp_path):
    store = Store.create(tmp_path / ".ris", filled.settings)
    with pytest.raises(StoreError, match="holds no faces yet: run `Collection.ingest` first"):
        build_indices(store, ["eyes"])


def made_foreign(store: Store, **settings: str) -> None:
    """Gives a store other settings than its rows were made with."""
    manifest = store.manifest()
    other = dataclasses.replace(manifest.settings, **settings)
    dataclasses.replace(manifest, settings=other).write(store.folder)


def copy_of(store: Store, folder: Path) -> Store:
    """A store of its own, whose photos are still found."""
    shutil.copytree(store.folder, folder / ".ris")
    return Store.open(folder / ".ris")


def test_sheet_survives_a_photo_that_is_gone(filled, tmp_path):
    found = search(filled, FaceId(oracle(filled, "eyes")[0][0]), {"eyes": 1.0}, k=2)
    gone = dataclasses.replace(found.nearest[1], path=tmp_path / "gone.jpg")
    found = dataclasses.replace(found, nearest=[found.nearest[0], gone])
    sheet = contact_sheet(found)
    save_picture(sheet, tmp_path / "sheet.png")
    save_picture(overview([found]), tmp_path / "out" / "all.jpg")
    assert (tmp_path / "out" / "all.jpg").stat().st_size > 1000
    with pytest.raises(InputError, match="written as .png or .jpg"):
        save_picture(sheet, tmp_path / "sheet.xyz")
    # the first result stands in the sheet as it is, the missing one as a grey tile
    pixels = np.asarray(sheet)
    photo = decode_aligned(found.nearest[0].path, TILE).pixels
    x, y = GAP + TILE + GAP + GAP, TITLE + LABEL
    assert np.array_equal(pixels[y : y + TILE, x : x + TILE], photo)
    beside = pixels[y : y + TILE, x + TILE + GAP : x + 2 * TILE + GAP]
    assert (beside == 235).mean() > 0.9


def test_a_negative_weight_alone_turns_the_ranking_round(filled):
    face = oracle(filled, "eyes")[0][0]
    plus = search(filled, FaceId(face), {"eyes": 1.0}, k=59)
    minus = search(filled, FaceId(face), {"eyes": -2.0}, k=59)
    assert [m.id for m in minus.nearest] == [m.id for m in plus.furthest]
    assert minus.nearest[0].score == pytest.approx(-plus.furthest[0].score, abs=1e-5)
    huge = search(filled, FaceId(face), {"eyes": 1e308, "mouth": 1e308}, k=3)
    assert abs(huge.nearest[0].score) > 0.05


def test_absurd_arguments(filled):
    face = oracle(filled, "eyes")[0][0]
    assert len(search(filled, FaceId(face), {"eyes": 1.0}, k=10**11).nearest) == 59
    for argument in ("x" * 5000, "", "  "):
        with pytest.raises((QueryError, InputError)):
            search(filled, photo_or_id(argument), {"eyes": 1.0})
