"""Pictures side by side: sheets with pictures or words at the head of rows and columns.

sheets.png(sheets.tile(sheets.to_uint8(images)))
sheets.sheet(rows, row_heads=left, column_heads=top)     # a style-mixing figure
"""

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK = 255, (30, 30, 30)
TEXT_SIZE = 12
_LINE, _GAP = 16, 4


def to_uint8(images: np.ndarray, scale: float = 127.5) -> np.ndarray:
    """Returns pictures in [-1, 1] as uint8: x * scale + 128, cut off, rounded down.

    Args:
        images: floats of any shape.
        scale: 127.5 is StyleGAN's rule; 128 that of the public BigGAN ports.
    """
    values = np.asarray(images, np.float32) * np.float32(scale) + np.float32(128)
    return np.clip(values, 0, 255).astype(np.uint8)


def tile(images: np.ndarray, columns: int | None = None, gap: int = 0) -> np.ndarray:
    """Returns pictures as one, row by row, about as wide as high.

    Args:
        images: uint8 [N, H, W, C] or [N, H, W].
        columns: how many stand in a row.
        gap: white pixels between pictures.

    Returns:
        uint8 [height, width, 3].
    """
    images = _colour(images)
    if not len(images):
        raise ValueError("a sheet needs at least one picture")
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    rows = [list(images[i : i + columns]) for i in range(0, len(images), columns)]
    return _paste(rows, gap)


def sheet(
    rows: Sequence[Sequence[np.ndarray | None]],
    row_heads: Sequence[np.ndarray] | None = None,
    column_heads: Sequence[np.ndarray] | None = None,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    gap: int = 0,
    factor: int = 1,
) -> np.ndarray:
    """Returns a table of pictures, uint8 [height, width, 3].

    Args:
        rows: pictures uint8 [H, W, C] or [H, W], all of one size; None stays white.
        row_heads: a picture in front of each row.
        column_heads: a picture over each column; the corner stays white.
        row_labels: words in front of each row.
        column_labels: words over each column.
        gap: white pixels between pictures.
        factor: how many times as large pictures are shown; words keep their size.
    """
    table = [list(row) for row in rows]
    if row_heads is not None:
        table = [[h, *row] for h, row in zip(row_heads, table, strict=True)]
    if column_heads is not None:
        corner = [None] if row_heads is not None else []
        table.insert(0, corner + list(column_heads))
    if factor > 1:
        table = [
            [x if x is None else enlarge(_colour(x[None])[0], factor) for x in row]
            for row in table
        ]
    picture = _paste(table, gap)
    if row_labels is None and column_labels is None:
        return picture
    size = next(_colour(x[None]).shape for row in table for x in row if x is not None)
    first_row = int(column_heads is not None)
    first_column = int(row_heads is not None)
    return _label(
        picture,
        [(first_row + i, text) for i, text in enumerate(row_labels or ())],
        [(first_column + i, text) for i, text in enumerate(column_labels or ())],
        (size[1] + gap, size[2] + gap),
    )


def png(pixels: np.ndarray) -> bytes:
    """Returns uint8 [H, W, 3], [H, W, 1] or [H, W] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(_colour(pixels[None])[0]).save(file, "PNG")
    return file.getvalue()


def enlarge(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Returns pictures [..., H, W, C] with every pixel `factor` times as large."""
    return pixels.repeat(factor, axis=-3).repeat(factor, axis=-2)


def _colour(images: np.ndarray) -> np.ndarray:
    """Returns uint8 [N, H, W, 3] of grey or colour pictures."""
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise ValueError(f"pictures have to be uint8, got {images.dtype}")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"pictures of 1 or 3 channels are needed, got {images.shape}")
    return np.repeat(images, 3, -1) if images.shape[-1] == 1 else images


def _paste(table: list[list[np.ndarray | None]], gap: int) -> np.ndarray:
    known = [x for row in table for x in row if x is not None]
    if not known:
        raise ValueError("a sheet needs at least one picture")
    height, width = _colour(known[0][None]).shape[1:3]
    columns = max(len(row) for row in table)
    whole = np.full(
        (
            len(table) * (height + gap) - gap,
            columns * (width + gap) - gap,
            3,
        ),
        PAPER,
        np.uint8,
    )
    for i, row in enumerate(table):
        for j, image in enumerate(row):
            if image is not None:
                top, left = i * (height + gap), j * (width + gap)
                pixels = _colour(image[None])[0]
                whole[top : top + height, left : left + width] = pixels
    return whole


def _label(picture, rows, columns, step) -> np.ndarray:
    """Puts words in a margin: (place, text) of rows to the left, of columns above."""
    font = ImageFont.load_default(TEXT_SIZE)
    room = max((math.ceil(font.getlength(t)) for _, t in rows), default=0)
    left = room + 2 * _GAP if rows else 0
    top = _LINE if columns else 0
    height, width = picture.shape[:2]
    # A column's words may be wider than its pictures: the last ones need paper.
    right = max(
        (j * step[1] + math.ceil(font.getlength(t)) + _GAP for j, t in columns),
        default=0,
    )
    whole = Image.new("RGB", (left + max(width, right), top + height), (PAPER,) * 3)
    whole.paste(Image.fromarray(picture), (left, top))
    draw = ImageDraw.Draw(whole)
    for i, text in rows:
        middle = top + i * step[0] + step[0] // 2 - _LINE // 2
        draw.text((_GAP, middle), text, fill=INK, font=font)
    for j, text in columns:
        draw.text((left + j * step[1] + 1, 0), text, fill=INK, font=font)
    return np.asarray(whole)
