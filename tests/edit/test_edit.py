"""Edits from names to files: subjects, pictures, pasting back, provenance, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ris.data.store import Store
from ris.edit import compose
from ris.edit.compose import Studio, average_scores, from_query, pasted
from ris.edit.drawing import HEAT, grid, heat_map, swing
from ris.edit.feature_edits import TransferOptions
from ris.edit.fulfilment import carry_out
from ris.edit.paste import border_mask, change_mask, paste
from ris.edit.provenance import NOTE, SOURCE_TYPE, read_facts, save_edit
from ris.edit.request import Request
from ris.edit.subjects import seed_subject, subject
from ris.errors import InputError, QueryError, StoreError
from ris.index.build import build_indices
from ris.ingest.alignment.cut import cut_again
from ris.ingest.alignment.quad import crop
from ris.method.eis import EisOptions
from ris.method.masks import MaskOptions

HAIR = {"hair": 1.0}


@pytest.fixture(scope="module")
def studio(session):
    return Studio.of_session(session)


@pytest.fixture(scope="module")
def pair(session):
    return seed_subject("seed:3", session), seed_subject("seed:7", session)


@pytest.fixture(scope="module")
def ids(filled) -> list[str]:
    return [i for b in filled.batches(["id"]) for i in b.column(0).to_pylist()]


def test_seeds_ids_and_photos_name_the_same_face(session, filled, ids):
    row = filled.face(ids[0])
    by_id = subject(ids[0][:12], session, filled)
    by_photo = subject(str(filled.resolve(row.path)), session, filled)
    assert by_id.name == by_photo.name == Path(row.path).name
    assert torch.equal(by_id.sigma, by_photo.sigma)
    assert np.array_equal(by_id.sigma, row.sigma)
    seed = int(Path(row.path).stem.removeprefix("seed"))
    by_seed = subject(f"seed:{seed}", session)
    torch.testing.assert_close(by_seed.sigma, by_id.sigma, rtol=1e-3, atol=1e-3)
    mean = subject(f"seed:{seed}@0", session)
    assert torch.equal(mean.sigma, subject("seed:1@0", session).sigma)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("seed:", InputError, "a seed is written seed:7"),
        ("seed:7@1.5", InputError, "between 0 and 1"),
        ("nowhere.jpg", InputError, "no photo nowhere.jpg"),
        ("0123abcd", InputError, "no store to look up"),
    ],
)
def test_what_names_no_face_is_refused(session, name, error, message):
    with pytest.raises(error, match=message):
        subject(name, session)


def test_an_unknown_id_is_refused(session, filled):
    with pytest.raises(QueryError, match="no face id"):
        subject("ffffffffffffffffffff", session, filled)


def test_a_transfer_takes_the_feature_and_leaves_the_rest(studio, pair):
    """Hair becomes the reference's: where hair is, the picture moves towards it."""
    source, reference = pair
    before, after, other = (
        studio.drawn(source),
        studio.edited(source, reference, HAIR)[0],
        studio.drawn(reference),
    )
    side = (slice(None), slice(560, 720), slice(110, 200))  # long hair, and none

    def off(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a[side].mean((1, 2)) - b[side].mean((1, 2))).abs().mean())

    assert off(after, other) < 0.6 * off(before, other)
    still = studio.edited(source, reference, HAIR, [0.0])[0]
    assert torch.equal(still, before)
    mouth = studio.edited(source, reference, {"mouth": 1.0})[0]
    change = (mouth - before).square().mean(0)
    inside = change[620:880, 330:700].sum() / change.sum()
    assert inside > 0.4  # a tenth of the picture


def test_methods_and_rules_differ(studio, session, filled, pair):
    average = average_scores(session, filled, faces=20)
    assert average.shape == pair[0].scores.shape
    eis = studio.with_averaged_masks(average, EisOptions())
    ways = {
        "default": studio,
        "EIS": eis,
        "RIS soft": Studio.of_session(session, TransferOptions(MaskOptions())),
        "RIS hard": Studio.of_session(session, TransferOptions(MaskOptions(kind="hard"))),
        "rescaled": Studio.of_session(session, TransferOptions(rule="rescaled")),
    }
    found = {n: s.editor.transfer(*pair, HAIR)[0] for n, s in ways.items()}
    names = list(found)
    for i, first in enumerate(names):
        for second in names[:i]:
            assert not torch.equal(found[first], found[second])
    assert eis.facts(*[[p] for p in pair], HAIR, [1.0])["method"] == "EIS"
    with pytest.raises(InputError, match="unknown feature 'ears'"):
        studio.editor.transfer(*pair, {"ears": 1.0})


def test_averages_come_from_the_store_or_from_the_generator(session, filled):
    """A store of too few faces is not used."""
    stored = [r for b in filled.batches(["id"]) for r in b.column(0).to_pylist()][:5]
    mean = np.mean([filled.face(i).scores.astype(np.float32) for i in stored], axis=0)
    found = average_scores(session, filled, faces=5)
    assert found.shape[1] > mean.shape[1]  # edits reach further than a store's scores
    assert np.allclose(found[:, : mean.shape[1]], mean, atol=1e-3)
    told = []
    few = average_scores(session, None, faces=2, progress=lambda *a: told.append(a))
    seeds = [seed_subject(f"seed:{n}", session).scores for n in range(2)]
    torch.testing.assert_close(few, torch.stack(seeds).mean(0))
    assert told == [(1, 2), (2, 2)]


def test_a_search_gives_the_reference(filled, session, ids, tmp_path):
    build_indices(filled, ["hair"])
    from ris.query.searcher import search

    found = search(filled, ids[4], HAIR, k=3)
    assert from_query(filled, ids[4], HAIR, 2, session).path == found.nearest[1].path
    assert from_query(filled, ids[4], HAIR, -3, session).path == found.furthest[2].path
    with pytest.raises(InputError, match="counts from 1"):
        from_query(filled, ids[4], HAIR, 0, session)
    with pytest.raises(InputError, match="there is no rank 500"):
        from_query(filled, ids[4], HAIR, 500, session)


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


def test_the_edit_goes_back_into_a_photo(studio, session, faces, tmp_path, monkeypatch):
    """The face of a scene changes, its surroundings stay bit for bit."""
    scene = Image.new("RGB", (600, 420), (70, 120, 90))
    scene.paste(Image.open(sorted(faces.glob("*.jpg"))[3]).resize((256, 256)), (200, 90))
    path = tmp_path / "scene.png"
    scene.save(path)
    source = subject(str(path), session)
    assert source.quad is not None
    reference = seed_subject("seed:7", session)
    whole = pasted(studio, source, reference, HAIR)
    assert whole.size == scene.size
    a, b = np.asarray(whole, int), np.asarray(scene, int)
    assert np.array_equal(a[:, :120], b[:, :120]) and np.abs(a - b)[150:300, 250:400].mean() > 3
    mouth = {"mouth": 1.0}
    changed = pasted(studio, source, reference, mouth, blend="change")
    kept = np.abs(np.asarray(changed, int) - b).max(2) == 0
    assert kept.mean() > 0.85
    assert not kept[cut_lower_face(source.quad)].all()
    with pytest.raises(InputError, match="seed:7 is no photo"):
        pasted(studio, reference, source, HAIR)
    path.unlink()
    with pytest.raises(InputError, match=r"scene\.png: No such file"):
        pasted(studio, source, reference, HAIR)


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


def test_sheets_have_a_place_for_each():
    tile = Image.new("RGB", (20, 20), "red")
    sheet = np.asarray(grid([[tile, None], [None, tile]], columns=["a", "b"]))
    red = (sheet == (255, 0, 0)).all(2)
    assert red.sum() == 2 * 400
    assert red[8:28, 8:28].all() and red[36:56, 36:56].all()
    assert swing([1, 2, 3]) == [1, 2, 3, 2]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif"])
def test_pictures_say_what_they_are(tmp_path, suffix):
    facts = {"sources": ["ä.jpg"], "alpha": [1.3]}
    path = tmp_path / "new" / f"out{suffix}"
    frames = [Image.new("RGB", (32, 32), "blue")] if suffix == ".gif" else []
    save_edit(Image.new("RGB", (32, 32), "red"), path, facts, frames=frames)
    assert read_facts(path) == {"note": NOTE, **facts}
    if suffix != ".gif":
        assert SOURCE_TYPE.encode() in path.read_bytes()
    else:
        assert Image.open(path).n_frames == 2
    save_edit(Image.new("RGB", (32, 32), "red"), path, facts, frames=frames, mark=False)
    assert read_facts(path) is None
    assert SOURCE_TYPE.encode() not in path.read_bytes()


def test_pictures_that_cannot_be_written_are_refused(tmp_path):
    picture = Image.new("RGB", (8, 8))
    with pytest.raises(InputError, match="is written as .png"):
        save_edit(picture, tmp_path / "a.tiff", {})
    with pytest.raises(InputError, match="an animation is written as .gif"):
        save_edit(picture, tmp_path / "a.jpg", {}, frames=[picture])
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        save_edit(picture, tmp_path / "file" / "a.png", {})


def request(**changes) -> Request:
    given = {"sources": ["seed:3"], "references": ["seed:7"], "features": {"hair": 1.0}}
    return Request(**(given | changes))


@pytest.mark.parametrize(
    ("changes", "out", "message"),
    [
        ({"references": []}, "a.png", "name a reference"),
        ({"from_query": 1}, "a.png", "one of the two"),
        ({"alpha": float("nan")}, "a.png", "alpha is a number"),
        ({"sweep": "-1..2", "compare": True}, "a.png", "--sweep and --compare"),
        ({"references": ["seed:1", "seed:2"], "paste": "crop"}, "a.png", "ask for one"),
        ({"sweep": "-1..2", "steps": 1}, "a.png", "2 to 200 steps"),
        ({"sweep": "up"}, "a.png", "a sweep is written -1..2"),
        ({"sweep": "0..inf"}, "a.png", "a sweep is written -1..2"),
        ({"size": 3}, "a.png", "at least 16 pixels"),
        ({}, "a.gif", "this is written as"),
        ({"references": [], "from_query": 1}, "a.png", "searches a store"),
    ],
)
def test_requests_that_make_no_sense_are_refused(changes, out, message, session, tmp_path):
    with pytest.raises(InputError, match=message):
        carry_out(request(**changes), tmp_path / out, session=session)
    assert not list(tmp_path.iterdir())


def test_requests_make_pictures(session, tmp_path):
    sizes = {
        "one.jpg": (request(size=128), (128, 128)),
        "full.png": (request(), (1024, 1024)),
        "strip.png": (request(sweep="-1..2", steps=4, size=64), (8 + 4 * 72, 8 + 72 + 28)),
        "swing.gif": (request(sweep="0..1", steps=3, size=64), (64, 64)),
        "grid.png": (
            request(sources=["seed:3", "seed:4"], features={"hair": 1.0, "mouth": 1.0}, size=64),
            (8 + 2 * 72, 8 + 6 * 72 + 2 * 28 + 28),
        ),
        "compare.png": (request(compare=True, size=64), (8 + 4 * 72, 8 + 72 + 28)),
    }
    for name, (wanted, size) in sizes.items():
        facts = carry_out(wanted, tmp_path / name, session=session)
        with Image.open(tmp_path / name) as picture:
            assert picture.size == size, name
            assert getattr(picture, "n_frames", 1) == (4 if name == "swing.gif" else 1)
        assert facts["sources"] == wanted.sources
        assert read_facts(tmp_path / name)["features"] == wanted.features
    small = np.asarray(Image.open(tmp_path / "one.jpg"), float)
    large = Image.open(tmp_path / "full.png").resize((128, 128), Image.Resampling.LANCZOS)
    assert np.abs(small - np.asarray(large, float)).mean() < 3


def test_store_faces_are_edited_without_the_inverter(filled, ids, session, tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("nothing has to be inverted")

    monkeypatch.setattr(compose.Session, "inverter", never)
    store = Store.open(filled.folder)
    wanted = request(sources=[ids[0]], references=[ids[1]], size=64)
    facts = carry_out(wanted, tmp_path / "a.png", store, session=session)
    assert facts["sources"] == [Path(store.face(ids[0]).path).name]
    assert cut_again(tmp_path / "a.png", None, 64).shape == (64, 64, 3)
