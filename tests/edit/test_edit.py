"""Edits from names to files: subjects, pictures, pasting back, provenance, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ris.data.store import Store
from ris.edit.editing import HEAT, edit, heat_map
from ris.edit.editor import Editor, TransferOptions
from ris.edit.paste import border_mask, change_mask, paste
from ris.edit.provenance import NOTE, SOURCE_TYPE, Edited, check_suffix, read_facts, swing
from ris.edit.request import EditRequest
from ris.edit.subjects import average_scores, found_subject, subject
from ris.errors import InputError, QueryError, StoreError
from ris.face_names import FaceId, Seed
from ris.index.build import build_indices
from ris.ingest.alignment.cut import cut_again
from ris.ingest.alignment.face_square import crop
from ris.method.eis import EisOptions
from ris.method.masks import MaskOptions

HAIR = {"hair": 1.0}


@pytest.fixture(scope="module")
def editor(models):
    return Editor(models)


@pytest.fixture(scope="module")
def pair(models):
    return subject(Seed(3), models), subject(Seed(7), models)


@pytest.fixture(scope="module")
def ids(filled) -> list[str]:
    return [i for b in filled.batches(["id"]) for i in b.column(0).to_pylist()]


def test_seeds_ids_and_photos_name_the_same_face(models, filled, ids):
    row = filled.face(ids[0])
    by_id = subject(FaceId(ids[0][:12]), models, filled)
    by_photo = subject(str(filled.resolve(row.path)), models, filled)
    assert by_id.name == by_photo.name == Path(row.path).name
    assert torch.equal(by_id.sigma, by_photo.sigma)
    assert np.array_equal(by_id.sigma, row.sigma)
    seed = int(Path(row.path).stem.removeprefix("seed"))
    by_seed = subject(Seed(seed), models)
    torch.testing.assert_close(by_seed.sigma, by_id.sigma, rtol=1e-3, atol=1e-3)
    mean = subject(Seed(seed, 0), models)
    assert torch.equal(mean.sigma, subject(Seed(1, 0), models).sigma)


def test_an_unknown_id_is_refused(models, filled):
    with pytest.raises(QueryError, match="no face id"):
        subject(FaceId("ffffffffffffffffffff"), models, filled)
    with pytest.raises(InputError, match="no store to look up the face 0123abcd"):
        subject(FaceId("0123abcd"), models)


def test_a_transfer_takes_the_feature_and_leaves_the_rest(editor, pair):
    """Hair becomes the reference's: where hair is, the picture moves towards it."""
    source, reference = pair
    before, after, other = (
        editor.drawn(source),
        editor.edited(source, reference, HAIR)[0],
        editor.drawn(reference),
    )
    side = (slice(None), slice(560, 720), slice(110, 200))  # long hair, and none

    def off(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a[side].mean((1, 2)) - b[side].mean((1, 2))).abs().mean())

    assert off(after, other) < 0.6 * off(before, other)
    still = editor.edited(source, reference, HAIR, [0.0])[0]
    assert torch.equal(still, before)
    mouth = editor.edited(source, reference, {"mouth": 1.0})[0]
    change = (mouth - before).square().mean(0)
    inside = change[620:880, 330:700].sum() / change.sum()
    assert inside > 0.4  # a tenth of the picture


def test_methods_and_rules_differ(editor, models, filled, pair):
    average = average_scores(models, filled, faces=20)
    assert average.shape == pair[0].scores.shape
    eis = Editor(models, TransferOptions(average=average, eis=EisOptions()))
    ways = {
        "default": editor,
        "EIS": eis,
        "RIS soft": Editor(models, TransferOptions(MaskOptions())),
        "RIS hard": Editor(models, TransferOptions(MaskOptions(kind="hard"))),
        "rescaled": Editor(models, TransferOptions(rule="rescaled")),
    }
    found = {n: way.transfer(*pair, HAIR)[0] for n, way in ways.items()}
    names = list(found)
    for i, first in enumerate(names):
        for second in names[:i]:
            assert not torch.equal(found[first], found[second])
    assert (eis.options.method, editor.options.method) == ("EIS", "RIS score")
    with pytest.raises(InputError, match="unknown feature 'ears'"):
        editor.transfer(*pair, {"ears": 1.0})


def test_averages_come_from_the_store_or_from_the_generator(models, filled):
    """A store of too few faces is not used."""
    stored = [r for b in filled.batches(["id"]) for r in b.column(0).to_pylist()][:5]
    mean = np.mean([filled.face(i).scores.astype(np.float32) for i in stored], axis=0)
    found = average_scores(models, filled, faces=5)
    assert found.shape[1] > mean.shape[1]  # edits reach further than a store's scores
    assert np.allclose(found[:, : mean.shape[1]], mean, atol=1e-3)
    told = []
    few = average_scores(models, None, faces=2, progress=lambda *a: told.append(a))
    seeds = [subject(Seed(n), models).scores for n in range(2)]
    torch.testing.assert_close(few, torch.stack(seeds).mean(0))
    assert told == [(1, 2), (2, 2)]


def test_a_search_gives_the_reference(filled, models, ids, tmp_path):
    build_indices(filled, ["hair"])
    from ris.query.searcher import search

    found = search(filled, FaceId(ids[4]), HAIR, k=3)
    source = subject(FaceId(ids[4]), models, filled)

    def at(rank: int, start=source, store=filled):
        return found_subject(start, HAIR, rank, store, models)

    assert at(2).face.path == found.nearest[1].path
    assert at(-3).face.path == found.furthest[2].path
    with pytest.raises(InputError, match="there is no rank 500"):
        at(500)
    with pytest.raises(InputError, match="not from seed:7"):
        at(1, subject(Seed(7), models))
    with pytest.raises(InputError, match="searches a store"):
        at(1, store=None)


def test_a_border_fades():
    mask = border_mask(100, feather=0.1)
    assert mask.max() == 1 and mask[50, 50] == 1
    assert mask[0].max() < 0.02 and mask[:, -1].max() < 0.02
    assert (np.diff(mask[50, :50]) >= 0).all()


def test_only_what_changed_shows():
    before = torch.zeros(3, 200, 200)
    after = before.clone()
    after[:, 80:120, 90:110] = 1
    after[:, 20:40, 20:40] += 0.01  # below what counts
    after[:, 160:180, 20:40] += 0.15  # little beside the rest
    mask = change_mask(before, after)
    assert mask[100, 100] == 1
    assert mask[84:116, 94:106].min() > 0.9  # grown, so that its edge is covered
    assert mask[30, 30] == 0 and mask[100, 130:].max() == 0
    assert mask[170, 30] == 0 and change_mask(before, 0.3 * after)[170, 30] < 0.1
    alone = torch.where(after == after[0, 170, 30], after, before)
    assert change_mask(before, alone)[170, 30] > 0.9


def test_pasting_undoes_the_crop():
    """A crop that was not edited leaves the photo as it was, turned or not."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (12, 16, 3)).astype(np.uint8)
    photo = Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)
    turned = np.array([[210, 100], [180, 300], [380, 330], [410, 130]], dtype=np.float64)
    for quad in (turned, np.add(turned, (180, -60)), None):
        pixels = (
            crop(photo, quad, 512)
            if quad is not None
            else np.asarray(photo.crop((80, 0, 560, 480)).resize((512, 512)))
        )
        tile = Image.fromarray(pixels)
        back = paste(photo, tile, np.ones((512, 512), np.float32), quad)
        off = np.abs(np.asarray(back, float) - np.asarray(photo, float))
        assert off.mean() < 0.6 and np.percentile(off, 99.5) < 8
        red = paste(photo, Image.new("RGB", (512, 512), "red"), border_mask(512), quad)
        changed = np.abs(np.asarray(red, float) - np.asarray(photo, float)).max(2) > 3
        area = 480**2 if quad is None else np.hypot(*(quad[3] - quad[0])) ** 2
        assert changed.sum() < 1.02 * area
    outside = paste(photo, tile, np.ones((512, 512), np.float32), np.add(turned, (5000, 0)))
    assert np.array_equal(outside, photo)


def test_the_edit_goes_back_into_a_photo(models, faces, tmp_path):
    """The face of a scene changes, its surroundings stay bit for bit."""
    scene = Image.new("RGB", (600, 420), (70, 120, 90))
    scene.paste(Image.open(sorted(faces.glob("*.jpg"))[3]).resize((256, 256)), (200, 90))
    path = tmp_path / "scene.png"
    scene.save(path)
    quad = subject(str(path), models).face.quad
    assert quad is not None

    def pasted(feature: str, blend: str, **changes) -> np.ndarray:
        wanted = request(sources=[path], features={feature: 1.0}, paste=blend, **changes)
        picture = edit(wanted, models=models).picture
        assert picture.size == scene.size
        return np.asarray(picture, int)

    a, b = pasted("hair", "crop"), np.asarray(scene, int)
    assert np.array_equal(a[:, :120], b[:, :120]) and np.abs(a - b)[150:300, 250:400].mean() > 3
    kept = np.abs(pasted("mouth", "change") - b).max(2) == 0
    assert kept.mean() > 0.85
    assert not kept[cut_lower_face(quad)].all()
    with pytest.raises(InputError, match="seed:7 is no photo"):
        edit(request(sources=[Seed(7)], references=[path], paste="crop"), models=models)


def test_a_photo_that_is_gone_is_not_pasted_into(models, filled, ids, monkeypatch):
    """A stored face is edited without its photo, but there is nothing to put the edit into."""
    monkeypatch.setattr(type(filled), "resolve", lambda _, path: Path("/gone", Path(path).name))
    with pytest.raises(InputError, match=r"/gone/.*: No such file"):
        edit(request(sources=[FaceId(ids[0])], paste="crop"), filled, models)


def cut_lower_face(quad: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns about the mouth of an upright quad."""
    left, top = quad[0]
    size = quad[3, 0] - left
    rows, columns = top + size * np.array([0.6, 0.8]), left + size * np.array([0.35, 0.65])
    return slice(*rows.astype(int)), slice(*columns.astype(int))


def test_heat_shows_change_and_no_change():
    before = torch.zeros(3, 8, 8)
    after = before.clone()
    after[:, :4] = 1
    heat = np.asarray(heat_map(before, after))
    assert (heat[:4] == HEAT[-1]).all() and (heat[4:] == HEAT[0]).all()


def test_frames_swing_back():
    assert swing([1, 2, 3]) == [1, 2, 3, 2]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif"])
def test_pictures_say_what_they_are(tmp_path, suffix):
    facts = {"sources": ["ä.jpg"], "alpha": [1.3]}
    path = tmp_path / "new" / f"out{suffix}"
    frames = [Image.new("RGB", (32, 32), c) for c in ("red", "blue")] if suffix == ".gif" else []
    edited = Edited(Image.new("RGB", (32, 32), "red"), facts, frames)
    edited.save(path)
    assert read_facts(path) == {"note": NOTE, **facts}
    if suffix != ".gif":
        assert SOURCE_TYPE.encode() in path.read_bytes()
    else:
        assert Image.open(path).n_frames == 2
    edited.save(path, mark=False)
    assert read_facts(path) is None
    assert SOURCE_TYPE.encode() not in path.read_bytes()


def test_pictures_that_cannot_be_written_are_refused(tmp_path):
    picture = Image.new("RGB", (8, 8))
    with pytest.raises(InputError, match="is written as .jpeg, .jpg, .png, .webp"):
        Edited(picture, {}).save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match="is written as .jpeg"):
        Edited(picture, {}).save(tmp_path / "a.gif")  # one picture is no animation
    check_suffix(tmp_path / "a.gif", sweep=True)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        Edited(picture, {}).save(tmp_path / "file" / "a.png")


def request(**changes) -> EditRequest:
    given = {"sources": [Seed(3)], "references": [Seed(7)], "features": {"hair": 1.0}}
    return EditRequest(**(given | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"references": []}, "name a reference"),
        ({"from_query": 1}, "one of the two"),
        ({"references": [], "from_query": 0}, "counts from 1"),
        ({"alpha": float("nan")}, "`alpha` is a number"),
        ({"sweep": (-1, 2), "compare": True}, "`sweep` and `compare`"),
        ({"references": [Seed(1), Seed(2)], "paste": "crop"}, "ask for one"),
        ({"sweep": (-1, 2), "steps": 1}, "2 to 200 `steps`"),
        ({"sweep": (0, float("inf"))}, "from one number to another"),
        ({"size": 3}, "at least 16 pixels"),
    ],
)
def test_requests_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        request(**changes)


def test_requests_make_pictures(models, tmp_path):
    sizes = {
        "one.jpg": (request(size=128), (128, 128)),
        "full.png": (request(), (1024, 1024)),
        "strip.png": (request(sweep=(-1, 2), steps=4, size=64), (8 + 4 * 72, 8 + 72 + 28)),
        "swing.gif": (request(sweep=(0, 1), steps=3, size=64), (64, 64)),
        "grid.png": (
            request(sources=[Seed(3), Seed(4)], features={"hair": 1.0, "mouth": 1.0}, size=64),
            (8 + 2 * 72, 8 + 6 * 72 + 2 * 28 + 28),
        ),
        "compare.png": (request(compare=True, size=64), (8 + 4 * 72, 8 + 72 + 28)),
    }
    for name, (wanted, size) in sizes.items():
        edited = edit(wanted, models=models)
        edited.save(tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            assert picture.size == size, name
            assert getattr(picture, "n_frames", 1) == (4 if name == "swing.gif" else 1)
        assert edited.facts["sources"] == [str(source) for source in wanted.sources]
        assert read_facts(tmp_path / name)["features"] == wanted.features
    small = np.asarray(Image.open(tmp_path / "one.jpg"), float)
    large = Image.open(tmp_path / "full.png").resize((128, 128), Image.Resampling.LANCZOS)
    assert np.abs(small - np.asarray(large, float)).mean() < 3


def test_store_faces_are_edited_without_the_inverter(filled, ids, models, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("nothing has to be inverted")

    monkeypatch.setattr(type(models), "inverter", property(never))
    store = Store.open(filled.folder)
    wanted = request(sources=[FaceId(ids[0])], references=[FaceId(ids[1])], size=64)
    edited = edit(wanted, store, models)
    edited.save(tmp_path / "a.png")
    assert edited.facts["sources"] == [Path(store.face(ids[0]).path).name]
    assert cut_again(tmp_path / "a.png", None, 64).shape == (64, 64, 3)
