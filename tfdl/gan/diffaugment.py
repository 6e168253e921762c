"""DiffAugment: the discriminator only ever sees augmented pictures (Zhao et al. 2020).

Real and generated pictures are augmented alike, and gradients reach the generator
through the augmentation. What is drawn comes from outside, as numbers in [0, 1), so
that a batch looks the same however many replicas share it.
"""

from collections.abc import Sequence

import tensorflow as tf

from tfdl.engine import errors

POLICIES = ("color", "translation", "cutout")
# Numbers in [0, 1) that a picture takes, used or not.
DRAWS = 7
_SHIFT, _CUT = 0.125, 0.5


def parse(policy: str | Sequence[str]) -> tuple[str, ...]:
    """Returns the steps of `"color,translation,cutout"`, in that order.

    Raises:
        UserError: an unknown step.
    """
    if isinstance(policy, str):
        policy = [part.strip() for part in policy.split(",") if part.strip()]
    for name in policy:
        if name not in POLICIES:
            raise errors.unknown("DiffAugment policy", name, POLICIES)
    return tuple(name for name in POLICIES if name in policy)


def augment(
    images: tf.Tensor, draws: tf.Tensor, policy: str | Sequence[str]
) -> tf.Tensor:
    """Returns augmented pictures, differentiable in `images`.

    Args:
        images: float [B, H, W, C] in [-1, 1].
        draws: float32 [B, DRAWS] in [0, 1).
        policy: what is done: `color` (brightness +- 0.5, saturation 0 to 2, contrast
            0.5 to 1.5), `translation` (by up to an eighth of the side, zeros come
            in), `cutout` (a square of half the side becomes zero).
    """
    draws = tf.cast(draws, images.dtype)
    for name in parse(policy):
        images = _STEPS[name](images, draws)
    return images


def _color(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    brightness, saturation, contrast = (draws[:, i, None, None, None] for i in range(3))
    images = images + (brightness - 0.5)
    grey = tf.reduce_mean(images, axis=3, keepdims=True)
    images = (images - grey) * (2.0 * saturation) + grey
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    return (images - mean) * (contrast + 0.5) + mean


def _translation(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    height, width = images.shape[1], images.shape[2]
    rows = _shifted(height, draws[:, 3])
    columns = _shifted(width, draws[:, 4])
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])
    moved = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(moved, columns, axis=2, batch_dims=1)


def _shifted(size: int, draw: tf.Tensor) -> tf.Tensor:
    """Returns [B, size]: where every row comes from, in a side padded by one."""
    most = int(size * _SHIFT + 0.5)
    shift = _integer(draw, -most, most)
    places = tf.range(size)[None] + shift[:, None] + 1
    return tf.clip_by_value(places, 0, size + 1)


def _cutout(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    keep_rows = _outside(images.shape[1], draws[:, 5])
    keep_columns = _outside(images.shape[2], draws[:, 6])
    cut = tf.logical_and(~keep_rows[:, :, None], ~keep_columns[:, None, :])
    return images * tf.cast(~cut, images.dtype)[..., None]


def _outside(size: int, draw: tf.Tensor) -> tf.Tensor:
    """Returns bool [B, size]: which rows the square does not reach."""
    cut = int(size * _CUT + 0.5)
    centre = _integer(draw, 0, size - cut % 2)
    start = centre - cut // 2
    # A square over the edge covers at least the outermost row.
    low = tf.clip_by_value(start, 0, size - 1)[:, None]
    high = tf.clip_by_value(start + cut - 1, 0, size - 1)[:, None]
    places = tf.range(size)[None]
    return tf.logical_or(places < low, places > high)


def _integer(draw: tf.Tensor, low: int, high: int) -> tf.Tensor:
    """Returns whole numbers from `low` to `high`, both included, int32 [B]."""
    chosen = low + tf.cast(tf.floor(draw * (high - low + 1)), tf.int32)
    return tf.minimum(chosen, high)


_STEPS = {"color": _color, "translation": _translation, "cutout": _cutout}
