"""Faces in photos: finding them, their pose, the quad of FFHQ's recipe and cutting it out."""

from __future__ import annotations

import math
from pathlib import Path

import duckdb
import numpy as np
import pytest
from PIL import Image, ImageOps

from ris.data.blendshapes import BLENDSHAPES
from ris.errors import ImageError
from ris.ingest.alignment.cut import Aligner
from ris.ingest.alignment.face_square import (
    LEFT_EYE,
    MOUTH_CORNERS,
    RIGHT_EYE,
    SCALE,
    crop,
    crop_matrix,
    ffhq_quad,
    is_aligned,
    side,
    whole,
)
from ris.ingest.alignment.finder import FaceFinder
from ris.ingest.alignment.landmarker_file import load_networks
from ris.ingest.alignment.landmarks import head_pose
from ris.ingest.pictures.decode import WORK_PIXELS, Decoded, decode

EYES = 0.245
"""Distance between the eyes of an aligned face, in sides of its square."""


@pytest.fixture(scope="module")
def finder():
    return FaceFinder()


def load(photo: Path, size: int | None = None) -> Image.Image:
    image = Image.open(photo).convert("RGB")
    return image.resize((size, size), Image.Resampling.LANCZOS) if size else image


def canvas(width: int, height: int, seed: int = 0) -> Image.Image:
    """Something without faces: smooth random colours."""
    noise = np.random.default_rng(seed).integers(0, 255, (height // 64 + 2, width // 64 + 2, 3))
    return Image.fromarray(noise.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)


def group(faces: list[Path], places: list[tuple[int, int, int]], width: int, height: int):
    """A photo with aligned faces pasted at (x, y, side)."""
    photo = canvas(width, height)
    for face, (x, y, size) in zip(faces, places, strict=True):
        photo.paste(load(face, size), (x, y))
    return photo


def off(quad: np.ndarray, x: float, y: float, size: float) -> float:
    """Largest distance of a corner from those of the square at (x, y), in sides."""
    return float(np.abs(quad - (whole(1, 1) * size + (x, y))).max() / size)


def as_photo(image: Image.Image) -> Decoded:
    return Decoded(image, *image.size)


# -- the quad ---------------------------------------------------------------------------------


def points(left: tuple, right: tuple, mouth: tuple) -> np.ndarray:
    """Landmarks with eyes and mouth at given places."""
    result = np.zeros((478, 3))
    result[list(LEFT_EYE), :2] = left
    result[list(RIGHT_EYE), :2] = right
    result[list(MOUTH_CORNERS), :2] = mouth
    return result


def test_quad_of_a_wide_a_long_and_a_lying_face():
    half = 2 * 20 * SCALE  # twice the distance of the eyes
    expected = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * half + (100, 81.5)
    assert np.allclose(ffhq_quad(points((90, 80), (110, 80), (100, 95))), expected)
    half = 1.8 * 30 * SCALE  # from the eyes to the mouth
    expected = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * half + (100, 83)
    assert np.allclose(ffhq_quad(points((90, 80), (110, 80), (100, 110))), expected)
    # lying on its side, its top to the right of the picture: the first corner is its own
    lying = ffhq_quad(points((80, 90), (80, 110), (65, 100)))
    half = 2 * 20 * SCALE
    assert np.allclose(lying, np.array([[1, -1], [-1, -1], [-1, 1], [1, 1]]) * half + (78.5, 100))


def test_quad_of_a_sheared_face_is_a_square_between_both_directions():
    quad = ffhq_quad(points((90, 80), (110, 80), (110, 100)))  # the mouth is off to the right
    edges = np.diff(np.concatenate([quad, quad[:1]]), axis=0)
    assert np.allclose(np.linalg.norm(edges, axis=1), side(quad))
    assert np.allclose((edges[:-1] * edges[1:]).sum(1), 0, atol=1e-9)
    x = np.array([20 + 20, -10.0])  # eye to eye plus the normal of eye to mouth
    assert np.allclose((quad[3] - quad[0]) / side(quad), x / np.linalg.norm(x))


def test_a_photo_is_aligned_if_it_is_square_and_framed_by_its_quad():
    assert is_aligned(whole(200, 200), (200, 200, 3))
    assert is_aligned(whole(200, 200) + 10, (200, 200, 3))
    assert not is_aligned(whole(200, 200) + 30, (200, 200, 3))
    assert not is_aligned(whole(200, 200) * 0.8, (200, 200, 3))
    assert not is_aligned(whole(200, 200), (200, 240, 3))


# -- cutting out ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [50, 128, 400])
@pytest.mark.parametrize("angle", [0, 20, -75, 180])
def test_a_crop_shows_what_its_matrix_says(size, angle):
    """On a plane of colours every pixel says where in the photo it comes from."""
    y, x = np.mgrid[0:300, 0:400] + 0.5
    photo = np.stack([x / 2, y / 2, np.full_like(x, 9)], -1).round().astype(np.uint8)
    turn = math.radians(angle)
    rotate = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    quad = (whole(1, 1) - 0.5) * 180 @ rotate.T + (190, 150)
    result = crop(photo, quad, size).astype(float)
    assert result.shape == (size, size, 3)
    matrix = crop_matrix(quad, size)
    assert np.allclose(matrix @ (0, 0, 1), quad[0])
    assert np.allclose(matrix @ (size, 0, 1), quad[3])
    v, u = np.mgrid[0:size, 0:size] + 0.5
    expected = np.stack([u, v, np.ones_like(u)], -1) @ matrix.T / 2
    assert np.abs(result[..., :2] - expected).max() < 1.6


def test_beyond_the_photo_it_is_mirrored_and_fades_to_the_median():
    photo = np.full((200, 200, 3), 40, np.uint8)
    photo[:, :60] = 200
    photo[:, :20] = 120  # a stripe at the left edge
    result = crop(photo, whole(200, 200) - (100, 0), 200).astype(float)[50:150]
    assert np.abs(result[:, 105:113] - 120).max() < 8, "the photo itself, but for its edge"
    assert np.abs(result[:, 130:150] - 200).max() < 8
    assert result[:, 65:75].mean() > 120, "a little outside, the bright stripe is mirrored"
    assert abs(result[:, :5].mean() - 40) < 15, "far outside there is the median colour"
    profile = result[:, :100].mean(0)
    assert np.abs(np.diff(profile)).max() < 12, "and all of it is blurred"
    same = crop(np.full((90, 120, 3), 77, np.uint8), whole(90, 90) - 40, 64)
    assert (same == 77).all(), "no dark border"
    with pytest.raises(ValueError, match="outside the photo"):
        crop(photo, whole(50, 50) + 900, 64)


# -- pose -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (30, 0, 0), (0, 25, 0), (0, 0, -40), (-35, 15, 50), (60, -30, 170)]
)
def test_pose_of_a_turned_canonical_face(angles):
    canonical = load_networks().canonical
    yaw, pitch, roll = np.radians(angles) * (1, -1, -1)
    about_y = [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    about_x = [
        [1, 0, 0],
        [0, math.cos(pitch), -math.sin(pitch)],
        [0, math.sin(pitch), math.cos(pitch)],
    ]
    about_z = [[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
    rotation = np.array(about_z) @ about_x @ about_y
    turned = canonical.points @ rotation.T * 7 * (1, -1, -1) + (300, 200, 0)
    assert np.allclose(head_pose(turned, canonical), angles, atol=1e-6)
    nose = turned[1] - turned.mean(0)
    if angles == (30, 0, 0):
        assert nose[0] > 0, "yaw is positive to the right of the picture"
    if angles == (0, 25, 0):
        assert nose[1] < (canonical.points[1] * (7, -7, 7))[1], "pitch is positive upward"


def test_a_mirrored_face_has_mirrored_pose_and_blendshapes(finder, faces):
    seen = 0
    for photo in sorted(faces.glob("*.jpg"))[:12]:
        image = load(photo)
        (face,) = finder.find(image)
        (mirrored,) = finder.find(ImageOps.mirror(image))
        assert abs(face.yaw + mirrored.yaw) < 4
        assert abs(face.pitch - mirrored.pitch) < 4
        assert abs(face.roll + mirrored.roll) < 3
        by_name = dict(zip(BLENDSHAPES, face.blendshapes, strict=True))
        other = dict(zip(BLENDSHAPES, mirrored.blendshapes, strict=True))
        assert abs(by_name["mouth_smile_left"] - other["mouth_smile_right"]) < 0.25
        seen += abs(face.yaw) > 10
    assert seen >= 2, "the faces should not all look straight ahead"


# -- finding ----------------------------------------------------------------------------------


def test_generated_faces_are_where_ffhq_has_them(finder, faces):
    """The generator draws FFHQ crops, so each face's quad is the frame of its picture."""
    errors = []
    for photo in sorted(faces.glob("*.jpg")):
        image = load(photo)
        found = finder.find(image)
        assert len(found) == 1
        assert is_aligned(found[0].quad, (256, 256))
        errors.append(off(found[0].quad, 0, 0, 256))
    assert np.median(errors) < 0.025


def test_ten_faces_of_many_sizes_largest_first(finder, faces):
    sizes = [620, 500, 410, 380, 330, 290, 260, 230, 200, 170]  # the last: 41 px between the eyes
    places, x, y = [], 10, 10
    for size in sizes:
        if x + size > 2400:
            x, y = 10, y + 640
        places.append((x, y, size))
        x += size + 15
    photo = group(sorted(faces.glob("*.jpg"))[:10], places, 2400, 1700)
    found = finder.find(photo)
    assert len(found) == 10
    for face, (x, y, size) in zip(found, places, strict=True):
        assert off(face.quad, x, y, size) < 0.1
        assert x < face.box[0] < face.box[2] < x + size
        assert y < face.box[1] < face.box[3] < y + size
    (largest, *_) = finder.find(photo, largest=True)
    assert off(largest.quad, *places[0]) < 0.1


def test_a_small_face_in_a_large_photo(finder, faces):
    size = round(42 / EYES)
    photo = group([next(faces.glob("*.jpg"))], [(2790, 1650, size)], 4000, 3000)
    (face,) = finder.find(photo)
    assert off(face.quad, 2790, 1650, size) < 0.1


@pytest.mark.parametrize("angle", [30, 90, 180, -90])
def test_turned_faces_come_out_upright(finder, faces, angle):
    for photo in sorted(faces.glob("*.jpg"))[3:6]:
        upright = canvas(500, 500)
        upright.paste(load(photo), (122, 122))
        (straight,) = finder.find(upright)
        (face,) = finder.find(upright.rotate(-angle, Image.Resampling.BICUBIC))
        turn = (face.roll - straight.roll - angle + 180) % 360 - 180
        assert abs(turn) < 5
        first = crop(upright, straight.quad, 64).astype(float)
        second = crop(upright.rotate(-angle, Image.Resampling.BICUBIC), face.quad, 64)
        assert np.abs(first - second)[16:48, 16:48].mean() < 12


def test_aligned_twice_is_aligned_once(finder, faces):
    for i, photo in enumerate(sorted(faces.glob("*.jpg"))[:6]):
        scene = canvas(700, 500, seed=i)
        scene.paste(load(photo, 300).rotate(15, Image.Resampling.BICUBIC), (250, 120))
        (face,) = finder.find(scene)
        once = crop(scene, face.quad, 256)
        (again,) = finder.find(once)
        assert is_aligned(again.quad, once.shape)
        assert off(again.quad, 0, 0, 256) < 0.03


def test_a_face_that_fills_the_photo_or_leaves_it(finder, faces):
    for photo in sorted(faces.glob("*.jpg"))[:4]:
        image = load(photo, 512)
        close = image.crop((110, 130, 410, 430))  # from brow to chin
        (face,) = finder.find(close)
        assert off(face.quad, -110, -130, 512) < 0.12
        result = crop(close, face.quad, 256)
        assert result.min(axis=2).max() > 0


def test_what_is_no_face(finder):
    noise = np.random.default_rng(1).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    for photo in (canvas(900, 700), Image.fromarray(noise), Image.new("RGB", (64, 64), "red")):
        assert finder.find(photo) == []
        with pytest.raises(ImageError) as e:
            Aligner().cuts(as_photo(photo))
        assert (e.value.stage, e.value.reason) == ("align", "no face found")


def test_the_same_photo_gives_the_same_numbers(faces):
    image = load(next(faces.glob("*.jpg")))
    (first,), (second,) = (FaceFinder().find(image) for _ in range(2))
    assert np.array_equal(first.landmarks, second.landmarks)
    assert np.array_equal(first.blendshapes, second.blendshapes)


# -- photos in files --------------------------------------------------------------------------


def test_a_photo_turned_by_exif_gives_the_same_crop(tmp_path, faces):
    scene = group([next(faces.glob("*.jpg"))], [(60, 40, 300)], 520, 400)
    scene.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    scene.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    (upright,) = Aligner().cuts(decode(tmp_path / "upright.png"))
    (turned,) = Aligner().cuts(decode(tmp_path / "turned.png"))
    assert np.array_equal(upright.pixels, turned.pixels)
    assert np.array_equal(upright.quad, turned.quad)
    assert not upright.aligned


def test_kinds_of_pictures_give_the_same_face(tmp_path, faces):
    scene = group([next(faces.glob("*.jpg"))], [(60, 40, 300)], 520, 400)
    grey = np.asarray(scene.convert("L"))
    alpha = scene.copy()
    alpha.putalpha(
        Image.fromarray(
            np.where(np.arange(520) < 400, 255, 0).astype(np.uint8)[None].repeat(400, 0)
        )
    )
    scene.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    alpha.save(tmp_path / "alpha.png")
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    scene.quantize(256).save(tmp_path / "palette.gif")
    for photo in sorted(tmp_path.iterdir()):
        (cut,) = Aligner().cuts(decode(photo))
        assert off(cut.quad, 60, 40, 300) < 0.08, photo.name


def test_aligned_photos_are_left_alone_unless_told_otherwise(faces):
    image = load(next(faces.glob("*.jpg")))
    (auto,) = Aligner("auto").cuts(as_photo(image))
    (yes,) = Aligner("yes").cuts(as_photo(image))
    (no,) = Aligner("no").cuts(as_photo(image))
    assert auto.aligned and yes.aligned and not no.aligned
    assert np.array_equal(auto.pixels, np.asarray(image))
    assert np.array_equal(auto.pixels, yes.pixels)
    assert np.array_equal(auto.quad, whole(256, 256))
    assert not np.array_equal(no.pixels, auto.pixels)
    assert off(no.quad, 0, 0, 256) < 0.1
    (blank,) = Aligner("yes").cuts(as_photo(Image.new("RGB", (100, 80), "red")))
    assert blank.face is None and np.array_equal(blank.quad, whole(100, 80))


def test_huge_photos_are_worked_on_at_half_size(tmp_path, faces):
    width, height, size = 8400, 6200, 900
    assert width * height > WORK_PIXELS
    scene = Image.new("RGB", (width, height), (90, 120, 140))
    scene.paste(load(next(faces.glob("*.jpg")), size), (5000, 2000))
    for name in ("huge.jpg", "huge.bmp"):
        scene.save(tmp_path / name)
        photo = decode(tmp_path / name)
        assert (photo.width, photo.height) == (width, height)
        assert photo.picture.size == (width // 2, height // 2)
        (cut,) = Aligner().cuts(photo)
        assert off(cut.quad, 5000, 2000, size) < 0.1
        assert off(cut.face.quad, 5000, 2000, size) < 0.1


# -- real faces -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def celeba(shared_faces):
    folder = shared_faces.parent.parent / "celeba" / "eval"
    if not folder.is_dir():
        pytest.skip("no real face photos beside the checkout (../shared/faces)")
    return folder


def test_celeba_crops_are_where_the_alignment_of_the_set_puts_them(finder, celeba):
    centres, sides = [], []
    for photo in sorted(celeba.glob("*.jpg"))[:60]:
        found = finder.find(load(photo))
        if found:
            centres.append(found[0].quad.mean(0))
            sides.append(side(found[0].quad))
    assert len(centres) >= 58
    assert np.abs(np.median(centres, axis=0) - (88, 115)).max() < 3
    assert abs(np.median(sides) - 156) < 6


def test_real_aligned_photos_are_left_alone(shared_faces):
    photos = sorted(shared_faces.glob("*.jpg"))[:20]
    kept = [Aligner().cuts(decode(photo))[0].aligned for photo in photos]
    assert sum(kept) >= 19


def test_people_with_glasses(finder, celeba):
    table = str(celeba.parent.parent / "celeba.parquet")
    columns = duckdb.sql(f"DESCRIBE SELECT * FROM '{table}'").fetchall()
    name = next(c[0] for c in columns if c[1] == "VARCHAR")
    wearing = duckdb.sql(f"SELECT {name} FROM '{table}' WHERE Eyeglasses = 1 ORDER BY 1").fetchall()
    photos = [celeba / Path(row[0]).name for row in wearing]
    photos = [photo for photo in photos if photo.is_file()][:20]
    assert sum(bool(finder.find(load(photo))) for photo in photos) >= 19


def test_profiles(finder, celeba):
    """Half profiles are found on either side; a full one is refused and the reason says why."""
    for name, turned in (("162877.jpg", None), ("162773.jpg", 1), ("162771.jpg", -1)):
        photo = celeba / name
        if not photo.is_file():
            pytest.skip(f"{name} is not at hand")
        if turned is None:
            with pytest.raises(ImageError, match="too far in profile or too covered"):
                Aligner().cuts(decode(photo))
        else:
            (face,) = finder.find(load(photo))
            (mirrored,) = finder.find(ImageOps.mirror(load(photo)))
            assert turned * face.yaw > 8
            assert turned * mirrored.yaw < -8
