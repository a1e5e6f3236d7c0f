"""Pictures of edits: one face, strips over alpha, grids, what changed, before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ris.generators.generator import Generator
from ris.ingest.sampling import to_picture

GAP = 8
LABEL = 28
INK = (30, 30, 30)
HEAT = np.array(
    [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float64
)
"""Colours of a heat map from nothing to much (matplotlib's inferno at 0, .25, .5, .75, 1)."""
FULL_HEAT = 0.5
"""Change, on the scale of [-1, 1] pixels, that is drawn in the hottest colour."""


@torch.no_grad()
def render(generator: Generator, sigma: torch.Tensor) -> torch.Tensor:
    """(N, C) style coefficients -> (N, 3, S, S) in [-1, 1], one face at a time: on a CPU that
    is as fast as a batch, and a face does not depend on its neighbours."""
    rows = (generator.render(row[None].to(generator.device)).float().cpu() for row in sigma)
    return torch.cat([row.clamp(-1, 1) for row in rows])


def pictures(images: torch.Tensor, size: int | None = None) -> list[Image.Image]:
    """(N, 3, S, S) in [-1, 1] -> pictures, reduced to `size` pixels where given."""
    return [to_picture(image, size) for image in images]


def heat_map(before: torch.Tensor, after: torch.Tensor) -> Image.Image:
    """Where two (3, S, S) pictures differ: the mean over colours of the change, as a colour."""
    change = (after - before).abs().mean(0).div(FULL_HEAT).clamp(0, 1).numpy()
    at = np.linspace(0, 1, len(HEAT))
    colours = np.stack([np.interp(change, at, HEAT[:, c]) for c in range(3)], axis=-1)
    return Image.fromarray(colours.round().astype(np.uint8))


def strip(tiles: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Pictures of one size in a row, each with a caption below."""
    return grid([list(tiles)], columns=captions)


def grid(
    rows: Sequence[Sequence[Image.Image | None]],
    *,
    columns: Sequence[str] = (),
    titles: Sequence[str] = (),
) -> Image.Image:
    """Pictures of one size in rows.

    Args:
        rows: of the same length; None leaves a place empty.
        columns: a caption for each column, below the last row.
        titles: a caption for each row, above it; an empty one takes no room.
    """
    size = next(tile for row in rows for tile in row if tile is not None).width
    above = [LABEL if title else 0 for title in titles or [""] * len(rows)]
    step = size + GAP
    width = GAP + len(rows[0]) * step
    height = GAP + len(rows) * step + sum(above) + (LABEL if columns else 0)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(16)
    for i, row in enumerate(rows):
        top = GAP + i * step + sum(above[:i])
        if above[i]:
            draw.text((GAP + 2, top + 2), titles[i], INK, font=font)
        for j, tile in enumerate(row):
            if tile is not None:
                sheet.paste(tile, (GAP + j * step, top + above[i]))
    for j, caption in enumerate(columns):
        draw.text((GAP + j * step + 2, height - LABEL), caption, INK, font=font)
    return sheet


def swing(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Frames there and back again, so that an endless animation has no jump."""
    return [*frames, *frames[-2:0:-1]]


def transfer_grid(
    sources: Sequence[Image.Image],
    references: Sequence[Image.Image],
    names: Sequence[str],
    edited: Callable[[int, int, str], Image.Image],
    features: Sequence[str],
) -> Image.Image:
    """Sources down, references across, once for every feature (Fig. 4 of the paper).

    Args:
        sources: pictures of the sources.
        references: pictures of the references, of the same size.
        names: captions of the references.
        edited: picture of (source, reference, feature).
        features: what is transferred.
    """
    rows: list[list[Image.Image | None]] = []
    titles: list[str] = []
    for feature in features:
        rows.append([None, *references])
        titles.append(f"{feature} of")
        for i, source in enumerate(sources):
            rows.append([source, *(edited(i, j, feature) for j in range(len(references)))])
            titles.append("")
    return grid(rows, columns=["source", *names], titles=titles)
