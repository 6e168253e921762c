"""A PNG with many pictures and what a network sees on them."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MOST = 64
SIDE, MARGIN, SHOWN = 176, 8, 3
LINE = 17
_WHITE, _INK, _GREY, _BAR = (255,) * 3, (30, 30, 30), (120,) * 3, (190, 214, 240)


def tile(pixels: np.ndarray | None, record: Mapping[str, Any]) -> Image.Image:
    """Returns a picture over its likeliest classes, or over what is wrong with it.

    Args:
        pixels: uint8 [H, W, 3], None for a file that cannot be read.
        record: of `predict`.
    """
    image = Image.new("RGB", (SIDE, SIDE + LINE * (SHOWN + 1)), _WHITE)
    draw = ImageDraw.Draw(image)
    if pixels is None:
        draw.rectangle((0, 0, SIDE - 1, SIDE - 1), outline=_GREY)
        draw.line((0, 0, SIDE - 1, SIDE - 1), fill=_GREY)
    else:
        image.paste(Image.fromarray(pixels).resize((SIDE, SIDE), Image.BILINEAR))
    name = record["file"].rsplit("/", 1)[-1]
    _text(draw, 0, SIDE, name, SIDE, _GREY)
    if "error" in record:
        _text(draw, 0, SIDE + LINE, record["error"], SIDE, _INK)
        return image
    for i, found in enumerate(record["predictions"][:SHOWN], 1):
        top = SIDE + i * LINE
        width = round(SIDE * found["probability"])
        if width:
            draw.rectangle((0, top + 1, width - 1, top + LINE - 2), fill=_BAR)
        percent = f"{100 * found['probability']:.0f}%"
        room = SIDE - _font().getlength(percent) - 6
        _text(draw, 2, top, found["class"], room, _INK)
        _text(draw, SIDE - _font().getlength(percent) - 1, top, percent, 40, _INK)
    return image


def png(tiles: Sequence[Image.Image], count: int) -> bytes:
    """Returns the sheet as a PNG; see `sheet`."""
    file = io.BytesIO()
    sheet(tiles, count).save(file, "PNG")
    return file.getvalue()


def sheet(tiles: Sequence[Image.Image], count: int) -> Image.Image:
    """Returns tiles side by side; `count` is how many pictures there were in all."""
    columns = max(1, min(len(tiles), math.ceil(math.sqrt(len(tiles) * 1.2))))
    rows = math.ceil(len(tiles) / columns)
    width, height = tiles[0].size
    note = LINE if count > len(tiles) else 0
    whole = Image.new(
        "RGB",
        (
            columns * (width + MARGIN) + MARGIN,
            rows * (height + MARGIN) + MARGIN + note,
        ),
        _WHITE,
    )
    for i, image in enumerate(tiles):
        row, column = divmod(i, columns)
        whole.paste(
            image,
            (MARGIN + column * (width + MARGIN), MARGIN + row * (height + MARGIN)),
        )
    if note:
        draw = ImageDraw.Draw(whole)
        text = f"the first {len(tiles)} of {count} pictures"
        _text(draw, MARGIN, whole.height - LINE - 4, text, whole.width, _GREY)
    return whole


def labelled(
    images: np.ndarray,
    labels: Sequence[int],
    probabilities: np.ndarray,
    names: Sequence[str],
    count: int,
) -> np.ndarray:
    """Returns a sheet uint8 [H, W, 3] of pictures whose classes are known.

    Args:
        images: uint8 [B, h, w, 3].
        labels: [B], what they are.
        probabilities: [B, classes], what a network sees on them.
        names: of the classes.
        count: how many pictures there are in all.
    """
    tiles = []
    for image, label, row in zip(images, labels, probabilities, strict=True):
        found = [
            {"class": names[k], "probability": float(row[k])}
            for k in np.argsort(-row)[:SHOWN]
        ]
        record = {"file": f"is {names[label]}", "predictions": found}
        tiles.append(tile(image, record))
    return np.asarray(sheet(tiles, count))


def _font() -> ImageFont.ImageFont:
    return ImageFont.load_default(12)


def _text(draw, left, top, text: str, room: float, fill) -> None:
    """Writes a text, cut to what there is room for."""
    font = _font()
    if font.getlength(text) > room:
        while text and font.getlength(text + "…") > room:
            text = text[:-1]
        text += "…"
    draw.text((left, top + 1), text, fill=fill, font=font)
