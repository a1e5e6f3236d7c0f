"""Sheets of tiles with words: contact sheets, strips and grids of edits, clusters, catalogues."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
PAPER = "white"
INK = (30, 30, 30)
PALE = (110, 110, 110)
EMPTY = (235, 235, 235)
GAP = 8
"""Pixels between the tiles of a grid."""
LABEL = 28
"""Pixels that a line of words takes in a grid."""


class Sheet:
    """White paper of so many pixels, on which tiles and words are put.

    Attributes:
        picture: what was drawn.
    """

    def __init__(self, width: int, height: int) -> None:
        self.picture = Image.new("RGB", (width, height), PAPER)
        self._pen = ImageDraw.Draw(self.picture)

    def tile(self, picture: Image.Image, x: int, y: int) -> None:
        """Puts a picture with its upper left corner at (x, y)."""
        self.picture.paste(picture, (x, y))

    def words(self, text: str, x: int, y: int, size: int = 16, colour: Colour = INK) -> None:
        """Writes a line, or several, from (x, y) on."""
        self._pen.text((x, y), text, colour, font=ImageFont.load_default(size))

    def filled(self, x: int, y: int, side: int, colour: Colour = EMPTY) -> None:
        """Fills a square: of a colour's legend, or in place of a tile that is missing."""
        self._pen.rectangle((x, y, x + side - 1, y + side - 1), fill=colour)

    def frame(self, x: int, y: int, side: int, colour: Colour, width: int = 3) -> None:
        """Draws a line of so many pixels around the tile at (x, y)."""
        corners = (x - width, y - width, x + side + width - 1, y + side + width - 1)
        self._pen.rectangle(corners, outline=colour, width=width)


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
    sheet = Sheet(width, height)
    for i, row in enumerate(rows):
        top = GAP + i * step + sum(above[:i])
        if above[i]:
            sheet.words(titles[i], GAP + 2, top + 2)
        for j, tile in enumerate(row):
            if tile is not None:
                sheet.tile(tile, GAP + j * step, top + above[i])
    for j, caption in enumerate(columns):
        sheet.words(caption, GAP + j * step + 2, height - LABEL)
    return sheet.picture
