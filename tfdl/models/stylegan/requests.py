"""What a call of `predict` asks of a StyleGAN: checked, and made into arrays."""

import io
import math
import os
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfdl.checkpoints import npy
from tfdl.engine import errors, files
from tfdl.engine.prediction import Request
from tfdl.models.stylegan import drawing

# The original's seeds of its style-mixing figure, and of its truncation figure.
DESTINATIONS = (888, 829, 1898, 1733, 1614, 845)
SOURCES = (639, 701, 687, 615, 2268)
TRUNCATED = (91, 388)
MAX_PSI = 10.0
MAX_SEED = 2**32 - 1
# Figures show small pictures about as wide as this.
SHOWN = 96
# Real pictures that a small network learns from, at most.
MOST_REAL = 20_000


class Target(NamedTuple):
    """Where results go: a file, or a folder."""

    path: pathlib.Path
    folder: bool

    def file(self, name: str) -> pathlib.Path:
        """Returns where a file goes that the folder would call `name`."""
        if self.folder:
            return self.path / name
        suffix = pathlib.Path(name).suffix
        kept = suffix in (".png", ".mp4")
        return self.path if kept else self.path.with_suffix(suffix)


def target_of(request: Request, figure: str) -> Target:
    """Returns the file or folder to write."""
    if not request.output:
        raise errors.UserError("--output is needed: a .png or .mp4 file, or a folder")
    path = pathlib.Path(request.output)
    if path.is_dir() or request.output.endswith(os.sep) or not path.suffix:
        return Target(path, True)
    allowed = (".png", ".mp4") if figure == "interpolation" else (".png",)
    if path.suffix.lower() not in allowed:
        raise errors.UserError(
            f"--output={request.output}: a file has to end in {' or '.join(allowed)}"
        )
    return Target(path, False)


def factor_of(request: Request, drawer: drawing.Drawer) -> int:
    """Returns how many times as large a figure shows pictures; words need room."""
    least = math.ceil(SHOWN / drawer.config.resolution)
    return request.number("enlarge", least)


def save(path: pathlib.Path, w: np.ndarray) -> pathlib.Path:
    """Writes w as a .npy file; returns its path."""
    buffer = io.BytesIO()
    np.save(buffer, w.astype(np.float32), allow_pickle=False)
    return files.atomic_write(path, buffer.getvalue())


def seeds_of(request: Request, figure: str) -> list[int]:
    """Returns the seeds of a figure: the option's, or its own."""
    defaults = {
        "mixing": DESTINATIONS,
        "truncation": TRUNCATED,
        "noise": range(request.seed, request.seed + 2),
        "interpolation": range(request.seed, request.seed + 4),
    }
    chosen = defaults.get(
        figure, range(request.seed, request.seed + request.num_samples)
    )
    seeds = numbers(request, "seeds", chosen)
    if not all(0 <= seed <= MAX_SEED for seed in seeds):
        raise errors.UserError(f"seeds have to be from 0 to {MAX_SEED}, got {seeds[0]}")
    return seeds


def numbers(request: Request, name: str, default) -> list[int]:
    """Returns the numbers of "3,8,20-25"."""
    text = request.options.get(name)
    if text is None:
        return list(default)
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise errors.UserError(
                f"--option={name}={text}: write numbers as 3,8,20-25"
            )
        low, high = int(first), int(last or first)
        if not low <= high < low + 100_000:
            raise errors.UserError(f"--option={name}={text}: {part} is no range")
        found += range(low, high + 1)
    return found


def finite(name: str, text: object) -> float:
    """Returns a psi, or raises `UserError`."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not abs(value) <= MAX_PSI:
        raise errors.UserError(
            f"{name}: psi has to be a number from {-MAX_PSI:g} to {MAX_PSI:g}, "
            f"got {text}"
        )
    return value


def psi_of(request: Request) -> float | None:
    """Returns `--truncation`, None for the model's own."""
    if request.truncation is None:
        return None
    return finite("--truncation", request.truncation)


def psi_used(request: Request, drawer: drawing.Drawer) -> float | None:
    """Returns the psi that counts; None of a model that never truncates."""
    psi = psi_of(request)
    return drawer.config.truncation_psi if psi is None else psi


def cutoff_of(request: Request, drawer: drawing.Drawer) -> int | None:
    """Returns how many layers are truncated: the option, or the model's own."""
    text = request.options.get("cutoff")
    if text is None:
        own = drawer.config.truncation_cutoff
        # A model that never truncates still does what --truncation asks for.
        return (
            drawer.config.num_layers
            if own is None and request.truncation is not None
            else own
        )
    if text == "all":
        return drawer.config.num_layers
    if not text.isdigit():
        raise errors.UserError(
            f"--option=cutoff={text}: a number of layers is needed, or all"
        )
    return int(text)


def truncation_of(request, drawer) -> tuple[float | None, int | None]:
    """Returns psi and cutoff."""
    return psi_used(request, drawer), cutoff_of(request, drawer)


def noise_kind(request: Request, default: str) -> str:
    """Returns where noise comes from, one of `drawing.NOISES`."""
    return request.option("noise", default, drawing.NOISES)


def labels_of(request: Request, count: int) -> np.ndarray | None:
    """Returns one-hot `--labels` [count, classes], None of a model without classes."""
    return drawing.one_hot(request.config, request.model_dir, request.labels, count)


def styles_of(request, drawer, seeds) -> tuple[np.ndarray, list[int]]:
    """Returns w of `--input`, or of seeds, truncated as asked, and each one's seed."""
    if request.input:
        w = input_styles(request.input, drawer)
        psi = psi_of(request)  # a given w is drawn as it is, unless asked otherwise
        if psi is not None:
            w = drawer.truncate(w, psi, cutoff_of(request, drawer))
        return w, list(range(request.seed, request.seed + len(w)))
    w = drawer.styles(drawer.latents(seeds), labels_of(request, len(seeds)))
    return drawer.truncate(w, *truncation_of(request, drawer)), list(seeds)


def input_styles(name: str, drawer: drawing.Drawer) -> np.ndarray:
    """Returns the w [N, L, D] of a .npy file: [D], [N, D], [L, D] or [N, L, D]."""
    if pathlib.Path(name).suffix.lower() != ".npy":
        raise errors.UserError(f"--input={name}: w is read from a .npy file")
    w = npy.read(name)
    config = drawer.config
    shape = (config.num_styles, config.dlatent_size)
    if w.dtype.kind != "f" or not np.isfinite(w).all():
        raise errors.UserError(f"{name} has to hold finite floats, it is {w.dtype}")
    if w.ndim == 1 or (w.ndim == 2 and w.shape == shape != (len(w), shape[1])):
        w = w[None]
    if w.ndim == 2 and w.shape[1] == shape[1]:
        w = np.repeat(w[:, None], shape[0], 1)
    if w.ndim != 3 or w.shape[1:] != shape or not len(w):
        raise errors.UserError(
            f"{name} has shape {list(w.shape)}; this model takes w [N, {shape[1]}] or "
            f"[N, {shape[0]}, {shape[1]}]: 2 log2(resolution) - 2 layers"
        )
    return w.astype(np.float32)


def detail_of(request: Request, drawer: drawing.Drawer) -> tuple[float, bool]:
    """Returns the level of detail, and whether pictures keep its own size."""
    full = drawer.config.resolution
    if "lod" in request.options and "size" in request.options:
        raise errors.UserError("give one of --option=lod and --option=size")
    if "size" in request.options:
        size = request.number("size", full)
        if (
            size > full
            or size < 4
            or full % size
            or (full // size) & (full // size - 1)
        ):
            allowed = [str(full >> i) for i in range(int(math.log2(full)) - 1)]
            raise errors.UserError(
                f"--option=size={size}: this model makes {', '.join(allowed)}"
            )
        return math.log2(full // size), True
    text = request.options.get("lod", drawer.model.lod)
    most = int(math.log2(full)) - 2
    try:
        lod = float(text)
    except ValueError:
        lod = math.nan
    if not 0 <= lod <= most:
        raise errors.UserError(
            f"--option=lod={text}: a number from 0 to {most} is needed"
        )
    return lod, False


def cropped(request: Request, pictures: np.ndarray) -> np.ndarray:
    """Returns the middle of pictures: networks are square, LSUN's cars were not."""
    text = request.options.get("crop")
    if text is None:
        return pictures
    height, cross, width = text.lower().partition("x")
    full = pictures.shape[1:3]
    if not (cross and height.isdigit() and width.isdigit()):
        raise errors.UserError(f"--option=crop={text}: write HEIGHTxWIDTH")
    size = int(height), int(width)
    if not all(1 <= s <= f for s, f in zip(size, full, strict=True)):
        raise errors.UserError(
            f"--option=crop={text}: pictures are {full[0]}x{full[1]}"
        )
    top, left = ((f - s) // 2 for f, s in zip(full, size, strict=True))
    return pictures[:, top : top + size[0], left : left + size[1]]


def picture_of(name: str, size: int, channels: int) -> np.ndarray:
    """Returns the picture to project, uint8 [size, size, C]: its middle, resized."""
    if not name:
        raise errors.UserError("--input is needed: the picture to project")
    try:
        with Image.open(files.require_file(name)) as image:
            image = image.convert("L" if channels == 1 else "RGB")
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            box = (left, top, left + side, top + side)
            image = image.resize((size, size), Image.Resampling.LANCZOS, box=box)
            return np.asarray(image).reshape(size, size, channels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise errors.UserError(
            f"{name} is no picture that can be read ({error})"
        ) from None


def real_pictures(data: str, config) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns a source's pictures at a network's size, and their classes or None."""
    from tfdl.models.stylegan import sources

    found = sources.open_pictures(
        data,
        config.resolution,
        channels=config.num_channels,
        labels="full" if config.label_size else "none",
        sizes="any",
    )
    images = found.read(np.arange(min(len(found), MOST_REAL)), config.resolution)
    labels = None if found.labels is None else found.labels[: len(images)]
    if labels is not None and labels.ndim == 2:
        labels = labels.argmax(1)
    return images, labels
