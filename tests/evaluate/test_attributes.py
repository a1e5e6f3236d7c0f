"""The attribute classifier: network, file, training, use on a store."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ris.data.metadata import join_metadata
from ris.data.models.asset_files import asset_path, load_tensors
from ris.data.models.attribute_file import (
    CLASSIFIER,
    load_classifier,
    pack_classifier,
    unpack_classifier,
)
from ris.data.models.feature_networks import load_efficientnet
from ris.data.store import Store
from ris.errors import InputError, ModelFileError
from ris.evaluate.attribute_labels import attribute_logits_of, predicted_labels, signs, to_labels
from ris.evaluate.attributes import auc, evaluate_attributes
from ris.networks.attribute_classifier import (
    CELEBA_ATTRIBUTES,
    AttributeConfig,
    AttributeNet,
    attribute_logits,
)
from train import train_attributes
from train.encoder_training.loop import FROZEN, Schedule, Trainer
from train.labelled import Labelled, hold_out
from train.train_attributes import attribute_loss, batches

THREE = AttributeConfig(attributes=("bright", "red", "dark_left"), dropout=0.0)


@pytest.fixture(scope="module")
def backbone():
    return load_efficientnet()


@pytest.fixture(scope="module")
def classifier():
    return load_classifier()


@pytest.fixture(scope="module")
def seen(rendered):
    """16 renders with labels that one can see: light, colour, and where the shadow is."""
    images = torch.nn.functional.interpolate(rendered[1][:16], 128, mode="area")
    numbers = [
        images.mean((1, 2, 3)),
        images[:, 0].mean((1, 2)) - images[:, 2].mean((1, 2)),
        images[..., 64:].mean((1, 2, 3)) - images[..., :64].mean((1, 2, 3)),
    ]
    labels = torch.stack([torch.where(x > x.median(), 1, -1) for x in numbers], 1)
    return Labelled(images, labels.to(torch.int8), torch.arange(16))


# -- network and file --------------------------------------------------------------------------


def test_every_attribute_pools_by_its_own_places(backbone):
    net = AttributeNet.untrained(backbone, THREE).eval()
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(net(images), torch.zeros(2, 3))
    with torch.no_grad():
        net.weight.copy_(torch.rand(3, 1280, generator=torch.Generator().manual_seed(1)))
        net.places[1, 5] = 1e4  # the second attribute looks at one place alone
        (head,) = backbone.features(images, [backbone.blocks])
        found = net(images)
    torch.testing.assert_close(found[:, 0], head.mean((2, 3)) @ net.weight[0], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found[:, 1], head[:, :, 1, 1] @ net.weight[1], rtol=1e-4, atol=1e-3)


def test_a_face_and_its_mirror_image_get_the_same(classifier, seen):
    logits = attribute_logits(classifier.net, seen.images[:3])
    mirrored = attribute_logits(classifier.net, seen.images[:3].flip(3))
    assert logits.shape == (3, 40)
    torch.testing.assert_close(logits, mirrored)
    assert logits.std(0).min() > 0


def test_the_shipped_file(classifier):
    path = asset_path(CLASSIFIER)
    _, metadata = load_tensors(path)
    assert path.stat().st_size < 15e6
    assert classifier.attributes == CELEBA_ATTRIBUTES
    assert metadata["fingerprint"] == classifier.fingerprint
    assert json.loads(metadata["training"])["steps"] > 0
    assert torch.isfinite(classifier.thresholds).all()
    assert not any(p.requires_grad for p in classifier.net.parameters())
    tensors, again = pack_classifier(classifier.net, classifier.thresholds)
    assert again["fingerprint"] == classifier.fingerprint
    assert unpack_classifier(tensors, again).thresholds.tolist() == classifier.thresholds.tolist()


def test_a_wrong_file_is_refused(classifier, tmp_path):
    tensors, metadata = pack_classifier(classifier.net, classifier.thresholds)
    with pytest.raises(ModelFileError, match="not an attribute classifier"):
        unpack_classifier(tensors, {})
    with pytest.raises(ModelFileError, match="bias"):
        unpack_classifier({k: v for k, v in tensors.items() if k != "bias"}, metadata)
    with pytest.raises(ModelFileError, match="not those of its metadata"):
        unpack_classifier(tensors | {"thresholds": classifier.thresholds + 1}, metadata)
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(ModelFileError, match="not an attribute classifier"):
        load_classifier(tmp_path / "x.safetensors")
    with pytest.raises(ModelFileError, match="not a readable"):
        load_classifier(tmp_path / "none.safetensors")


# -- training ----------------------------------------------------------------------------------


def test_columns_of_labels():
    assert signs([-1, 1, 0, None, float("nan")], "x").tolist() == [-1, 1, 0, 0, 0]
    assert signs([0, 1, None], "x").tolist() == [-1, 1, 0]
    assert signs([True, False], "x").tolist() == [1, -1]
    with pytest.raises(InputError, match="column x holds 2"):
        signs([2], "x")


def test_unknown_labels_teach_nothing(backbone, seen):
    net = AttributeNet.untrained(backbone, THREE)
    half = seen.rows(torch.arange(4))
    labels = half.labels.clone()
    labels[:, 1] = 0
    loss = attribute_loss(net, half._replace(labels=labels))["labels"]
    assert loss.item() == pytest.approx(np.log(2))  # of the other two: all logits are 0
    (gradient,) = torch.autograd.grad(loss, [net.weight])
    assert gradient.abs().amax(1).gt(0).tolist() == [True, False, True]
    nothing = attribute_loss(net, half._replace(labels=torch.zeros_like(labels)))["labels"]
    assert nothing.item() == 0


def test_batches_show_every_photo_before_any_again():
    images = torch.arange(10, dtype=torch.uint8).mul(20)[:, None, None, None]
    labels = torch.arange(10, dtype=torch.int8)[:, None]
    data = Labelled(images.expand(-1, 3, 32, 32), labels, torch.arange(10))
    jobs = batches(data, 5, 2, torch.device("cpu"), torch.Generator().manual_seed(0))
    first = [next(jobs), next(jobs)]
    assert [len(job.images) for job in first[0]] == [3, 2]
    drawn = torch.cat([job.labels for step in first for job in step]).flatten()
    assert sorted(drawn.tolist()) == list(range(10))
    assert first[0][0].images.abs().max() <= 1


def test_people_are_held_out_as_a_whole():
    people = torch.arange(50).repeat_interleave(3)
    data = Labelled(torch.zeros(150, 1), torch.zeros(150, 1), people)
    train, held = hold_out(data, 0.2)
    assert (len(train.people), len(held.people)) == (120, 30)
    assert not set(train.people.tolist()) & set(held.people.tolist())
    assert torch.equal(held.people, hold_out(data, 0.2)[1].people)


def test_a_training_that_is_cut_goes_on_as_if_it_was_not(backbone, seen, tmp_path):
    def trainer(name: str) -> Trainer[AttributeNet, Labelled]:
        net = AttributeNet.untrained(backbone, THREE).train()
        return Trainer(net, Schedule(8, warmup=2), attribute_loss, tmp_path / name, threads=2)

    threads = torch.get_num_threads()
    jobs = [[seen.rows(torch.arange(8)), seen.rows(torch.arange(8, 16))]] * 8
    try:
        whole = trainer("whole.pt")
        assert len(list(whole.run(jobs, every=4))) == 2
        first = trainer("cut.pt")
        for job in jobs[:4]:
            first.update(job)
        first.save()
        second = trainer("cut.pt")
        assert second.step == 4
        list(second.run(jobs, every=2))
    finally:
        torch.set_num_threads(threads)
    start = AttributeNet.untrained(backbone, THREE)
    for (name, a), b in zip(whole.net.named_parameters(), second.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
        frozen = name.startswith(tuple(f"trunk.{part}" for part in FROZEN))
        assert torch.equal(a, start.get_parameter(name)) == frozen, name
    with torch.no_grad():
        after = attribute_loss(whole.net.eval(), seen)["labels"].item()
    assert after < 0.8 * np.log(2)


def test_the_command_from_photos_to_file(faces, tmp_path, monkeypatch, capsys):
    """Of 60 renders, with labels by their numbers; twice, so that it goes on the second time."""
    rng = np.random.default_rng(0)
    lines = [",".join(["file", "identity", *CELEBA_ATTRIBUTES])]
    for row in pq.read_table(faces / "latents.parquet").to_pylist():
        labels = rng.choice(["-1", "1"], len(CELEBA_ATTRIBUTES))
        lines.append(",".join([row["file"], str(len(lines) // 2), *labels]))
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(lines))
    folder, out = tmp_path / "kept", tmp_path / "classifier.safetensors"
    labelled = ["--labels", table]

    def step(*words: object) -> str:
        words = (*words, "--folder", folder)
        monkeypatch.setattr("sys.argv", ["train_attributes", *map(str, words)])
        train_attributes.main()
        return capsys.readouterr().out

    threads = torch.get_num_threads()
    try:
        assert "60 of 60 photos, 60 faces" in step("photos", faces, "--name", "renders")
        options = ["--batch", 4, "--threads", 1, "--device", "cpu"]
        assert "2/2" in step("train", *labelled, "--steps", 2, *options)
        assert "3/3" in step("train", *labelled, "--steps", 3, *options)
        printed = step("export", *labelled, "--out", out)
    finally:
        torch.set_num_threads(threads)
    assert "equal share" in printed
    made = load_classifier(out)
    assert json.loads(load_tensors(out)[1]["training"])["steps"] == 3
    start = AttributeNet.untrained(load_efficientnet())
    assert (made.net.weight - start.weight).abs().max() > 0
    table.write_text("\n".join(lines[:-1]))
    with pytest.raises(InputError, match="no row for seed"):
        step("export", *labelled, "--out", out)
    with pytest.raises(InputError, match="no column age"):
        step("export", *labelled, "--out", out, "--identity", "age")


# -- use on a store ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copy(filled, tmp_path_factory):
    """The store of 60 renders and its photos, in a place where both may change."""
    folder = tmp_path_factory.mktemp("attributes")
    shutil.copytree(filled.folder, folder / ".ris")
    for photo in filled.root.glob("**/*.jpg"):
        target = folder / photo.relative_to(filled.root)
        target.parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(photo, target)
    return Store.open(folder / ".ris")


def paths_of(store: Store) -> list[str]:
    return [p for batch in store.batches(["path"]) for p in batch.column(0).to_pylist()]


def test_predictions_are_those_of_the_photos(copy, classifier):
    photos = [np.asarray(Image.open(copy.resolve(p)).convert("RGB")) for p in paths_of(copy)]
    expected = to_labels(classifier, attribute_logits_of(classifier, photos))
    wanted = ["Smiling", "male"]
    places = [CELEBA_ATTRIBUTES.index("Smiling"), CELEBA_ATTRIBUTES.index("Male")]
    told = []
    found = predicted_labels(
        copy, copy.manifest(), wanted, progress=lambda *done: told.append(done)
    )
    assert told[-1] == (60, 60)
    assert found.dtype == np.int8
    assert found.shape == (60, 2)
    assert set(found.flatten()) == {-1, 1}
    assert (found == expected[:, places]).mean() > 0.98
    with pytest.raises(InputError, match="does not know Freckles; it knows 5_o_Clock_Shadow"):
        predicted_labels(copy, copy.manifest(), ["Smiling", "Freckles"])


def test_a_face_that_is_gone_has_no_prediction(copy, classifier):
    gone = copy.resolve(paths_of(copy)[7])
    hidden = gone.rename(gone.with_suffix(".hidden"))
    try:
        found = predicted_labels(copy, copy.manifest(), ["Smiling"])
    finally:
        hidden.rename(gone)
    assert np.flatnonzero(found[:, 0] == 0).tolist() == [7]
    assert attribute_logits_of(classifier, []).shape == (0, 40)


def test_the_report(copy, ris):
    """Labels are the predictions with some turned round, taken out, or all the same."""
    line = ("eval", "attributes", "--store", copy.folder)
    code, _, error = ris(*line)
    assert (code, error.count("\n")) == (1, 1)
    assert "no column of CelebA's attributes" in error
    names = ["Smiling", "Male", "Bald", "Bangs"]
    labels = predicted_labels(copy, copy.manifest(), names)
    assert all(set(labels[:, i]) == {-1, 1} for i in (0, 1))
    labels[:6, 0] *= -1  # six of sixty wrong
    labels[10:, 1] = 0  # ten known, all right
    labels[:, 2] = -1  # nobody
    labels[:, 3] = 0  # nothing known
    rows = zip(paths_of(copy), labels.tolist(), strict=True)
    lines = [",".join(["file", *names]), *(f"{p},{','.join(map(str, v))}" for p, v in rows)]
    table = copy.root / "labels.csv"
    table.write_text("\n".join(line.replace(",0", ",") for line in lines))
    join_metadata(copy, table)
    code, printed, _ = ris(*line, "--json")
    found = json.loads(printed)
    assert (code, found["faces"], found["unread"]) == (0, 60, 0)
    each = found["attributes"]
    assert list(each) == [n for n in CELEBA_ATTRIBUTES if n in names]
    assert each["Smiling"]["accuracy"] == pytest.approx(90)
    assert 0 < each["Smiling"]["auc"] < 1
    ten = labels[:10, 1]
    assert (each["Male"]["known"], each["Male"]["accuracy"]) == (10, 100)
    assert each["Male"]["auc"] == (1 if len(set(ten)) == 2 else None)
    assert each["Male"]["share"] == each["Male"]["predicted_share"]
    assert each["Bald"]["auc"] is None
    assert each["Bald"]["constant"] == 100
    assert each["Bangs"] == {"known": 0} | dict.fromkeys(
        ("accuracy", "constant", "auc", "share", "predicted_share")
    )
    known = [v["auc"] for v in each.values() if v["auc"] is not None]
    assert found["mean"]["auc"] == pytest.approx(np.mean(known))
    assert len(found["missing"]) == 36
    printed = ris(*line).out
    assert "| Smiling | 60 | 90.0 |" in printed
    assert "| Bangs | 0 | - | - | - | - | - |" in printed
    assert "No labels of 5_o_Clock_Shadow" in printed


def test_photos_that_are_gone_are_in_no_measure(copy):
    labels = predicted_labels(copy, copy.manifest(), ["Smiling"])
    table = copy.root / "smiling.csv"
    lines = [f"{p},{v}" for p, v in zip(paths_of(copy), labels[:, 0], strict=True)]
    table.write_text("\n".join(["file,Smiling", *lines]))
    join_metadata(copy, table)
    gone = copy.resolve(paths_of(copy)[3])
    hidden = gone.rename(gone.with_suffix(".hidden"))
    try:
        report = evaluate_attributes(copy)
    finally:
        hidden.rename(gone)
    place = report.attributes.index("Smiling")
    assert (report.known[place], report.accuracy[place], report.auc[place]) == (59, 1, 1)
    assert report.to_dict()["unread"] == 1
    assert "1 photos could not be read" in report.table()


def test_real_faces(classifier, celeba_eval):
    """Clearly above a linear probe on frozen features (mean AUC .875)."""
    from ris.errors import ImageError
    from ris.ingest.alignment.cut import Aligner
    from ris.ingest.pictures.decode import decode

    photos, table = celeba_eval
    aligner, crops, kept = Aligner(size=256), [], []
    for i, photo in enumerate(photos):
        try:
            crops.append(aligner.cuts(decode(photo))[0].pixels)
        except ImageError:
            continue
        kept.append(i)
    labels = np.stack([table[name] for name in CELEBA_ATTRIBUTES], 1)[kept]
    found = auc(labels, attribute_logits_of(classifier, crops))
    assert len(kept) > 0.9 * len(photos)
    assert np.nanmean(found) > 0.875
    assert found[CELEBA_ATTRIBUTES.index("Smiling")] > 0.95
