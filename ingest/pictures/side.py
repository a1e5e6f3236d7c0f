"""A picture's container without the information beside the picture.

Comments, previews, EXIF, XMP and profiles come from many programs and are often broken; a decoder
that stumbles over them would lose a sound picture. So decoders are given the picture alone, and of
the rest only what changes how it looks is read here: orientation and colour profile. What of
them cannot be read counts as absent.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image

from ris.ingest.pictures.ifd import Directory

PROFILE_BYTES = 16 << 20
"""A colour profile that is larger counts as absent; those of presses take up to 4 MB."""
EXIF_BYTES = 8 << 20
"""So much of EXIF or XMP is looked at."""
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture of an orientation upright."""
SIDEWAYS = (5, 6, 7, 8)
"""Orientations of pictures that lie on a side."""
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
_EXIF_HEADS = re.compile(rb"^(?:Exif\x00\x00){1,2}")


@dataclass(frozen=True)
class Bare:
    """A picture without what lies beside it.

    Attributes:
        file: the container with the picture's data alone, for a decoder to read.
        orientation: as EXIF counts, 1 to 8; 1 where none is given or it cannot be read.
        profile: the ICC profile as it is in the file, if any.
    """

    file: BinaryIO
    orientation: int = 1
    profile: bytes | None = None


def orientation(exif: bytes | None, xmp: bytes | None = None) -> int:
    """The orientation that EXIF gives, or XMP where EXIF has none."""
    found = exif_orientation(exif) if exif else None
    if found is None and xmp:
        match = _XMP_ORIENTATION.search(xmp)
        found = int(match[1]) if match else None
    return found if found is not None and 1 <= found <= 8 else 1


def exif_orientation(exif: bytes) -> int | None:
    """The orientation in a block of EXIF, also one that is no orientation; None without any."""
    data = _EXIF_HEADS.sub(b"", exif)
    try:
        return Directory.first(io.BytesIO(data)).number(ORIENTATION)
    except (ValueError, struct.error):
        return None
