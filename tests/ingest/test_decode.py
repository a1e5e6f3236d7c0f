"""Pictures of odd formats and pages, and files that are damaged in any way."""

from __future__ import annotations

import errno
import io
import os
import struct
import sys

import numpy as np
import pytest
from pictures import CASES, attempt, off, truth, written
from PIL import Image, TiffImagePlugin

import ris.ingest.pictures.decode as decode_module
from ris.errors import ImageError
from ris.ingest.pictures.decode import decode


def reason(path) -> str:
    with pytest.raises(ImageError) as e:
        decode(path)
    assert e.value.stage == "decode"
    assert "\n" not in e.value.reason
    return e.value.reason


@pytest.mark.parametrize("name", ["photo", "photo.JPG", "photo.heic", "photo.txt"])
def test_the_name_of_a_file_does_not_matter(tmp_path, name):
    (tmp_path / name).write_bytes(written(truth(), "PNG"))
    assert off(tmp_path / name, truth()) == 0


def test_avif_heic_and_multi_picture_files(tmp_path):
    photo = decode(CASES / "photo.avif")
    assert photo.picture.size == (600, 800)
    pytest.importorskip("pi_heif", reason="HEIC needs the extra heif")
    assert off(CASES / "photo.heic", truth()) < 4
    both = written(truth(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 64))])
    (tmp_path / "a.jpg").write_bytes(both)
    assert off(tmp_path / "a.jpg", truth()) < 4
    damaged = bytearray(both)
    at = both.index(b"MPF\0") + 4
    damaged[at : at + 40] = b"\xff" * 40
    (tmp_path / "a.jpg").write_bytes(damaged)
    assert off(tmp_path / "a.jpg", truth()) < 4


def test_heic_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    assert reason(CASES / "photo.heic") == (
        "HEIC needs one more package: pip install 'ris-faces[heif]'"
    )


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\xff\x0a" + bytes(99), "JPEG XL is not read: save it as JPEG or PNG"),
        (b"8BPS" + bytes(99), "PSD is not read: save it as JPEG or PNG"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "camera raw is not read: save it as JPEG or PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a picture in a known format"),
        (b"<svg/>", "not a picture in a known format"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, head, expected):
    (tmp_path / "a.jpg").write_bytes(head)
    assert reason(tmp_path / "a.jpg") == expected


def test_a_bitmap_whose_alpha_is_zero_throughout_is_opaque(tmp_path):
    """Version 4 headers name a mask of alpha, which some programs never fill."""
    for alpha, expected in ((0, truth()), (255, truth()), (1, None)):
        rgba = truth()
        rgba.putalpha(Image.new("L", rgba.size, 0))
        if alpha:
            rgba.putpixel((3, 3), (9, 9, 9, alpha))
        pixels = rgba.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
        if alpha == 255:
            pixels = pixels[:3] + b"\xff" + pixels[4:]
            pixels = b"".join(pixels[i : i + 3] + b"\xff" for i in range(0, len(pixels), 4))
        masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        head = struct.pack("<IiiHHIIiiII", 108, *rgba.size, 1, 32, 3, len(pixels), 0, 0, 0, 0)
        head = (head + masks + b"BGRs").ljust(108, b"\0")
        start = 14 + len(head)
        bmp = b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + head + pixels
        (tmp_path / "a.bmp").write_bytes(bmp)
        if expected is None:  # one pixel has alpha, so the others are clear
            assert np.asarray(decode(tmp_path / "a.bmp").picture).mean() > 254
        else:
            assert off(tmp_path / "a.bmp", expected) < 0.02


# -- pages of a TIFF --------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_gives_its_largest_page(tmp_path, compression, big):
    small = truth().resize((45, 60))
    other = Image.new("RGB", (225, 300), "blue")
    options = {"compression": compression, "big_tiff": big}
    path = tmp_path / "a.tif"
    path.write_bytes(written(small, "TIFF", save_all=True, append_images=[truth()], **options))
    assert off(path, truth()) < 4
    assert (decode(path).width, decode(path).height) == (225, 300)
    path.write_bytes(
        written(truth(), "TIFF", save_all=True, append_images=[small, other], **options)
    )
    assert off(path, truth()) < 4


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_a_tiff_is_turned_once(tmp_path, compression, turned):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = turned
    (tmp_path / "a.tif").write_bytes(written(truth(), "TIFF", exif=exif, compression=compression))
    expected = truth()
    expected.getexif()[0x0112] = turned
    expected = ImageOps.exif_transpose(expected)
    assert off(tmp_path / "a.tif", expected) == 0
    assert (decode(tmp_path / "a.tif").width, decode(tmp_path / "a.tif").height) == expected.size


def test_the_preview_of_a_raw_file_is_not_taken_for_the_photo(tmp_path):
    """As cameras and DNG write them: a small first page, the sensor's values below it."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[330], tags[330] = 4, 0x11223344
    tiff = written(truth().resize((90, 120)), "TIFF", tiffinfo=tags)
    sensor = struct.pack("<H", 4) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value)
        for tag, value in ((256, 6000), (257, 4000), (259, 1), (262, 32803))
    )
    tiff += bytes(len(tiff) % 2)
    at = struct.pack("<I", len(tiff))
    (tmp_path / "a.nef").write_bytes(tiff.replace(struct.pack("<I", 0x11223344), at) + sensor)
    assert "raw file is not read" in reason(tmp_path / "a.nef")


# -- damage -----------------------------------------------------------------------------------


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """A file with some damage: bytes changed, cut out, doubled, or cut off."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        at, size = int(rng.integers(0, len(out))), int(rng.integers(1, 9))
        if rng.random() < 0.5:
            at = int(at * rng.random() ** 3)  # headers are where it hurts
        how = rng.integers(0, 5)
        if how == 0:
            out[at] ^= 1 << int(rng.integers(0, 8))
        elif how == 1:
            out[at : at + size] = rng.integers(0, 256, len(out[at : at + size]), np.uint8).tobytes()
        elif how == 2:
            out[at : at + size] = b""
        elif how == 3:
            out[at:at] = out[at : at + size] * int(rng.integers(1, 4))
        elif rng.random() < 0.3 and at > 8:
            del out[at:]
        else:
            out[at : at + size] = rng.choice([0, 255]).tobytes()[:1] * size
        if not out:
            out += b"\0"
    return bytes(out)


def samples() -> dict[str, bytes]:
    """A small file of every kind, with information beside the picture where there can be any."""
    small = truth().resize((60, 80))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    profile = (CASES / "icc_prophoto.jpg").read_bytes()
    icc = Image.open(io.BytesIO(profile)).info["icc_profile"]
    side = {"exif": exif.tobytes(), "icc_profile": icc, "xmp": b"<x/>"}
    found = {
        "jpeg": written(small, "JPEG", **side),
        "progressive": written(small, "JPEG", progressive=True, **side),
        "cmyk": written(small.convert("CMYK"), "JPEG"),
        "png": written(small, "PNG", exif=exif, icc_profile=icc),
        "palette": written(small.quantize(16), "PNG", transparency=2),
        "webp": written(small, "WEBP", **side),
        "lossless": written(small, "WEBP", lossless=True),
        "bmp": written(small, "BMP"),
        "tiff": written(small, "TIFF", icc_profile=icc),
        "lzw": written(small, "TIFF", compression="tiff_lzw"),
        "tiff of jpeg": written(small, "TIFF", compression="jpeg"),
        "deflated": written(small.convert("F"), "TIFF", compression="tiff_adobe_deflate"),
        "gif": written(small, "GIF", save_all=True, append_images=[Image.new("RGB", (60, 80))]),
        "ppm": written(small, "PPM"),
        "pgm": b"P5 60 80 1000\n" + bytes(9600),
        "plain": b"P3 60 80 255\n" + b"12 200 7 " * 4800,
        "jp2": written(small, "JPEG2000"),
        "avif": written(small, "AVIF", **side),
        "mpo": written(small, "MPO", save_all=True, append_images=[small]),
    }
    try:
        import pi_heif  # noqa: F401
    except ImportError:
        return found
    return {**found, "heic": (CASES / "photo.heic").read_bytes()}


@pytest.mark.parametrize("kind", samples())
def test_damaged_files_are_read_or_end_in_one_line(tmp_path, kind):
    data, path = samples()[kind], tmp_path / "a"
    rng = np.random.default_rng(sum(kind.encode()))
    for _ in range(60):
        path.write_bytes(mutated(data, rng))
        why, picture = attempt(path)
        if picture is None:
            assert why.startswith("decode: ")
            assert len(why) > len("decode: ")
            assert "\n" not in why
        else:
            assert picture.mode == "RGB"
            assert min(picture.size) >= 8


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.ENOENT])
def test_what_the_system_cannot_read_is_not_called_damaged(tmp_path, monkeypatch, code):
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(path)

    def fails(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(decode_module, "_decoded", fails)
    with pytest.raises(ImageError) as e:
        decode(path)
    assert (e.value.stage, e.value.reason) == ("read", os.strerror(code))
