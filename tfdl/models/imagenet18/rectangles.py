"""Rectangular validation: pictures of like aspect ratios share a batch.

The original's validation in its last phase (diux-dev/imagenet18, dataloader.py): sorted
by aspect ratio and cut into batches, every picture of a batch is cropped to the batch's
mean ratio, so that little of it is cut away.
"""

import numpy as np

from tfdl.data.evaluation_images import EvaluationBatch

RESIZE = 1.14
# Sides are multiples of this.
STRIDE = 8


def plan(
    shapes: np.ndarray,
    size: int,
    batch_size: int,
    resize_ratio: float = RESIZE,
    padded_size: int = 0,
) -> list[EvaluationBatch]:
    """Returns the batches of a validation set, short last one included.

    Args:
        shapes: int [N, 2], height and width of every picture.
        size: of the shorter side of the crops, pixels.
        batch_size: pictures per batch; it also decides which share a ratio.
        resize_ratio: the short side is resized to `int(size * resize_ratio)` first.
        padded_size: batches are filled up to it with -1. They keep their pictures,
            and so their ratio, for any number of replicas.
    """
    heights, widths = (shapes[:, i].astype(np.float64) for i in range(2))
    ratios = np.array([round(ratio, 5) for ratio in (widths / heights).tolist()])
    order = np.argsort(ratios, kind="stable")
    batches = []
    for start in range(0, len(order), batch_size):
        chunk = order[start : start + batch_size]
        ratio = round(float(np.mean(ratios[chunk])), 5)
        height, width = crop(ratio, size)
        resize = int(size * resize_ratio)
        missing = max(padded_size - len(chunk), 0)
        indices = np.pad(chunk.astype(np.int64), [0, missing], constant_values=-1)
        batches.append(EvaluationBatch(indices, resize, height, width))
    return batches


def crop(ratio: float, size: int) -> tuple[int, int]:
    """Returns (height, width) for a ratio width / height; the shorter is `size`."""
    if ratio < 1:
        return int(size / ratio) // STRIDE * STRIDE, size
    return size, int(size * ratio) // STRIDE * STRIDE
