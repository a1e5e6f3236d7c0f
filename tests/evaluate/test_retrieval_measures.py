from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ris.data.metadata import join_metadata
from ris.data.models.feature_networks import load_efficientnet
from ris.data.store import Store
from ris.errors import InputError, QueryError
from ris.evaluate.ablation import AblationResult, variants
from ris.evaluate.ams import ATTRIBUTES, LABELS, ams
from ris.evaluate.attribute_labels import read_labels
from ris.evaluate.representations import FEATURES
from ris.evaluate.retrieval import Collection, rank_store, row_ids
from ris.evaluate.rivals import (
    REGIONS,
    Drawn,
    Joined,
    compared,
    embed_regions,
    photo_embeddings,
)
from ris.evaluate.trsi import identities, signed_rank, trsi
from ris.face_names import FaceId
from ris.method.masks import MaskOptions
from ris.query.searcher import search


@pytest.fixture(scope="module")
def labelled(filled, tmp_path_factory):
    """The store of 60 faces with made-up labels for all attributes: a copy that may change."""
    import shutil

    folder = tmp_path_factory.mktemp("labelled")
    shutil.copytree(filled.folder, folder / ".ris")
    for photo in filled.root.glob("**/*.jpg"):
        target = folder / photo.relative_to(filled.root)
        target.parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(photo, target)
    store = Store.open(folder / ".ris")
    rng = np.random.default_rng(0)
    lines = [",".join(["file", *LABELS])]
    for i in range(60):
        values = [str(v) for v in rng.choice([-1, 1], len(LABELS))]
        if i == 3:
            values[0] = ""
        lines.append(",".join([f"seed{100 + i:06d}.jpg", *values]))
    (folder / "labels.csv").write_text("\n".join(lines))
    join_metadata(store, folder / "labels.csv")
    return store


def test_labels_are_read_in_row_order(labelled):
    names, ids = {}, []
    for batch in labelled.batches(["id", "path"]):
        for face, path in zip(*batch.to_pydict().values(), strict=True):
            ids.append(face)
            names[face] = path.rsplit("/", 1)[-1]
    labels = read_labels(labelled, ids, LABELS)
    text = (labelled.root / "labels.csv").read_text().splitlines()[1:]
    given = {line.split(",")[0]: [int(v or 0) for v in line.split(",")[1:]] for line in text}
    assert labels.tolist() == [given[names[face]] for face in ids]
    assert (labels == 0).sum() == 1


def test_labels_of_another_kind_are_refused(filled):
    ids = [i for batch in filled.batches(["id"]) for i in batch.column(0).to_pylist()]
    assert set(read_labels(filled, ids, ["odd"]).reshape(-1)) == {-1, 1}
    with pytest.raises(InputError, match="column person holds 0, 1, 10, 11: an attribute is"):
        read_labels(filled, ids, ["person"])
    with pytest.raises(InputError, match="no column Smiling, Bald: ingest them with `metadata="):
        read_labels(filled, ids, ["odd", "Smiling", "Bald"])


def ranked(store, ways=None, queries=0, seed=0):
    return rank_store(store, ways or compared("blend", rivals=False), queries=queries, seed=seed)


def test_the_ranking_is_that_of_ris_query(labelled):
    """RIS soft is the default index; its results must be the evaluated ones."""
    found = ranked(labelled)
    for feature in ("mouth", "hair"):
        for query in (0, 7, 31):
            matches = search(labelled, FaceId(found.ids[query]), {feature: 1.0}, k=5).nearest
            rows = found.found["RIS soft", feature][query]
            assert [found.ids[r] for r in rows] == [m.id for m in matches]


def test_labels_that_follow_the_representation_score_high(labelled):
    """Random labels are found at chance, labels cut from the vectors themselves well above."""
    found = ranked(labelled, compared("none", rivals=False))
    sigma = torch.cat([rows.sigma for rows in Collection.of(labelled).batches()]).numpy()
    direction = np.linalg.svd(sigma - sigma.mean(0), full_matrices=False)[2][0]
    sign = np.where((sigma - sigma.mean(0)) @ direction > 0, 1, -1)
    result = ams(found, np.tile(sign[:, None], (1, len(LABELS))))
    assert result.matches["whole-face sigma", "eyes", "mean"].corrected > 0.35
    coin = np.random.default_rng(1).choice([-1, 1], (60, len(LABELS)))
    assert abs(ams(found, coin).matches["whole-face sigma", "hair", "mean"].corrected) < 0.1


def test_a_seed_gives_the_same_queries_and_more_of_them_the_same_results(labelled, monkeypatch):
    labels = read_labels(labelled, row_ids(labelled), LABELS)
    first, second, other = (
        ams(ranked(labelled, queries=20, seed=s), labels).to_dict() for s in (4, 4, 5)
    )
    assert first == second != other
    assert first["queries"] == 20
    whole = ranked(labelled)
    monkeypatch.setattr("ris.evaluate.retrieval.QUERIES_AT_ONCE", 25)
    parts = ranked(labelled)
    for key, rows in whole.found.items():
        for a, b in zip(rows, parts.found[key], strict=True):
            assert a.tolist() == b.tolist()


def test_a_store_that_changed_and_one_that_is_too_small(labelled):
    found = ranked(labelled, queries=5)
    with pytest.raises(InputError, match="the store changed while it was measured"):
        ams(found, np.ones((59, len(LABELS)), dtype=int))
    with pytest.raises(InputError, match="60 faces are too few for the top 60 of others"):
        rank_store(labelled, compared("blend", rivals=False), k=60)


def test_averaged_masks_mix_the_features_more(filled):
    """The paper's claim on a small collection: EIS's one mask separates less (Fig. 8)."""
    found = ranked(filled)
    result = trsi(found, identities(filled, found.ids, None))
    assert result.mean("RIS hard") < result.mean("EIS hard")
    assert result.mean("whole-face sigma") == 1
    assert result.faces == result.queries == 60
    people = trsi(found, identities(filled, found.ids, "person"))
    assert people.mean("RIS soft") > result.mean("RIS soft")
    with pytest.raises(QueryError, match='column "odd_one" not found'):
        identities(filled, found.ids, "odd_one")


def test_signed_ranks_by_hand():
    """Six queries, all better: of 64 signings only two are as one-sided, p = 2 / 64."""
    first = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert signed_rank(first, first + np.arange(1, 7) / 100) == pytest.approx(2 / 64)
    assert signed_rank(first, first.copy()) == 1.0


def test_rivals_are_ranked_beside(labelled):
    found = ranked(labelled, compared("blend", rivals=True), queries=15)
    assert found.names[-4:] == [
        "crop embedding",
        "RIS soft + crop",
        "identity embedding",
        "random",
    ]
    for query, rows in zip(found.queries, found.found["random", "nose"], strict=True):
        assert len(rows) == 5
        assert query not in rows
    eyes, nose = (found.found["random", f] for f in ("eyes", "nose"))
    assert any(a.tolist() != b.tolist() for a, b in zip(eyes, nose, strict=True))
    whole = found.found["identity embedding", "eyes"]
    assert all(
        a.tolist() == b.tolist()
        for a, b in zip(whole, found.found["identity embedding", "hair"], strict=True)
    )


def test_two_representations_joined_compare_by_the_mean_of_their_cosines(labelled):
    collection = Collection.of(labelled)
    rows = collection.faces(np.arange(6))
    style = collection.masked("style", MaskOptions(), collection.normaliser("layer"))
    random = Drawn(3)
    joined = Joined("both", style, random, weight=0.25)

    def cosines(way):
        v = torch.nn.functional.normalize(way.vectors(rows, "mouth"), dim=1)
        return v @ v.T

    expected = 0.75 * cosines(style) + 0.25 * cosines(random)
    torch.testing.assert_close(cosines(joined), expected, atol=1e-5, rtol=1e-4)


def test_variants_of_the_ablation(labelled):
    """Fewer activations leave fewer channels; the default stands first, under its own name."""
    collection = Collection.of(labelled)
    found = {r.name: r for r in variants(collection)}
    assert next(iter(found)) == "soft, norm blend"
    rows = collection.faces(np.arange(4))
    whole = found["soft, norm blend"].vectors(rows, "eyes")
    small = found["soft, activations up to 32 px"].vectors(rows, "eyes")
    assert 0 < small.shape[1] < whole.shape[1]
    torch.testing.assert_close(small, whole[:, : small.shape[1]])
    ids = row_ids(labelled)
    rankings = rank_store(labelled, lambda c: variants(c)[:3], queries=10)
    result = AblationResult(
        trsi(rankings, identities(labelled, ids, "person")),
        ams(rankings, read_labels(labelled, ids, LABELS)),
    )
    assert list(result.to_dict()["variants"]) == [
        "soft, norm blend",
        "hard, norm blend",
        "score, norm blend",
    ]
    assert result.table().count("\n| ") == 5


def test_command(labelled, ris, tmp_path):
    def measured(*words: object) -> str:
        status, out, _ = ris("eval", *words, "--store", labelled.folder)
        assert status == 0
        return out

    figure = tmp_path / "ams.png"
    value = json.loads(measured("ams", "--queries", "10", "--rivals", "--json", "--plot", figure))
    assert Image.open(figure).width > 500
    assert set(value["ams"]) == {"mean", "majority"}
    assert list(value["ams"]["mean"]) == [
        "RIS soft",
        "EIS soft",
        "RIS hard",
        "EIS hard",
        "whole-face sigma",
        "crop embedding",
        "RIS soft + crop",
        "identity embedding",
        "random",
    ]
    nose = value["ams"]["mean"]["RIS soft"]["nose"]
    assert list(nose["attributes"]) == list(ATTRIBUTES["nose"])
    assert nose["corrected"] == pytest.approx(
        (nose["score"] - nose["chance"]) / (100 - nose["chance"])
    )
    table = measured("ams", "--queries", "10")
    assert "| RIS soft |" in table
    assert "AMS@5 by majority" in table
    figure = tmp_path / "trsi.svg"
    told = measured("trsi", "--queries", "10", "--identity", "person", "--plot", figure)
    assert "RIS soft against EIS soft: p = " in told
    assert "<svg" in figure.read_text()
    figure = tmp_path / "ablation.png"
    told = measured("ablation", "--queries", "10", "--plot", figure)
    assert "| score, norm channel |" in told
    assert Image.open(figure).width > 500
    figure = tmp_path / "attributes.png"
    assert "| Smiling |" in measured("attributes", "--plot", figure)
    assert Image.open(figure).width > 500


def test_regions_see_their_feature_alone():
    """Painting over the mouth changes the mouth's and the hair's (whole) embedding only."""
    backbone = load_efficientnet()
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    painted = image.clone()
    painted[..., 185:215, 100:156] = 1
    with torch.no_grad():
        before, after = (embed_regions(backbone, x) for x in (image, painted))
    changed = {f for f in REGIONS if not torch.equal(before[f], after[f])}
    assert changed == {"mouth", "hair"}
    assert tuple(before["eyes"].shape) == (1, 1280)
    assert tuple(REGIONS) == FEATURES


def test_embeddings_are_of_the_ingested_faces(labelled):
    """As one embeds the photo itself; a photo that is gone is counted and finds nothing."""
    collection = Collection.of(labelled)
    photos = [p for b in labelled.batches(["path"]) for p in b.column(0).to_pylist()]
    gone = labelled.resolve(photos[1])
    hidden = gone.rename(gone.with_suffix(".hidden"))
    try:
        crops, people = photo_embeddings(collection)
    finally:
        hidden.rename(gone)
    assert crops.name == "crop embedding (1 photos unread)"
    assert [(crops.embeddings[f] == 0).all(1).nonzero().tolist() for f in FEATURES] == [[[1]]] * 4
    assert not people.by_feature
    assert (people.embeddings["eyes"] == 0).all(1).nonzero().tolist() == [[1]]
    pixels = np.asarray(Image.open(labelled.resolve(photos[5])).convert("RGB"))
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        expected = embed_regions(load_efficientnet(), image)
    for f in FEATURES:
        assert torch.cosine_similarity(crops.embeddings[f][5], expected[f][0], dim=0) > 0.98
