"""What lies beside a picture - EXIF, XMP, texts, profiles - never makes a sound picture fail."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from pictures import CASES, attempt, chunk, off, segment, truth, with_chunks, with_segments, written
from PIL import Image, ImageOps, TiffImagePlugin

from ris.errors import ImageError
from ris.ingest.pictures.decode import decode
from ris.ingest.pictures.side import exif_orientation, orientation

RNG = np.random.default_rng(5)
NOISE = RNG.integers(0, 256, 5000, np.uint8).tobytes()
EXIF = Image.Exif()
EXIF[0x0112] = 6
TURNED = EXIF.tobytes()  # with the head Exif\0\0


@pytest.mark.parametrize("name", ["png_exif_garbage.png", "png_rawprofile.png"])
def test_the_cases_are_read(name):
    assert off(CASES / name, truth()) == 0


def test_the_case_with_broken_exif_is_read():
    photo = decode(CASES / "exif_garbage.jpg")
    assert photo.picture.size == (600, 800) == (photo.width, photo.height)


SEGMENTS = {
    "exif": segment(0xE1, b"Exif\0\0" + NOISE),
    "exif that ends": segment(0xE1, b"Exif\0\0II*\0"),
    "exif far away": segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "xmp": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + NOISE),
    "long xmp": 40 * segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"x" * 65_000),
    "photoshop": segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x03\xed"),
    "short jfif": segment(0xE0, b"JFIF\0\1"),
    "short adobe": segment(0xEE, b"Adobe\0"),
    "multi-picture": segment(0xE2, b"MPF\0" + NOISE),
    "multi-picture, empty": segment(0xE2, b"MPF\0II*\0\x08\0\0\0\0\0"),
    "short profile": segment(0xE2, b"ICC_PROFILE\0"),
    "profile": segment(0xE2, b"ICC_PROFILE\0\1\1" + NOISE),
    "half a profile": segment(0xE2, b"ICC_PROFILE\0\1\2" + NOISE),
    "comment": segment(0xFE, NOISE),
    "flashpix": segment(0xE2, b"FPXR\0"),
    "no length": b"\xff\xe5\0\0",
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_segments_of_a_jpeg_do_not_count(tmp_path, name):
    jpeg = written(truth(), "JPEG", quality=95)
    (tmp_path / "a.jpg").write_bytes(jpeg)
    (tmp_path / "b.jpg").write_bytes(with_segments(jpeg, SEGMENTS[name]))
    assert off(tmp_path / "b.jpg", decode(tmp_path / "a.jpg").picture) == 0


def upright(image: Image.Image, turned: int) -> Image.Image:
    image = image.copy()
    image.getexif()[0x0112] = turned
    return ImageOps.exif_transpose(image)


CHUNKS = {
    "texts over a megabyte": chunk(b"tEXt", b"note\0" + b"x" * 2_000_000),
    "texts over 64 MB in all": 70 * chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 1_000_000)),
    "a text of a gigabyte, packed": chunk(
        b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(100_000_000), 9)
    ),
    "text without end": chunk(b"iTXt", b"XML:com.adobe.xmp"),
    "wrong checksum": chunk(b"tEXt", b"note\0x", checksum=7),
    "exif": chunk(b"eXIf", NOISE),
    "profile": chunk(b"iCCP", b"p\0\0" + zlib.compress(NOISE)),
    "packed profile": chunk(b"iCCP", b"p\0\0" + NOISE),
    "profile of another packing": chunk(b"iCCP", b"p\0\7" + NOISE),
    "no profile": chunk(b"iCCP", b""),
    "gamma": chunk(b"gAMA", b"\0"),
    "primaries": chunk(b"cHRM", b"\0"),
    "animation": chunk(b"acTL", b"\0") + chunk(b"fcTL", bytes(26)),
    "frame out of order": chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", b"\1" * 26),
    "unknown": chunk(b"zzZz", NOISE),
    "not a name": chunk(b"\0\1\2\3", NOISE),
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", CHUNKS)
def test_chunks_of_a_png_do_not_count(tmp_path, name, late):
    (tmp_path / "a.png").write_bytes(with_chunks(written(truth(), "PNG"), CHUNKS[name], late))
    assert off(tmp_path / "a.png", truth()) == 0


@pytest.mark.parametrize("exif", [b"II*\0", b"Exif\0\0garbage!", TURNED[:-9], NOISE])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_and_profiles_in_every_format(tmp_path, kind, exif):
    plain = written(truth(), kind, quality=90)
    (tmp_path / "a").write_bytes(plain)
    broken = written(truth(), kind, quality=90, exif=exif, icc_profile=NOISE, xmp=NOISE)
    (tmp_path / "b").write_bytes(broken)
    expected = decode(tmp_path / "a").picture
    if exif == TURNED[:-9]:
        assert exif_orientation(exif) in (None, 6)
        expected = upright(expected, orientation(exif))
    assert off(tmp_path / "b", expected) == 0


def test_broken_exif_and_profiles_in_an_avif(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "rendered"
    avif = written(truth(), "AVIF", exif=exif, icc_profile=NOISE, xmp=NOISE)
    assert avif.count(b"MM\0*\0\0\0\x08") == 1
    (tmp_path / "a.avif").write_bytes(avif)
    (tmp_path / "b.avif").write_bytes(avif.replace(b"MM\0*\0\0\0\x08", b"garbage!"))
    assert off(tmp_path / "b.avif", decode(tmp_path / "a.avif").picture) == 0


@pytest.mark.parametrize("turned", range(1, 9))
def test_an_avif_is_turned_as_its_own_property_says(tmp_path, turned):
    exif = Image.Exif()
    exif[0x0112] = turned
    (tmp_path / "a.avif").write_bytes(written(truth(), "AVIF", quality=95, exif=exif))
    assert off(tmp_path / "a.avif", upright(truth(), turned)) < 2


def test_a_webp_that_ends_within_its_exif_is_read(tmp_path):
    webp = written(truth(), "WEBP", lossless=True, exif=TURNED + NOISE)
    (tmp_path / "a.webp").write_bytes(webp[:-1000])
    assert off(tmp_path / "a.webp", truth().transpose(Image.Transpose.ROTATE_270)) == 0


def test_a_tiff_with_broken_tags_beside_the_picture_is_read(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[0x8769] = 4
    tags[0x8769] = 0x7FFFFFF0  # EXIF beyond the end of the file
    for compression in (None, "tiff_lzw"):
        tiff = written(truth(), "TIFF", tiffinfo=tags, icc_profile=NOISE, compression=compression)
        assert struct.pack("<HHII", 0x8769, 4, 1, 0x7FFFFFF0) in tiff
        (tmp_path / "a.tif").write_bytes(tiff)
        assert off(tmp_path / "a.tif", truth()) == 0


# -- orientation ------------------------------------------------------------------------------


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("value", range(10))
def test_orientation_as_exif_writes_it(order, value):
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    tags = struct.pack(order + "HHHIHH", 1, 0x0112, 3, 1, value, 0) + bytes(4)
    for prefix in (b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"):
        assert exif_orientation(prefix + head + tags) == value
    assert orientation(head + tags) == (value if 1 <= value <= 8 else 1)


def test_orientation_of_xmp_counts_where_exif_has_none():
    xmp = b'<rdf:Description tiff:Orientation="3"/>'
    assert orientation(None, xmp) == 3
    assert orientation(b"garbage", b"<tiff:Orientation>8</tiff:Orientation>") == 8
    assert orientation(TURNED, xmp) == 6
    assert orientation(None, b'tiff:Orientation="0"') == 1
    assert orientation(None, NOISE) == 1


def test_no_part_of_a_block_of_exif_fails():
    for length in range(len(TURNED)):
        assert exif_orientation(TURNED[:length]) in (None, 6)


@pytest.mark.parametrize("late", [False, True])
def test_orientation_of_a_png_counts_wherever_it_stands(tmp_path, late):
    png = with_chunks(written(truth(), "PNG"), chunk(b"eXIf", TURNED[6:]), late)
    (tmp_path / "a.png").write_bytes(png)
    assert off(tmp_path / "a.png", truth().transpose(Image.Transpose.ROTATE_270)) == 0


# -- files that end early ---------------------------------------------------------------------


ENDS = "decode: damaged: the file ends within the picture"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"subsampling": 0},
        {"restart_marker_blocks": 3},
        {"progressive": True, "restart_marker_rows": 1},
        {"optimize": True},
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_without_its_end_marker_is_read_and_a_truncated_one_is_not(tmp_path, options, mode):
    jpeg = written(truth().convert(mode), "JPEG", quality=85, **options)
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg)
    whole = decode(path).picture
    for end in (jpeg[:-2], jpeg[:-1], jpeg[:-2] + bytes(100)):
        path.write_bytes(end)
        assert off(path, whole) == 0
    scans = [i for i in range(len(jpeg) - 1) if jpeg[i : i + 2] == b"\xff\xda"]
    restarts = [i for i in range(len(jpeg) - 1) if jpeg[i] == 0xFF and 0xD0 <= jpeg[i + 1] < 0xD8]
    cuts = [len(jpeg) - 12, len(jpeg) - 40, len(jpeg) // 2, *scans[1:], *restarts[-3:]]
    reasons: dict[int, str] = {}
    for cut in cuts:
        path.write_bytes(jpeg[:cut])
        reasons[cut], picture = attempt(path)
        if picture is not None:  # what is missing said nothing but "no more"
            assert np.array_equal(picture, whole)
    for cut in (len(jpeg) // 2, *scans[1:]):
        assert reasons[cut] == ENDS
    assert set(reasons.values()) <= {"", ENDS}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF"])
def test_truncated_pictures_of_other_formats_fail(tmp_path, kind):
    data = written(truth(), kind)
    for part in (0.3, 0.6, 0.9):
        (tmp_path / "a").write_bytes(data[: int(len(data) * part)])
        with pytest.raises(ImageError) as e:
            decode(tmp_path / "a")
        assert e.value.stage == "decode"
        assert "\n" not in e.value.reason
        if kind in ("PNG", "BMP", "TIFF", "GIF", "PPM"):  # no number that each file has its own of
            assert e.value.reason == "damaged: the file ends within the picture"
