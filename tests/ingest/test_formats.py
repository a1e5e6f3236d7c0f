"""The format of a picture is told from its bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ris.ingest.pictures.formats import HEAD_BYTES, RAW, file_format, picture_format

WRITTEN = {
    "JPEG": "JPEG",
    "PNG": "PNG",
    "WEBP": "WEBP",
    "BMP": "BMP",
    "TIFF": "TIFF",
    "GIF": "GIF",
    "PPM": "PPM",
    "JPEG2000": "JPEG2000",
    "AVIF": "AVIF",
    "MPO": "JPEG",
}


def written(kind: str, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((40, 48, 3), 90, np.uint8)).convert(mode).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(("kind", "name"), WRITTEN.items())
def test_what_is_written_is_recognised_under_any_name(tmp_path, kind, name):
    path = tmp_path / "no-suffix"
    path.write_bytes(written(kind))
    assert file_format(path) == name


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_portable_maps_of_every_depth(mode):
    assert picture_format(written("PPM", mode)) == "PPM"
    assert picture_format(b"P3 # made by hand\n# twice\n2 2\n255\n") == "PPM"
    assert picture_format(b"P2#at once\n2 2\n255\n") == "PPM"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"x",
        b"this is not a picture",
        b"P3 is the third point of the agenda",
        b"P2\n",
        b"BM is a brand of cars and so on and on",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"%PDF-1.7\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        b"\x89PNG",
        b"PK\x03\x04",
    ],
)
def test_what_is_no_picture(head):
    assert picture_format(head) is None


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x14ftypmif1\0\0\0\0mif1avif", "HEIC"),  # the last brand is past the box
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", RAW),
        (b"II*\0\x10\0\0\0CR\x02\0", RAW),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
    ],
)
def test_formats_that_need_more_than_pillow(head, name):
    assert picture_format(head) == name


def test_no_head_of_any_length_fails():
    for kind, name in WRITTEN.items():
        data = written(kind)
        for length in range(HEAD_BYTES):
            assert picture_format(data[:length]) in (None, name)
