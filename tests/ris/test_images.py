"""Bytes of pictures, images in [-1, 1], and the way back."""

import numpy as np
import torch

from ris.images import from_bytes, from_pixels, to_bytes, to_pixels


def test_every_byte_comes_back_and_the_ends_are_minus_one_and_one():
    every = torch.arange(256, dtype=torch.uint8)
    images = from_bytes(every)
    assert images.dtype == torch.float32
    assert (images[0], images[255]) == (-1, 1)
    assert torch.equal(to_bytes(images), every)


def test_values_out_of_range_are_clamped_and_the_given_tensor_stays():
    given = torch.tensor([-3.0, -1.0, 0.0, 1.0, 7.0])
    kept = given.clone()
    assert to_bytes(given).tolist() == [0, 0, 128, 255, 255]
    assert torch.equal(given, kept)


def test_pixels_keep_their_place_and_colour():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 3), dtype=np.uint8)
    images = from_pixels(pixels)
    assert images.shape == (2, 3, 3, 5)
    assert float(images[1, 2, 0, 4]) == np.float32(pixels[1, 0, 4, 2]) / np.float32(127.5) - 1
    assert np.array_equal(to_pixels(images[1]), pixels[1])
