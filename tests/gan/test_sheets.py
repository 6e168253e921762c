import io

import numpy as np
import pytest
from PIL import Image

from tfdl.gan import sheets


def plain(value, side=4):
    return np.full([side, side, 3], value, np.uint8)


def test_rounding_is_floor_of_x_times_127_5_plus_128_saturated():
    x = np.array([-2, -1, -0.9961, 0, 0.0039, 0.99, 1, 3], np.float32)
    assert sheets.to_uint8(x).tolist() == [0, 0, 0, 128, 128, 254, 255, 255]
    assert sheets.to_uint8(x, scale=128).tolist() == [0, 0, 0, 128, 128, 254, 255, 255]
    assert sheets.to_uint8([-0.5]) == 64 and sheets.to_uint8([-0.51], 128) == 62
    assert sheets.to_uint8([-0.51]) == 62


def test_tile_goes_row_by_row_and_leaves_the_rest_white():
    images = np.stack([plain(10 * i) for i in range(5)])
    whole = sheets.tile(images)
    assert whole.shape == (8, 12, 3)
    assert whole[0, ::4, 0].tolist() == [0, 10, 20]
    assert whole[4, ::4, 0].tolist() == [30, 40, 255]
    grey = sheets.tile(images[..., :1], columns=1, gap=2)
    assert grey.shape == (5 * 6 - 2, 4, 3)
    assert grey[4].min() == 255 and grey[6, 0].tolist() == [10] * 3


def test_sheet_has_heads_and_a_white_corner():
    rows = [[plain(1), plain(2)], [plain(3), None]]
    whole = sheets.sheet(rows, [plain(7), plain(8)], [plain(5), plain(6)])
    assert whole[::4, ::4, 0].tolist() == [[255, 5, 6], [7, 1, 2], [8, 3, 255]]


def test_words_stand_outside_the_pictures():
    rows = [[plain(0, 40)] * 2] * 2
    bare = sheets.sheet(rows)
    whole = sheets.sheet(
        rows, row_labels=["psi 0.5", "psi 1"], column_labels=["a", "seed 12345678"]
    )
    top, left = whole.shape[0] - bare.shape[0], 0
    while not (whole[top:, left : left + 80] == 0).all():
        left += 1
    assert left > 20 and whole[:top].min() < 100 and whole[top:, :left].min() < 100
    # The last column's words are wider than it, and are not cut off.
    assert (whole[:, -2:] == 255).all()


def test_png_keeps_every_pixel():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert np.array_equal(Image.open(io.BytesIO(sheets.png(pixels))), pixels)
    with pytest.raises(ValueError, match="uint8"):
        sheets.png(pixels / 255)
