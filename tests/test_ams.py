from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from data.backbones import load_efficientnet
from data.metadata import join_metadata
from data.store import Store
from evaluate.ams import LABELS, ams_of_arrays, evaluate_ams
from evaluate.attributes import read_labels
from evaluate.representations import FEATURES
from evaluate.rivals import REGIONS, crop_embedding, embed_regions
from index.build import row_tensors
from query.search import search
from ris.errors import InputError
from ris.metrics import ATTRIBUTES


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
    with pytest.raises(InputError, match="no column Smiling, Bald: ingest them with --metadata"):
        read_labels(filled, ids, ["odd", "Smiling", "Bald"])


def test_the_ranking_is_that_of_ris_query(labelled):
    """RIS soft by layer is the default index; its results must be the evaluated ones."""
    manifest = labelled.manifest()
    ids, parts = [], []
    for batch in labelled.batches(["id", "sigma", "scores"], manifest):
        ids += batch.column(0).to_pylist()
        parts.append(row_tensors(batch, manifest.settings))
    sigma, scores = (torch.cat(p).numpy() for p in zip(*parts, strict=True))
    labels = read_labels(labelled, ids, LABELS)
    settings = manifest.settings
    result, found = ams_of_arrays(sigma, scores, labels, settings.covered, settings.classes)
    for feature in ("mouth", "hair"):
        matches = search(labelled, ids[7], {feature: 1.0}, k=5).nearest
        assert [ids[r] for r in found["RIS soft", feature][7]] == [m.id for m in matches]
    stored = evaluate_ams(labelled, queries=0)
    for key, match in result.matches.items():
        assert stored.matches[key].score == pytest.approx(match.score)
        assert stored.matches[key].corrected == pytest.approx(match.corrected)


def test_labels_that_follow_the_representation_score_high(labelled):
    """Random labels are found at chance, labels cut from the vectors themselves well above."""
    settings = labelled.settings
    parts = [row_tensors(b, settings) for b in labelled.batches(["sigma", "scores"])]
    sigma, scores = (torch.cat(p).numpy() for p in zip(*parts, strict=True))
    direction = np.linalg.svd(sigma - sigma.mean(0), full_matrices=False)[2][0]
    sign = np.where((sigma - sigma.mean(0)) @ direction > 0, 1, -1)
    labels = np.tile(sign[:, None], (1, len(LABELS)))
    result, _ = ams_of_arrays(
        sigma, scores, labels, settings.covered, settings.classes, norm="none"
    )
    whole = result.matches["whole-face sigma", "eyes", "mean"]
    assert whole.corrected > 0.35
    coin = np.random.default_rng(1).choice([-1, 1], labels.shape)
    random, _ = ams_of_arrays(sigma, scores, coin, settings.covered, settings.classes)
    assert abs(random.matches["whole-face sigma", "hair", "mean"].corrected) < 0.1


def test_a_seed_gives_the_same_queries(labelled):
    first, second, other = (evaluate_ams(labelled, queries=20, seed=s) for s in (4, 4, 5))
    assert first.to_json() == second.to_json()
    assert first.to_json() != other.to_json()
    assert first.queries == 20


def test_command(labelled, monkeypatch, capsys):
    import cli

    def ris(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["ris", *words, "--store", str(labelled.folder)])
        with pytest.raises(SystemExit) as e:
            cli.main()
        assert not e.value.code
        return capsys.readouterr().out

    value = json.loads(ris("eval", "ams", "--queries", "10", "--crops", "--json"))
    assert set(value["ams"]) == {"mean", "majority"}
    assert list(value["ams"]["mean"]) == [
        "RIS soft",
        "EIS soft",
        "RIS hard",
        "EIS hard",
        "whole-face sigma",
        "crop embedding",
    ]
    nose = value["ams"]["mean"]["RIS soft"]["nose"]
    assert list(nose["attributes"]) == list(ATTRIBUTES["nose"])
    assert nose["corrected"] == pytest.approx(
        (nose["score"] - nose["chance"]) / (100 - nose["chance"])
    )
    table = ris("eval", "ams", "--queries", "10")
    assert "| RIS soft |" in table
    assert "AMS@5 by majority" in table


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


def test_crop_embedding_reads_the_ingested_faces(labelled):
    """As one embeds the photo itself; a photo that is gone is counted and finds nothing."""
    photos = [p for b in labelled.batches(["path"]) for p in b.column(0).to_pylist()]
    gone = labelled.resolve(photos[1])
    hidden = gone.rename(gone.with_suffix(".hidden"))
    try:
        rival = crop_embedding(labelled, labelled.manifest())
    finally:
        hidden.rename(gone)
    assert rival.name == "crop embedding (1 photos unread)"
    assert [(rival.embeddings[f] == 0).all(1).nonzero().tolist() for f in FEATURES] == [[[1]]] * 4
    pixels = np.asarray(Image.open(labelled.resolve(photos[5])).convert("RGB"))
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        expected = embed_regions(load_efficientnet(), image)
    for f in FEATURES:
        assert torch.cosine_similarity(rival.embeddings[f][5], expected[f][0], dim=0) > 0.98
