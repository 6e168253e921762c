"""A confusion matrix as a picture."""

import io
from collections.abc import Sequence

import numpy as np

MOST = 30  # classes with numbers in their cells


def draw(matrix: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """Returns a picture, uint8 [H, W, 3].

    Args:
        matrix: counts [true class, predicted class].
        labels: the classes' names.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    size = 2.5 + 0.55 * min(len(labels), MOST)
    figure = Figure(figsize=(size + 1, size), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [label if len(label) < 24 else label[:21] + "..." for label in labels]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(labels) <= MOST:
        for (i, j), count in np.ndenumerate(matrix):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(
                j, i, f"{count:,}", ha="center", va="center", color=colour, fontsize=7
            )
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB"))
