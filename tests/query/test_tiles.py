"""Sheets of tiles."""

import numpy as np
from PIL import Image

from ris.query.tiles import GAP, LABEL, Sheet, grid


def test_a_grid_has_a_place_for_each():
    tile = Image.new("RGB", (20, 20), "red")
    sheet = np.asarray(grid([[tile, None], [None, tile]], columns=["a", "b"]))
    red = (sheet == (255, 0, 0)).all(2)
    assert red.sum() == 2 * 400
    assert red[8:28, 8:28].all() and red[36:56, 36:56].all()


def test_titles_take_a_line_above_their_row_and_empty_ones_none():
    tile = Image.new("RGB", (20, 20), "red")
    sheet = np.asarray(grid([[tile], [tile]], titles=["", "second"]))
    assert sheet.shape == (GAP + 2 * (20 + GAP) + LABEL, GAP + 20 + GAP, 3)
    red = (sheet == (255, 0, 0)).all(2)
    second = 2 * GAP + 20 + LABEL
    assert red[GAP : GAP + 20, GAP : GAP + 20].all()
    assert red[second : second + 20, GAP : GAP + 20].all()
    assert (sheet[GAP + 20 : second] < 100).any()  # words


def test_a_frame_lies_around_its_tile():
    sheet = Sheet(40, 40)
    sheet.filled(10, 10, 20, (0, 0, 255))
    sheet.frame(10, 10, 20, (255, 0, 0))
    pixels = np.asarray(sheet.picture)
    assert (pixels[10:30, 10:30] == (0, 0, 255)).all()
    assert (pixels == (255, 0, 0)).all(2).sum() == 26 * 26 - 20 * 20
