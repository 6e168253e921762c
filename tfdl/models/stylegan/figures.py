"""The paper's figures: mixed styles, truncation, and what noise does."""

from collections.abc import Sequence

import numpy as np

from tfdl.engine import errors
from tfdl.gan import sheets
from tfdl.models.stylegan.drawing import Drawer

STYLES = ("coarse", "middle", "fine")
PSIS = (1.0, 0.7, 0.5, 0.0, -0.5, -1.0)
# Figure 5's pictures of the standard deviation are brightened by this.
_BRIGHTER = 4


def style_range(name: str, layers: int) -> tuple[int, int]:
    """Returns the layers [first, last) that a name or "first-last" stands for.

    Coarse are the layers up to 8x8, middle those to 32x32, fine the rest; of networks
    below 64x64 the first quarter, the second, and the upper half.

    Raises:
        UserError: neither a name nor a range of layers.
    """
    coarse, middle = (
        (4, 8) if layers > 8 else (max(1, layers // 4), max(2, layers // 2))
    )
    named = {
        "coarse": (0, coarse),
        "middle": (coarse, middle),
        "fine": (middle, layers),
    }
    if name in named:
        return named[name]
    first, dash, last = name.partition("-")
    if dash and first.isdigit() and last.isdigit():
        low, high = int(first), int(last) + 1
        if low < high <= layers:
            return low, high
        raise errors.UserError(
            f"styles {name}: this network has the layers 0 to {layers - 1}"
        )
    raise errors.unknown("styles", name, (*STYLES, "FIRST-LAST"))


def default_styles(rows: int) -> list[str]:
    """Returns how rows of the mixing figure are divided: half of them coarse."""
    coarse = max(1, rows // 2)
    middle = (rows - coarse + 1) // 2
    return (
        ["coarse"] * coarse + ["middle"] * middle + ["fine"] * (rows - coarse - middle)
    )


def mix(into: np.ndarray, source: np.ndarray, layers: tuple[int, int]) -> np.ndarray:
    """Returns w [L, D] with some layers of another's."""
    mixed = into.copy()
    mixed[layers[0] : layers[1]] = source[layers[0] : layers[1]]
    return mixed


def mixing(
    drawer: Drawer,
    destinations: np.ndarray,
    sources: np.ndarray,
    styles: Sequence[str],
    noise: str = "stored",
    seed: int = 0,
    factor: int = 1,
) -> np.ndarray:
    """Returns the style-mixing figure, uint8 [H, W, 3] (figure 3).

    The first column shows the destinations, the first row the sources; each picture
    between is its row's destination with its row's layers taken from the source.

    Args:
        drawer: makes the pictures.
        destinations: w [R, L, D].
        sources: w [C, L, D].
        styles: the layers of each row, see `style_range`.
        noise: see `drawing.NOISES`; the same for all where it is not "fresh".
        seed: of noise.
        factor: how many times as large pictures are shown.
    """
    layers = destinations.shape[1]
    ranges = [style_range(name, layers) for name in styles]
    mixed = [
        mix(into, source, chosen)
        for into, chosen in zip(destinations, ranges, strict=True)
        for source in sources
    ]
    rows, columns = len(destinations), len(sources)
    w = np.stack([*destinations, *sources, *mixed])
    seeds = [seed + i if noise == "fresh" else seed for i in range(len(w))]
    pictures = drawer.pictures(w, drawer.noise(noise, seeds))
    heads, tops = pictures[:rows], pictures[rows : rows + columns]
    inner = pictures[rows + columns :].reshape(rows, columns, *pictures.shape[1:])
    return sheets.sheet(
        list(inner), row_heads=list(heads), column_heads=list(tops), factor=factor
    )


def truncation(
    drawer: Drawer,
    w: np.ndarray,
    seeds: Sequence[int],
    psis: Sequence[float] = PSIS,
    factor: int = 1,
) -> np.ndarray:
    """Returns a row of psis for every w [N, L, D], all layers truncated (figure 8)."""
    layers = w.shape[1]
    rows = []
    for one in w:
        truncated = np.concatenate(
            [drawer.truncate(one[None], psi, layers) for psi in psis]
        )
        rows.append(list(drawer.pictures(truncated)))
    return sheets.sheet(
        rows,
        row_labels=[f"seed {seed}" for seed in seeds],
        column_labels=[f"psi {psi:g}" for psi in psis],
        gap=2,
        factor=factor,
    )


def noise_effects(
    drawer: Drawer,
    w: np.ndarray,
    seeds: Sequence[int],
    samples: int = 100,
    factor: int = 1,
) -> np.ndarray:
    """Returns what noise does to each w [N, L, D] (figures 4 and 5).

    A row has the picture, two with other noise, the standard deviation of the grey
    picture over `samples` of them (brightened), and pictures without noise, with noise
    in the coarse layers only, and in the fine layers only.
    """
    rows = []
    for one, seed in zip(w, seeds, strict=True):
        w_all = np.repeat(one[None], samples, 0)
        drawn = drawer.noise("fresh", [seed + i for i in range(samples)])
        pictures = drawer.pictures(w_all, drawn)
        spread = pictures.astype(np.float32).mean(-1).std(0)
        deviation = np.clip(spread * _BRIGHTER, 0, 255).astype(np.uint8)
        channels = pictures.shape[-1]
        rows.append(
            [
                *pictures[: min(3, samples)],
                np.repeat(deviation[..., None], channels, -1),
                drawer.pictures(one[None], "zero")[0],
                *drawer.pictures(np.repeat(one[None], 2, 0), _parts(drawn)),
            ]
        )
    labels = ["noise", "other", "another"][: min(3, samples)]
    labels += ["deviation", "none", "coarse", "fine"]
    return sheets.sheet(
        rows,
        row_labels=[f"seed {seed}" for seed in seeds],
        column_labels=labels,
        gap=2,
        factor=factor,
    )


def _parts(noise: list[np.ndarray]) -> list[np.ndarray]:
    """Returns the first noise twice: in the lower half of layers, in the upper half."""
    layers = []
    for i, layer in enumerate(noise):
        coarse = i < len(noise) / 2
        one, none = layer[:1], np.zeros_like(layer[:1])
        layers.append(np.concatenate([one, none] if coarse else [none, one]))
    return layers
