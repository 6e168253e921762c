"""Pictures of the small real sets that `tfdl prepare --dataset` fetches."""

import gzip
import json
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from tfdl.data import fetching, image_arrays
from tfdl.engine import errors, files

SETS = ("emoji-64", "fashion-mnist", "mnist-5k")
_EMOJI_SIZE = 64


def open_prepared(
    name: str, split: str, classes: Sequence[str] | None = None
) -> image_arrays.ArraySource:
    """Opens `prepared:NAME`, fetching the set when it is not in the cache.

    `emoji-64` is on white, its classes are the categories; it and `mnist-5k` have
    one set of pictures, which serves every split.

    Args:
        name: of `SETS`.
        split: `"train"` or `"validation"`.
        classes: see `image_sources.open_source`.

    Raises:
        UserError: an unknown set, or it cannot be fetched.
    """
    if name not in SETS:
        raise errors.unknown("prepared pictures", name, SETS)
    folder = fetching.fetch(name)
    if name == "fashion-mnist":
        return image_arrays.open_arrays("idx", str(folder), split, classes)
    read = {"emoji-64": _emoji, "mnist-5k": _mnist}[name]
    images, labels, names = read(folder)
    where = f"prepared:{name}"
    return image_arrays.ArraySource(images, labels, names, where, classes)


def on_background(picture: Image.Image, color: str) -> Image.Image:
    """Returns a picture without its transparency, laid on a colour."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture
    picture = picture.convert("RGBA")
    paper = Image.new("RGBA", picture.size, color)
    return Image.alpha_composite(paper, picture).convert("RGB")


def _emoji(folder: pathlib.Path):
    described = json.loads(files.read_text(folder / "emoji.json"))
    category = {}
    for entry in described:
        variations = entry.get("skin_variations", {}).values()
        for one in (entry, *variations):
            category[one["image"]] = entry["category"]
    images, found = [], []
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as picture:
            if picture.size != (_EMOJI_SIZE, _EMOJI_SIZE) or path.name not in category:
                continue
            images.append(np.asarray(on_background(picture, "white").convert("RGB")))
            found.append(category[path.name])
    names = sorted(set(found))
    labels = [names.index(one) for one in found]
    return np.stack(images), np.array(labels), names


def _mnist(folder: pathlib.Path):
    (path,) = folder.rglob("mnist_5k.csv.gz")
    with gzip.open(path, "rt") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.float32)
    images = rows[:, :-1].astype(np.uint8).reshape(-1, 28, 28, 1)
    return images, rows[:, -1].astype(np.int64), [str(i) for i in range(10)]
