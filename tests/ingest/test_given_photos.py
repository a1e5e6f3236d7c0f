"""Photos as Python gives them: a path, a picture of Pillow's, an array, encoded bytes."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from ris.commands.face_words import photo_or_id
from ris.errors import ImageError, InputError, QueryError
from ris.face_names import FaceId
from ris.ingest.pictures import decode as decoding
from ris.ingest.pictures.decode import decode, decode_aligned, hash_photo, name_of, photo_id
from ris.ingest.reading import FaceReader
from ris.query.query_face import face_of_id, face_of_photo
from ris.query.searcher import Searcher
from ris.query.sheet import contact_sheet


@pytest.fixture
def picture() -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    return Image.fromarray(noise).resize((96, 72), Image.Resampling.BICUBIC)


@pytest.fixture
def path(picture, tmp_path) -> Path:
    picture.save(tmp_path / "a.png")
    return tmp_path / "a.png"


def pixels(photo) -> np.ndarray:
    return np.asarray(decode(photo).picture)


def test_every_way_to_give_a_photo_gives_the_same(picture, path):
    wanted = np.asarray(picture)
    data = path.read_bytes()
    ways = [path, str(path), picture, wanted, data, bytearray(data), memoryview(data)]
    for photo in [*ways, Image.open(path), np.asfortranarray(wanted), wanted[::-1][::-1]]:
        found = decode(photo)
        assert (found.width, found.height, found.scale) == (96, 72, 1)
        assert np.array_equal(np.asarray(found.picture), wanted)
        assert np.array_equal(decode_aligned(photo, 64).pixels, decode_aligned(path, 64).pixels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16", "F", "LAB"])
def test_pictures_of_any_mode_are_as_in_a_file(picture, tmp_path, mode):
    if mode in ("I;16", "F"):
        values = np.asarray(picture.convert("L"), float)
        kind, factor = (np.uint16, 257) if mode == "I;16" else (np.float32, 1 / 255)
        given = Image.fromarray((values * factor).astype(kind))
    else:
        given = picture.convert(mode) if mode != "LAB" else _lab(picture)
    if mode in ("LA", "RGBA"):
        given.putalpha(Image.linear_gradient("L").resize(given.size))
    given.save(tmp_path / "a.tif")
    before = given.tobytes()
    assert np.array_equal(pixels(given), pixels(tmp_path / "a.tif"))
    assert given.mode == mode and given.tobytes() == before


def _lab(picture: Image.Image) -> Image.Image:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    found = ImageCms.applyTransform(picture, ImageCms.buildTransform(srgb, lab, "RGB", "LAB"))
    assert found is not None
    return found


def test_transparent_pixels_of_a_palette_are_white(picture, tmp_path):
    given = picture.quantize(8)
    given.info["transparency"] = 0
    given.save(tmp_path / "a.png")
    assert np.array_equal(pixels(given), pixels(tmp_path / "a.png"))
    assert (pixels(given)[np.asarray(given) == 0] == 255).all()


def test_an_opened_photo_is_turned_and_coloured_as_its_file(picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.jpg", "a.png", "a.tif", "a.webp"):
        picture.save(tmp_path / name, exif=exif)
        with Image.open(tmp_path / name) as opened:
            found = decode(opened)
            assert (found.width, found.height) == (72, 96), name
            assert np.array_equal(np.asarray(found.picture), pixels(tmp_path / name)), name
            upright = ImageOps.exif_transpose(opened)
        assert np.array_equal(pixels(upright), pixels(tmp_path / name))  # not turned twice
    wide = (Path(__file__).parent.parent / "cases" / "icc_prophoto.jpg").resolve()
    with Image.open(wide) as opened:
        assert np.array_equal(pixels(opened), pixels(wide))


def test_broken_side_information_of_an_opened_photo_is_passed_over():
    path = Path(__file__).parent.parent / "cases" / "exif_garbage.jpg"
    with Image.open(path) as opened:
        assert np.array_equal(pixels(opened), pixels(path))


def test_of_an_animation_the_present_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as opened:
        assert pixels(opened)[0, 0].tolist() == [255, 0, 0]
        opened.seek(1)
        assert pixels(opened)[0, 0].tolist() == [0, 255, 0]
    assert pixels((tmp_path / "a.gif").read_bytes())[0, 0].tolist() == [255, 0, 0]


def test_what_is_given_stays_as_it_is(picture):
    picture.info["note"] = "mine"
    array = np.asarray(picture).copy()
    for given in (picture, array):
        decode(given).picture.putpixel((0, 0), (1, 2, 3))
    assert picture.info["note"] == "mine" and picture.getpixel((0, 0)) != (1, 2, 3)
    assert np.array_equal(array, np.asarray(picture))


def test_large_pictures_are_halved_as_their_files(picture, tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "WORK_PIXELS", 96 * 72 // 3)
    picture.save(tmp_path / "a.png")
    for photo in (picture, np.asarray(picture)):
        found = decode(photo)
        assert (found.width, found.height, found.picture.size) == (96, 72, (48, 36))
        assert np.array_equal(np.asarray(found.picture), pixels(tmp_path / "a.png"))


RGB = np.zeros((40, 40, 3), np.uint8)
ARRAY = r"an array is RGB, uint8 and of shape \(height, width, 3\), not "


@pytest.mark.parametrize(
    ("photo", "stage", "message"),
    [
        (RGB[..., 0], "decode", ARRAY + r"uint8 of shape \(40, 40\)"),
        (np.zeros((40, 40, 4), np.uint8), "decode", ARRAY + r"uint8 of shape \(40, 40, 4\)"),
        (RGB[None], "decode", ARRAY),
        (RGB.astype(np.float32), "decode", ARRAY + "float32"),
        (RGB.astype(bool), "decode", ARRAY + "bool"),
        (np.array([]), "decode", ARRAY),
        (RGB[:0], "decode", "40x0 px is below 32 px"),
        (RGB[:20], "decode", "40x20 px is below 32 px"),
        (np.broadcast_to(RGB[:1, :1], (20000, 20000, 3)), "decode", "over 128 megapixels"),
        (Image.new("RGB", (8, 8)), "decode", "8x8 px is below 32 px"),
        (Image.new("RGB", (0, 9)), "decode", "0x9 px is below 32 px"),
        (b"", "read", "there are no bytes"),
        (b"no picture", "decode", "not a picture in a known format"),
        (b"\xff\xd8\xff\xe0 broken", "decode", "damaged"),
        (None, "read", "a photo is a path, a picture of Pillow's, .* not of type NoneType"),
        (7, "read", "not of type int"),
        ([[1, 2, 3]], "read", "not of type list"),
        (io.BytesIO(b"x"), "read", "not of type BytesIO"),
        ("a\0b", "read", "null byte"),
        ("x" * 5000, "read", "name too long"),
        ("nothere.jpg", "read", "No such file"),
        (".", "read", "a folder, no file"),
        (os.devnull, "read", "a pipe, socket or device, no file"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else None,
)
def test_what_is_no_photo_is_said_in_one_line(photo, stage, message):
    with pytest.raises(ImageError, match=f"(?i){message}") as e:
        decode(photo)
    assert e.value.stage == stage
    assert "\n" not in str(e.value)


def test_a_lazily_opened_picture_that_is_damaged(path):
    data = path.read_bytes()
    opened = Image.open(io.BytesIO(data[: len(data) // 2]))
    with pytest.raises(ImageError, match="damaged|ends within"):
        decode(opened)


def test_names_of_photos(picture, path):
    assert name_of(path) == name_of(str(path)) == name_of(Image.open(path)) == str(path)
    assert name_of(picture) == "the picture"
    assert name_of(np.asarray(picture)) == "the array"
    assert name_of(path.read_bytes()) == "the encoded photo"


def test_ids_of_photos(picture, path):
    wanted = hash_photo(path).face_id
    assert photo_id(path) == photo_id(str(path)) == photo_id(path.read_bytes()) == wanted
    assert photo_id(picture) is photo_id(np.asarray(picture)) is None


def test_a_search_takes_any_of_them(filled, models, generator, tmp_path):
    from ris.ingest.sampling import sample

    sample(tmp_path / "new", generator, n=1, seed=900, size=256)
    path = tmp_path / "new" / "seed000900.jpg"
    picture = Image.open(path)
    photos = [path, str(path), picture, np.asarray(picture), path.read_bytes()]
    first, *others = Searcher(filled, models).search_all(photos, {"eyes": 1.0}, k=4)
    for found in others:
        assert found.nearest == first.nearest
        assert np.array_equal(found.query.sigma, first.query.sigma)
        assert np.array_equal(found.query.w, first.query.w)
    sheets = [np.asarray(contact_sheet(found)) for found in (first, *others)]
    assert all(np.array_equal(sheet, sheets[0]) for sheet in sheets)
    assert [found.query.path for found in (first, *others)] == [path, path, None, None, None]
    read = FaceReader(models).largest(picture)
    assert np.array_equal(read.sigma, first.query.sigma)


def test_bytes_of_a_stored_photo_are_its_face(filled):
    (face, *_) = (i for b in filled.batches(["id"]) for i in b.column("id").to_pylist())
    path = filled.resolve(filled.face(face).path)
    for photo in (path, path.read_bytes()):
        assert face_of_photo(photo, store=filled).id == face


def test_photos_without_a_face_are_named(models, filled):
    leaf = np.full((200, 200, 3), (0, 128, 0), np.uint8)
    with pytest.raises(InputError, match="^the array: no face found$"):
        face_of_photo(leaf, models)
    with pytest.raises(InputError, match="^the encoded photo: not a picture"):
        face_of_photo(b"no picture", models, filled)
    with pytest.raises(InputError, match="^a photo is|: a photo is a path"):
        face_of_photo(7, models, filled)  # type: ignore[arg-type]


def test_an_id_is_never_read_as_a_path(filled, models, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    name = "0123456789abcdef"
    os.rename(path, name)
    with pytest.raises(QueryError, match=f"no face.*{name}"):
        face_of_id(filled, name)
    with pytest.raises(QueryError, match=f"no face.*{name}"):
        Searcher(filled, models).search(FaceId(name), {"eyes": 1.0})
    with pytest.raises(QueryError, match="no face"):
        face_of_id(filled, str(path.parent / name))
    assert photo_or_id(name) == Path(name)  # typed by the user of this machine
    assert photo_or_id("0123") == FaceId("0123")


def test_a_path_is_never_read_as_an_id(filled, models):
    (face, *_) = (i for b in filled.batches(["id"]) for i in b.column("id").to_pylist())
    with pytest.raises(QueryError, match=f"no photo {face}"):
        Searcher(filled, models).search(face, {"eyes": 1.0})
