"""RandomResizedCrop's boxes: ten tries, exactly, for a whole batch at once."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfdl.engine import errors

TRIES = 10
FALLBACKS = ("ratio", "square")
_DRAWS = 2 * TRIES + 3  # areas, ratios, top, left, flip
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def uniform(seed: int, positions: tf.Tensor, count: int) -> tf.Tensor:
    """Draws float64 [B, count] in [0, 1), a function of seed and position alone.

    SplitMix64 over the counter `position * count + column`: elementwise for the
    whole batch, where a stateless random op would be a call per row.

    Args:
        seed: any integer.
        positions: int64 [B].
        count: how many numbers a position gets.
    """
    key = _mixed(np.array([seed % 2**64], np.uint64) * _GAMMA)[0]
    counter = tf.cast(positions, tf.uint64)[:, None] * np.uint64(count)
    counter += np.arange(1, count + 1, dtype=np.uint64)[None, :]
    bits = _mixed(counter * _GAMMA + key)
    bits = tf.bitwise.right_shift(bits, np.uint64(11))
    return tf.cast(bits, tf.float64) * 2.0**-53


def draws(
    seed: int,
    positions: tf.Tensor,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> dict[str, tf.Tensor]:
    """Draws everything random about a batch of crops, as torchvision does.

    Returns:
        `areas` (shares of the picture's) and `ratios` float64 [B, 10], `top` and
        `left` float64 [B] in [0, 1), `flip` bool [B], True for half.
    """
    numbers = uniform(seed, positions, _DRAWS)
    low, high = (math.log(r) for r in ratio)
    return {
        "areas": scale[0] + (scale[1] - scale[0]) * numbers[:, :TRIES],
        "ratios": tf.exp(low + (high - low) * numbers[:, TRIES : 2 * TRIES]),
        "top": numbers[:, 2 * TRIES],
        "left": numbers[:, 2 * TRIES + 1],
        "flip": numbers[:, 2 * TRIES + 2] < 0.5,
    }


def boxes(
    sizes: tf.Tensor,
    areas: tf.Tensor,
    ratios: tf.Tensor,
    top: tf.Tensor,
    left: tf.Tensor,
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    fallback: str = "ratio",
) -> tf.Tensor:
    """Returns the first try's box that fits in the picture, int32 [B, 4].

    Args:
        sizes: int32 [B, 2], height and width.
        areas: float64 [B, T], wanted shares of the picture's area.
        ratios: float64 [B, T], wanted width / height.
        top: float64 [B] in [0, 1): where the box lies between its extremes.
        left: as `top`.
        ratio: the allowed ratios, for the fallback.
        fallback: what is taken when no try fits: `"ratio"`, the largest centred box
            within the allowed ratios (torchvision since 2018), or `"square"`, the
            largest centred square (torchvision before).

    Returns:
        (top, left, height, width) in pixels.
    """
    if fallback not in FALLBACKS:
        raise errors.unknown("fallback", fallback, FALLBACKS)
    full = tf.cast(sizes, tf.float64)
    height, width = full[:, 0], full[:, 1]
    wanted = areas * (height * width)[:, None]
    tried_width = tf.round(tf.sqrt(wanted * ratios))
    tried_height = tf.round(tf.sqrt(wanted / ratios))
    fits = (tried_width > 0) & (tried_width <= width[:, None])
    fits &= (tried_height > 0) & (tried_height <= height[:, None])
    first = tf.argmax(fits, axis=1)
    box_height = tf.gather(tried_height, first, batch_dims=1)
    box_width = tf.gather(tried_width, first, batch_dims=1)
    y = tf.floor(top * (height - box_height + 1))
    x = tf.floor(left * (width - box_width + 1))
    tried = tf.stack([y, x, box_height, box_width], axis=1)
    last = _fallback(height, width, ratio, fallback)
    found = tf.reduce_any(fits, axis=1)[:, None]
    return tf.cast(tf.where(found, tried, last), tf.int32)


def check(scale: Sequence[float], ratio: Sequence[float]) -> None:
    """Raises `UserError` for ranges that make no sense."""
    if not 0 < scale[0] <= scale[1] <= 1:
        raise errors.UserError(
            f"min_scale and max_scale have to be in (0, 1] and in order, got {scale}"
        )
    if not 0 < ratio[0] <= ratio[1]:
        raise errors.UserError(f"ratio has to be positive and in order, got {ratio}")


def _fallback(height, width, ratio, fallback) -> tf.Tensor:
    if fallback == "square":
        box_height = box_width = tf.minimum(height, width)
    else:
        shape = width / height
        box_width = tf.where(shape > ratio[1], tf.round(height * ratio[1]), width)
        box_height = tf.where(shape < ratio[0], tf.round(width / ratio[0]), height)
    y = tf.floor((height - box_height) / 2)
    x = tf.floor((width - box_width) / 2)
    return tf.stack([y, x, box_height, box_width], axis=1)


def _mixed(values):
    """Returns SplitMix64's output for a state, NumPy or TensorFlow uint64."""
    if isinstance(values, np.ndarray):
        shift = np.right_shift
    else:
        shift = tf.bitwise.right_shift
    xor = np.bitwise_xor if isinstance(values, np.ndarray) else tf.bitwise.bitwise_xor
    for bits, multiplier in _MULTIPLIERS:
        values = xor(values, shift(values, np.uint64(bits))) * np.uint64(multiplier)
    return xor(values, shift(values, np.uint64(31)))
