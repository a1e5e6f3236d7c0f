"""How much memory a photo may take while it is decoded."""

from __future__ import annotations

from ris.errors import ImageError
from ris.ingest.pictures.bands import BAND_PIXELS

PHOTO_BYTES = 1 << 30
"""Memory in which a photo must be decoded and made ready, bytes; others are refused before."""

_KEPT = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes that Pillow keeps for a pixel, by mode; 4 in others."""
_CODED = {"1": 1, "L": 1, "P": 1, "LA": 2, "PA": 2, "RGB": 3, "LAB": 3, "YCbCr": 3} | {
    mode: 2 for mode in _KEPT if mode.startswith("I;16")
}
"""Bytes of a pixel's values, by mode; 4 in others."""
_DECODERS = {
    "JPEG": 2.0,  # the coefficients of a progressive one
    "PNG": 0.1,
    "GIF": 0.1,
    "BMP": 0.1,
    "PPM": 2.1,  # depths that Pillow decodes in Python
    "TIFF": 1.1,  # a page in one strip
    "AVIF": 5.0,
    "HEIC": 4.0,
    "JPEG2000": 5.5,
}
"""Bytes that the decoder itself needs for each of those."""
_WEBP = 12.5
"""Bytes for a pixel that WebP's decoder needs, whatever the mode: three canvases."""
_FILES = {"WEBP": 2, "AVIF": 5, "HEIC": 5, "JPEG2000": 1, "TIFF": 1}
"""How often the file itself is held."""
_BAND_BYTES = 48
"""For each pixel of a band while it is converted."""
_SLACK = 16 << 20
"""For what does not grow with the picture."""


def needed_bytes(
    kind: str, mode: str, size: tuple[int, int], fraction: int, drafted: int, file_bytes: int
) -> float:
    """Memory that a photo takes at most, first while it is decoded, then while it is converted.

    Args:
        kind: its format.
        mode: the mode in which Pillow decodes it.
        size: width and height in the file.
        fraction: to what part of that it is reduced in the end.
        drafted: to what part of that its decoder reduces it.
        file_bytes: of the file, where its decoder holds it as a whole.
    """
    pixels = size[0] * size[1]
    kept = pixels / drafted**2 * _KEPT.get(mode, 4)
    each = _WEBP if kind == "WEBP" else _CODED.get(mode, 4) * _DECODERS.get(kind, 0)
    if kind == "TIFF" and not file_bytes:
        each = 0  # not compressed, so it is read as it is
    decoding = pixels * each + _FILES.get(kind, 0) * file_bytes
    converting = pixels / fraction**2 * 4 + BAND_PIXELS * _BAND_BYTES
    return kept + max(decoding, converting) + _SLACK


def check_memory(
    kind: str, mode: str, size: tuple[int, int], fraction: int, drafted: int, file_bytes: int
) -> None:
    """Refuses a photo that may need more than `PHOTO_BYTES`; arguments as for `needed_bytes`.

    Raises:
        ImageError: it does.
    """
    if needed_bytes(kind, mode, size, fraction, drafted, file_bytes) > PHOTO_BYTES:
        raise ImageError(
            "decode",
            f"{size[0]}x{size[1]} px of {kind} need over {PHOTO_BYTES >> 20} MB of memory: "
            "reduce it or save it as JPEG",
        )
