"""Picture files as tests need them: written by Pillow, or by hand where Pillow would not."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

CASES = Path(__file__).resolve().parent / "cases"


def truth() -> Image.Image:
    """A rendered face, 225 x 300 px."""
    with Image.open(CASES / "icc_truth.png") as image:
        return image.convert("RGB")


def written(image: Image.Image, kind: str, **options: object) -> bytes:
    """A picture's file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def off(path: Path, image: Image.Image) -> float:
    """By how much the decoded file differs from a picture, mean of 255."""
    from ris.ingest.pictures.decode import decode

    got = decode(path).picture
    assert got.mode == "RGB"
    assert got.size == image.size
    return float(np.abs(np.asarray(got, float) - np.asarray(image.convert("RGB"), float)).mean())


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    """A chunk of a PNG."""
    crc = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def with_chunks(png: bytes, chunks: bytes, late: bool = False) -> bytes:
    """A PNG with more chunks, before or behind its picture data."""
    at = png.rindex(b"IEND") - 4 if late else 33
    return png[:at] + chunks + png[at:]


def with_segments(jpeg: bytes, segments: bytes) -> bytes:
    """A JPEG with more segments at its beginning."""
    return jpeg[:2] + segments + jpeg[2:]


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def attempt(path: Path) -> tuple[str, Image.Image | None]:
    """Why a file is not read, or its picture."""
    from ris.errors import ImageError
    from ris.ingest.pictures.decode import decode

    try:
        return "", decode(path).picture
    except ImageError as e:
        return f"{e.stage}: {e.reason}", None
