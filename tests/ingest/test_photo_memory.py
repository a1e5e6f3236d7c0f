"""The memory that a photo takes is bounded, whatever its format and mode."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from pictures import chunk, written
from PIL import Image

from ris.errors import ImageError
from ris.ingest.pictures.decode import MAX_PIXELS, WORK_PIXELS
from ris.ingest.pictures.opening import PHOTO_BYTES, check_memory, needed_bytes

MEASURED = """
import sys
from pathlib import Path
from ris.ingest.pictures import decode
from PIL import Image
Image.init()

def memory(which):
    line = next(line for line in open("/proc/self/status") if line.startswith(which))
    return int(line.split()[1]) * 1024

before = memory("VmRSS")
try:
    photo = decode.decode(Path(sys.argv[1]))
    print(photo.picture.size)
except decode.ImageError as e:
    print(e.reason, file=sys.stderr)
print(memory("VmHWM") - before)
"""


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is measured by Linux's /proc"
)


def peak(path: Path) -> tuple[int, str]:
    """Memory that decoding a file takes beyond that of the program, bytes, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    return int(done.stdout.splitlines()[-1]), done.stdout + done.stderr


def plain_png(
    path: Path, width: int, height: int, depth: int, colours: int, laced: int = 0
) -> None:
    """A valid PNG of one value throughout, in few bytes."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    packer = zlib.compressobj(1)

    def lines(columns: int, rows: int) -> bytes:
        if not columns or not rows:
            return b""
        line = b"\0" + b"\x50" * -(-columns * channels * depth // 8)
        return b"".join(packer.compress(line * min(64, rows - at)) for at in range(0, rows, 64))

    passes = [(1, 1, 0, 0)]
    if laced:
        passes = [
            (8, 8, 0, 0),
            (8, 8, 4, 0),
            (4, 8, 0, 4),
            (4, 4, 2, 0),
            (2, 4, 0, 2),
            (2, 2, 1, 0),
        ]
        passes += [(1, 2, 0, 1)]
    body = b"".join(
        lines(-(-(width - x) // across), -(-(height - y) // down)) for across, down, x, y in passes
    )
    body += packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, laced)
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if colours == 3 else b""
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + palette
        + chunk(b"IDAT", body)
        + chunk(b"IEND", b"")
    )


SIDE = 11_300  # 127.7 megapixels


@needs_proc
@pytest.mark.parametrize(
    ("depth", "colours", "laced"),
    [(16, 0, 0), (8, 2, 0), (16, 2, 0), (8, 6, 1), (16, 4, 0), (8, 3, 0), (1, 0, 1)],
)
def test_the_largest_png_of_every_kind_stays_within_the_budget(tmp_path, depth, colours, laced):
    assert SIDE**2 <= MAX_PIXELS < 1.01 * SIDE**2
    plain_png(tmp_path / "a.png", SIDE, SIDE, depth, colours, laced)
    assert (tmp_path / "a.png").stat().st_size < 6 << 20
    used, printed = peak(tmp_path / "a.png")
    assert f"({SIDE // 2}, {SIDE // 2})" in printed
    assert used < PHOTO_BYTES


def noisy(mode: str) -> Image.Image:
    """4,000 x 3,000 px in a mode."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 4), np.uint8)
    rgba = Image.fromarray(pixels).resize((4000, 3000), Image.Resampling.BILINEAR)
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        return Image.fromarray(np.asarray(rgba.convert("L")).astype(kind) * 200)
    return rgba if mode == "RGBA" else rgba.convert("RGB").convert(mode)


DEEP = ("I;16", "I", "F")
KINDS = [
    *[("JPEG", mode, {"progressive": True, "subsampling": 0}) for mode in ("RGB", "L", "CMYK")],
    *[
        ("PNG", mode, {"compress_level": 1})
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
    ],
    *[("TIFF", mode, {}) for mode in ("1", "L", "RGB", "RGBA", "CMYK", "LAB", *DEEP)],
    ("TIFF", "RGB", {"compression": "tiff_lzw", "strip_size": 1 << 30}),
    ("TIFF", "F", {"compression": "tiff_lzw", "strip_size": 1 << 30}),
    ("TIFF", "RGB", {"compression": "jpeg", "strip_size": 1 << 30}),
    *[("WEBP", mode, {"method": 0}) for mode in ("RGB", "RGBA")],
    ("WEBP", "RGB", {"lossless": True, "method": 0, "quality": 0}),
    ("GIF", "P", {}),
    *[("BMP", mode, {}) for mode in ("L", "RGB", "RGBA")],
    *[("PPM", mode, {}) for mode in ("1", "L", "RGB", "I")],
    ("JPEG2000", "RGB", {"quality_layers": [80]}),
    ("JPEG2000", "RGBA", {"quality_layers": [80]}),
    ("AVIF", "RGB", {"speed": 10}),
    ("AVIF", "RGBA", {"speed": 10, "subsampling": "4:4:4"}),
]


@needs_proc
@pytest.mark.parametrize(("kind", "mode", "options"), KINDS)
def test_what_is_reckoned_is_not_less_than_what_is_used(tmp_path, kind, mode, options):
    data = written(noisy(mode), kind, **options)
    (tmp_path / "a").write_bytes(data)
    used, printed = peak(tmp_path / "a")
    assert "(4000, 3000)" in printed
    held = 0 if kind == "TIFF" and not options else len(data)
    reckoned = needed_bytes(kind, mode, (4000, 3000), 1, 1, held)
    print(f"{kind} {mode}: {used / 12e6:.1f} of {reckoned / 12e6:.1f} bytes a pixel")
    assert used < reckoned


def test_what_would_need_more_is_refused_with_its_size():
    side = 8500
    with pytest.raises(ImageError, match="8500x8500 px of JPEG2000 need over 1024 MB") as e:
        check_memory("JPEG2000", "RGB", (side, side), 2, 1, 1000)
    assert e.value.stage == "decode"
    for kind, mode in (("JPEG", "RGB"), ("PNG", "RGBA"), ("PNG", "I;16"), ("TIFF", "F")):
        check_memory(kind, mode, (SIDE, SIDE), 2, 2 if kind == "JPEG" else 1, 0)
    assert WORK_PIXELS * 8 < PHOTO_BYTES
