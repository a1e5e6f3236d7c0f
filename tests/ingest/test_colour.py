"""Pictures with a colour profile look as their profile says; all others stay as they are."""

from __future__ import annotations

import struct
import threading

import numpy as np
import pytest
from pictures import CASES, off, truth, written
from PIL import Image, ImageCms

from ris.ingest.pictures import colour
from ris.ingest.pictures.decode import decode


def curve(gamma: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + b"\0\0"


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def profile(space: bytes, tags: dict[bytes, bytes], connected: bytes = b"XYZ ") -> bytes:
    """An ICC profile of version 2.4, as ICC.1:2001 lays it out."""
    tags = {b"wtpt": xyz(0.9642, 1, 0.8249), b"desc": b"desc" + bytes(90), **tags}
    at = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = struct.pack(">I", at + len(body))
    head = size + bytes(4) + b"\2\x40\0\0mntr" + space + connected + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


# columns of red, green and blue in XYZ under D50, from the definitions of the spaces
ADOBE_RGB = profile(
    b"RGB ",
    {
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        b"rTRC": curve(2.19921875),
        b"gTRC": curve(2.19921875),
        b"bTRC": curve(2.19921875),
    },
)
GREY_LINEAR = profile(b"GRAY", {b"kTRC": curve(1.0)})
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


INKS = {
    (0, 0, 0, 0): (100, 0, 0),
    (1, 0, 0, 0): (60, -30, -40),
    (0, 1, 0, 0): (50, 60, -5),
    (0, 0, 1, 0): (88, -5, 70),
}
"""L*a*b* of paper and three inks of a press of our own; everything else is black."""


def press() -> bytes:
    """Its profile: a table of the 16 corners (ICC.1:2001, lut8Type)."""
    nodes = b""
    for node in np.ndindex(2, 2, 2, 2):
        lightness, a, b = INKS.get(node, (0, 0, 0))
        nodes += bytes([round(lightness * 2.55), a + 128, b + 128])
    same = bytes(range(256))
    matrix = b"".join(struct.pack(">i", 65536 * (i % 4 == 0)) for i in range(9))
    table = b"mft1" + bytes(4) + b"\4\3\2\0" + matrix + 4 * same + nodes + 3 * same
    return profile(b"CMYK", {b"A2B0": table, b"A2B1": table}, b"Lab ")


def linear(srgb: np.ndarray) -> np.ndarray:
    """Light of sRGB values in [0, 1] (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def in_adobe_rgb(image: Image.Image) -> Image.Image:
    """A picture's colours written as Adobe RGB (1998) codes them, from the definition."""
    to_adobe = np.array([[0.71519, 0.28481, 0], [0, 1, 0], [0, 0.04116, 0.95884]])
    light = linear(np.asarray(image, float) / 255) @ to_adobe.T
    return Image.fromarray((light ** (1 / 2.19921875) * 255).round().astype(np.uint8))


def test_the_case_in_prophoto_is_as_its_truth():
    assert off(CASES / "icc_prophoto.jpg", truth()) < 2
    with Image.open(CASES / "icc_prophoto.jpg") as as_it_is:
        assert np.abs(np.asarray(as_it_is, float) - np.asarray(truth(), float)).mean() > 12


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_adobe_rgb_in_every_format(tmp_path, kind):
    options = {"lossless": True} if kind == "WEBP" else {"quality": 97}
    path = tmp_path / "a"
    path.write_bytes(written(in_adobe_rgb(truth()), kind, icc_profile=ADOBE_RGB, **options))
    limit = {"JPEG": 2.0, "AVIF": 3.0}.get(kind, 0.7)
    assert off(path, truth()) < limit
    path.write_bytes(written(in_adobe_rgb(truth()), kind, **options))
    assert off(path, truth()) > 3.1


def test_a_palette_and_transparency_with_a_profile(tmp_path):
    adobe = in_adobe_rgb(truth())
    clear = adobe.copy()
    clear.putalpha(Image.new("L", adobe.size, 128))
    half = Image.fromarray(((np.asarray(truth(), float) + 255) / 2).round().astype(np.uint8))
    path = tmp_path / "a.png"
    path.write_bytes(written(clear, "PNG", icc_profile=ADOBE_RGB))
    assert off(path, half) < 1
    few = truth().quantize(128)
    palette = in_adobe_rgb(few.convert("RGB")).quantize(256)
    path.write_bytes(written(palette, "PNG", icc_profile=ADOBE_RGB))
    assert off(path, few.convert("RGB")) < 1


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_with_a_profile(tmp_path, mode):
    """Linear light, which sRGB shows far brighter than its numbers."""
    grey = np.asarray(truth().convert("L"), float) / 255
    light = linear(grey)
    stored = {
        "L": lambda: Image.fromarray((light * 255).round().astype(np.uint8)),
        "LA": lambda: Image.fromarray((light * 255).round().astype(np.uint8)).convert("LA"),
        "I;16": lambda: Image.fromarray((light * 65535).round().astype(np.uint16)),
    }[mode]()
    path = tmp_path / "a.png"
    path.write_bytes(written(stored, "PNG", icc_profile=GREY_LINEAR))
    assert off(path, Image.fromarray((grey * 255).round().astype(np.uint8))) < 2
    path.write_bytes(written(stored, "PNG"))
    assert off(path, Image.fromarray((grey * 255).round().astype(np.uint8))) > 20


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_with_the_profile_of_its_press(tmp_path, kind):
    to_srgb = ImageCms.buildTransform(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )
    path = tmp_path / "a"
    for inks, (lightness, a, b) in INKS.items():
        patch = Image.new("CMYK", (64, 64), tuple(255 * ink for ink in inks))
        stored = (round(lightness * 2.55), a + 128, b + 128)
        expected = ImageCms.applyTransform(Image.new("LAB", (64, 64), stored), to_srgb)
        path.write_bytes(written(patch, kind, quality=100, icc_profile=press()))
        assert off(path, expected) < 3
    path.write_bytes(written(patch, kind, quality=100))  # yellow, without
    assert off(path, patch) < 1


def test_lab(tmp_path):
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(truth(), to_lab)
    (tmp_path / "a.tif").write_bytes(written(lab, "TIFF"))
    assert off(tmp_path / "a.tif", truth()) < 3


@pytest.mark.parametrize(
    "useless",
    [
        b"",
        b"no profile",
        SRGB,
        SRGB[:200],
        SRGB[:60] + bytes(400),
        GREY_LINEAR,  # of another kind of picture
        ADOBE_RGB[:16] + b"CMYK" + ADOBE_RGB[20:],
        bytes(np.random.default_rng(1).integers(0, 256, 70_000, np.uint8)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_srgb_and_profiles_that_do_not_fit_change_no_bit(tmp_path, kind, useless):
    (tmp_path / "plain").write_bytes(written(truth(), kind))
    (tmp_path / "with").write_bytes(written(truth(), kind, icc_profile=useless))
    assert off(tmp_path / "with", decode(tmp_path / "plain").picture) == 0


def test_a_profile_of_several_segments_in_any_order(tmp_path):
    padded = ADOBE_RGB + bytes(150_000)
    size = struct.pack(">I", len(padded))
    jpeg = written(in_adobe_rgb(truth()), "JPEG", quality=97, icc_profile=size + padded[4:])
    parts = [i for i in range(len(jpeg)) if jpeg[i : i + 12] == b"ICC_PROFILE\0"]
    assert len(parts) == 3
    (tmp_path / "a.jpg").write_bytes(jpeg)
    assert off(tmp_path / "a.jpg", truth()) < 2
    starts = [i - 4 for i in parts]
    ends = [i + 2 + int.from_bytes(jpeg[i + 2 : i + 4], "big") for i in starts]
    pieces = [jpeg[a:b] for a, b in zip(starts, ends, strict=True)]
    (tmp_path / "b.jpg").write_bytes(
        jpeg[: starts[0]] + pieces[2] + pieces[0] + pieces[1] + jpeg[ends[2] :]
    )
    assert off(tmp_path / "b.jpg", truth()) < 2
    (tmp_path / "c.jpg").write_bytes(jpeg[: starts[1]] + jpeg[ends[1] :])  # one is missing
    assert off(tmp_path / "c.jpg", truth()) > 3.1


def test_a_large_photo_is_reduced_by_its_decoder_and_converted(tmp_path):
    large = in_adobe_rgb(truth()).resize((1800, 2400), Image.Resampling.BICUBIC)
    (tmp_path / "a.jpg").write_bytes(written(large, "JPEG", quality=97, icc_profile=ADOBE_RGB))
    photo = decode(tmp_path / "a.jpg", least=225)
    assert photo.picture.size == (225, 300)
    small = np.asarray(photo.picture, float)
    assert np.abs(small - np.asarray(truth(), float)).mean() < 3


def test_conversions_are_shared_by_threads_and_few_are_kept(tmp_path):
    picture = in_adobe_rgb(truth())
    expected = colour.conversion(ADOBE_RGB, "RGB")
    assert expected is not None
    assert colour.conversion(ADOBE_RGB, "RGB") is expected
    whole = np.asarray(expected.apply(picture))
    wrong: list[int] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(20):
            x, y = rng.integers(0, 100, 2)
            made = colour.conversion(ADOBE_RGB, "RGB")
            assert made is not None
            part = np.asarray(made.apply(picture.crop((x, y, x + 100, y + 100))))
            if not np.array_equal(part, whole[y : y + 100, x : x + 100]):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    for gamma in range(2 * colour.KEPT):
        colour.conversion(profile(b"GRAY", {b"kTRC": curve(1 + gamma / 64)}), "L")
    assert len(colour._CONVERSIONS._kept) <= colour.KEPT
