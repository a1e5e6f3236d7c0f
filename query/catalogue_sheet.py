"""`ris catalog show`: a catalogue's classes drawn over generated faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ris.choices import Device
from ris.data.models.shipped import catalogue_beside, load_catalogue, load_generator
from ris.errors import InputError
from ris.ingest.sampling import sample_w, to_picture
from ris.query.sheet import save_picture
from ris.query.tiles import Sheet

COLOURS = (
    (64, 128, 255),  # eyes
    (255, 200, 0),  # nose
    (230, 40, 80),  # mouth
    (120, 70, 30),  # hair
    (255, 170, 140),  # skin
    (150, 220, 120),  # neck
    (150, 80, 200),  # clothes
    (150, 150, 150),  # background
)
TILE = 256
STRENGTH = 0.45  # of the colour over the picture


def draw(
    out: Path,
    source: Path | None = None,
    *,
    generator_file: Path | None = None,
    store: Path | None = None,
    faces: int = 8,
    seed: int = 0,
    device: Device = "auto",
) -> dict[str, float]:
    """Draws a catalogue's classes over generated faces; returns each class's mean area.

    Args:
        out: picture to write (.png or .jpg).
        source: the catalogue's file; None for the generator's own.
        generator_file: weights of another generator, see `ris.data.models.stylegan2_files`.
        store: the store's folder, beside which its catalogue lies.
        faces: number of faces, seeds `seed` onward.
        seed: first seed.
        device: where the generator runs.

    Raises:
        InputError: no faces asked for, or another suffix.
    """
    if faces < 1:
        raise InputError(f"cannot draw {faces} faces")
    generator = load_generator(generator_file, device=device)
    if source is None and generator_file is not None and store is not None:
        source = catalogue_beside(store, generator)
    catalogue = load_catalogue(generator, source)
    areas = torch.zeros(len(catalogue.classes))
    tiles = []
    for number in range(seed, seed + faces):
        with torch.no_grad():
            sigma = generator.sigma(sample_w(generator, number)[None])
            steps = generator.activations(sigma, catalogue.needed_resolution(generator.layout))
            masks = catalogue.segment({step.layer: step.input for step in steps})[0].cpu()
            picture = to_picture(generator.render(sigma)[0], TILE)
        areas += masks.mean((1, 2))
        tiles.append((picture, _overlay(picture, masks)))
    save_picture(_sheet(tiles, catalogue.classes), out)
    return dict(zip(catalogue.classes, (areas / faces).tolist(), strict=True))


def _overlay(picture: Image.Image, masks: torch.Tensor) -> Image.Image:
    """The picture under the colours of its classes; masks are (K, h, w)."""
    palette = np.array([COLOURS[i % len(COLOURS)] for i in range(len(masks))], dtype=np.uint8)
    colours = Image.fromarray(palette[masks.argmax(0).numpy()])
    return Image.blend(picture, colours.resize(picture.size, Image.Resampling.NEAREST), STRENGTH)


def _sheet(tiles: list[tuple[Image.Image, Image.Image]], classes: tuple[str, ...]) -> Image.Image:
    """Pairs of picture and overlay, four pairs a row, with a legend."""
    pairs = min(4, len(tiles))
    rows = -(-len(tiles) // pairs)
    legend = 36
    sheet = Sheet(pairs * 2 * TILE, rows * TILE + legend)
    for i, (picture, overlay) in enumerate(tiles):
        x, y = i % pairs * 2 * TILE, i // pairs * TILE
        sheet.tile(picture, x, y)
        sheet.tile(overlay, x + TILE, y)
    step = sheet.picture.width / len(classes)
    for i, name in enumerate(classes):
        x, y = round(i * step) + 8, rows * TILE + 8
        sheet.filled(x, y, 19, COLOURS[i % len(COLOURS)])
        sheet.words(name, x + 24, y)
    return sheet.picture
