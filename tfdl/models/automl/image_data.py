"""Labelled pictures in memory, split into what children learn from and are judged by.

A search sees the training images alone: those that judge its children are held out of
them, and the test images stay unseen until the last training's end.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tfdl.data import image_sources
from tfdl.data.square_images import square_images
from tfdl.engine import errors

_BATCH = 500


@dataclasses.dataclass(frozen=True)
class Images:
    """Pictures of one size.

    Attributes:
        train: uint8 [N, size, size, 3].
        train_labels: int32 [N].
        valid: uint8 [M, size, size, 3], held out of the training images.
        valid_labels: int32 [M].
        classes: the classes' names.
    """

    train: np.ndarray
    train_labels: np.ndarray
    valid: np.ndarray
    valid_labels: np.ndarray
    classes: tuple[str, ...]


def load(
    data: str, size: int, valid: int, train: int = 0, seed: int = 0, on_bad="stop"
) -> Images:
    """Reads the training images of `data`, `valid` of which are held out.

    Args:
        data: see `image_sources.open_source`.
        size: height and width; others are cropped to a square and resized.
        valid: how many judge the children.
        train: how many of the rest are learnt from; 0 takes all.
        seed: of the split.
        on_bad: what unreadable pictures do, see `open_source`.

    Raises:
        UserError: there are too few.
    """
    source = image_sources.open_source(data, "train", on_bad=on_bad)
    learnt, judging = split(len(source), valid, train, seed, data)
    images, labels = read(source, np.concatenate([learnt, judging]), size, on_bad)
    return Images(
        images[: len(learnt)],
        labels[: len(learnt)],
        images[len(learnt) :],
        labels[len(learnt) :],
        source.classes,
    )


def split(
    count: int, valid: int, train: int = 0, seed: int = 0, where: str = "the data"
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the numbers of the images to learn from, and of those held out.

    The latter do not depend on `train`.

    Raises:
        UserError: there are too few.
    """
    if valid < 1 or train < 0 or valid + max(train, 1) > count:
        raise errors.UserError(
            f"{where} has {count:,} training images: {valid:,} for validation and "
            f"{train or 'the rest'} for training cannot be taken from them"
        )
    order = np.random.RandomState(seed).permutation(count)
    last = valid + train if train else count
    return np.sort(order[valid:last]), np.sort(order[:valid])


def read(
    source: image_sources.ImageSource, which: np.ndarray, size: int, on_bad="stop"
) -> tuple[np.ndarray, np.ndarray]:
    """Returns pictures uint8 [N, size, size, 3] and their labels int32 [N].

    Unreadable ones are left out, if they do not stop everything.
    """
    which = which.astype(np.int64)
    rows = tf.data.Dataset.from_tensor_slices({"index": which, "position": which})
    images, labels = [], []
    for batch in square_images(source, rows.batch(_BATCH), size, on_bad=on_bad):
        real = batch["weight"].numpy() > 0
        images.append(batch["image"].numpy()[real])
        labels.append(batch["label"].numpy()[real])
    return np.concatenate(images), np.concatenate(labels).astype(np.int32)


def normalisation(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Returns mean and standard deviation of each channel, for bytes as 0 to 1."""
    flat = images.reshape(-1, images.shape[-1])
    count, total, squares = len(flat), np.zeros(3), np.zeros(3)
    for start in range(0, count, 1 << 22):
        part = flat[start : start + (1 << 22)].astype(np.float64) / 255.0
        total += part.sum(0)
        squares += np.square(part).sum(0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    # Of pictures of one colour, nothing is divided.
    return mean.tolist(), np.where(std > 1e-6, std, 1.0).tolist()
