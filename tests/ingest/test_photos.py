"""Finding and decoding photos: everything a person may have in a folder."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ris.errors import ImageError
from ris.ingest.pictures.decode import decode_aligned, hash_photo


def gradient(width: int = 80, height: int = 80) -> np.ndarray:
    """Red grows to the right, green downward, blue is constant."""
    x = np.linspace(0, 255, width)[None].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return np.stack([x, y, np.full_like(x, 60)], -1).round().astype(np.uint8)


def close(path: Path, expected: np.ndarray, size: int = 80, tolerance: float = 6) -> None:
    got = decode_aligned(path, size).pixels
    assert got.shape == (size, size, 3)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(float) - expected).mean() < tolerance


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tiff", "a.ppm"])
def test_common_formats(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(gradient()).save(path, quality=95)
    close(path, gradient())


def test_cmyk_and_palette(tmp_path):
    Image.fromarray(gradient()).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    close(tmp_path / "cmyk.jpg", gradient())
    Image.fromarray(gradient()).quantize(256).save(tmp_path / "palette.png")
    close(tmp_path / "palette.png", gradient(), tolerance=12)


def test_grey_of_8_and_16_bits_look_the_same(tmp_path):
    grey = gradient()[..., 0]
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.tiff")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "float.tiff")
    expected = np.repeat(grey[..., None], 3, -1)
    for name in ("8.png", "16.png", "16.tiff", "float.tiff"):
        close(tmp_path / name, expected, tolerance=1.5)


def test_rgb_of_16_bits(tmp_path):
    """Written by hand, since Pillow does not write it: colour type 2, depth 16."""
    pixels = gradient().astype(">u2") * 257
    lines = b"".join(b"\0" + line.tobytes() for line in pixels)

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = struct.pack(">IIBBBBB", 80, 80, 16, 2, 0, 0, 0)
    path = tmp_path / "rgb16.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )
    close(path, gradient(), tolerance=1.5)


def test_transparency_lies_over_white(tmp_path):
    rgba = np.zeros((80, 80, 4), np.uint8)
    Image.fromarray(rgba).save(tmp_path / "clear.png")
    close(tmp_path / "clear.png", np.full((80, 80, 3), 255.0), tolerance=0.1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = Image.fromarray(gradient(100, 80))
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.jpg"
    stored.save(path, exif=exif, quality=95)
    photo = decode_aligned(path, 80)
    assert (photo.width, photo.height) == (100, 80)
    close(path, gradient(100, 80)[:, 10:90])


def test_animation_gives_its_first_frame(tmp_path):
    first = Image.fromarray(gradient())
    second = Image.fromarray(255 - gradient())
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    first.save(tmp_path / "a.webp", save_all=True, append_images=[second], quality=95)
    close(tmp_path / "a.gif", gradient(), tolerance=14)
    close(tmp_path / "a.webp", gradient())


def test_the_centre_of_a_wide_photo_is_taken_and_large_jpegs_are_reduced(tmp_path):
    Image.fromarray(gradient(120, 80)).save(tmp_path / "wide.png")
    close(tmp_path / "wide.png", gradient(120, 80)[:, 20:100])
    Image.fromarray(gradient(2000, 2000)).save(tmp_path / "large.jpg", quality=95)
    photo = decode_aligned(tmp_path / "large.jpg", 80)
    assert (photo.width, photo.height) == (2000, 2000)
    close(tmp_path / "large.jpg", gradient())


def bomb(path: Path, side: int = 30_000) -> None:
    """A valid PNG of side x side white pixels, one bit each, in about 100 kB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    packer = zlib.compressobj(9)
    line = b"\0" + b"\xff" * (side // 8)
    body = b"".join(packer.compress(line) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def test_bad_files_end_in_one_line_with_their_stage(tmp_path):
    Image.fromarray(gradient(400, 400)).save(tmp_path / "whole.jpg", quality=95)
    blob = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(blob[: len(blob) // 3])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.png").write_text("this is not a picture")
    (tmp_path / "header.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.fromarray(gradient(20, 20)).save(tmp_path / "tiny.png")
    bomb(tmp_path / "bomb.png")
    (tmp_path / "folder.jpg").mkdir()

    def reason(name: str) -> tuple[str, str]:
        with pytest.raises(ImageError) as e:
            hash_photo(tmp_path / name)
            decode_aligned(tmp_path / name, 80)
        assert "\n" not in e.value.reason
        return e.value.stage, e.value.reason

    assert reason("truncated.jpg")[0] == "decode"
    assert reason("empty.jpg") == ("read", "the file is empty")
    assert reason("text.png") == ("decode", "not a picture in a known format")
    assert reason("header.png")[0] == "decode"
    assert reason("tiny.png") == ("decode", "20x20 px is below 32 px")
    assert reason("bomb.png")[0] == "decode"
    assert "megapixels" in reason("bomb.png")[1]
    assert reason("folder.jpg")[0] == "read"
    assert reason("absent.jpg") == ("read", "No such file or directory")


def test_formats_that_start_other_programs_are_not_opened(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 80 80\n")
    with pytest.raises(ImageError, match="not a picture in a known format"):
        decode_aligned(tmp_path / "a.jpg", 80)
