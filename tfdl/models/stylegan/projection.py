"""Projection: the w whose picture looks like a given one, found by optimisation."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfdl.engine import errors
from tfdl.models.stylegan.drawing import Drawer

SPACES = ("w", "w+")
_MEAN_OF = 2000  # latents that the spread of w is measured with
_WARM_UP, _COOL_DOWN = 0.05, 0.25
_RATE = 0.1
# Distances of w are in units of its spread; this weight keeps w+ where w's are.
_NEAR_THE_MEAN = 1e-3
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


@dataclasses.dataclass(frozen=True)
class Projected:
    """What projection found.

    Attributes:
        w: [L, D].
        image: its picture, float [H, W, C].
        start: the picture of the average w, where the search began.
        before: the distance of `start`.
        after: that of `image`.
    """

    w: np.ndarray
    image: np.ndarray
    start: np.ndarray
    before: float
    after: float


def project(
    drawer: Drawer,
    image: np.ndarray,
    distance: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    space: str = "w+",
    steps: int = 300,
    seed: int = 0,
    labels: np.ndarray | None = None,
) -> Projected:
    """Finds the w of a picture with Adam, from the average w on.

    Noise is the stored one throughout, so that the picture is w's alone. The step size
    rises, stays and falls; noise on w that fades away helps out of poor valleys.

    Args:
        drawer: of the model.
        image: float [H, W, C] in [-1, 1], of the model's size.
        distance: of pictures [N, H, W, C], differentiable; see metrics' `perceptual`.
        space: "w" for one vector in all layers, "w+" for one in each.
        steps: of the optimisation.
        seed: of the noise on w, and of the latents that w's spread is measured with.
        labels: one-hot [1, classes] of a conditional model.

    Raises:
        UserError: an unknown space, or a picture of another size.
    """
    _check(drawer, image, space)
    draws = np.random.RandomState(seed)
    mean, spread, layers = _statistics(drawer, draws, labels)
    own = layers if space == "w+" else 1
    target = tf.constant(image[None], tf.float32)
    # Steps of 0.1 in coordinates whose spread is about 1.
    unit = spread / np.sqrt(len(mean))
    offset = tf.Variable(tf.zeros([own, len(mean)]))
    moments = tf.Variable(tf.zeros_like(offset)), tf.Variable(tf.zeros_like(offset))

    def styles(offsets):
        return tf.repeat((mean + unit * offsets)[None], layers // own, axis=1)

    @tf.function
    def step(rate, shake, number):
        with tf.GradientTape() as tape:
            w = styles(offset + shake)
            apart = distance(drawer.model.synthesis(w, noise="stored"), target)[0]
            loss = apart + _NEAR_THE_MEAN * tf.reduce_mean(tf.square(offset))
        gradient = tape.gradient(loss, offset)
        first, second = moments
        first.assign(_BETA1 * first + (1 - _BETA1) * gradient)
        second.assign(_BETA2 * second + (1 - _BETA2) * tf.square(gradient))
        mean_of = first / (1 - _BETA1**number)
        root = tf.sqrt(second / (1 - _BETA2**number))
        offset.assign_sub(rate * mean_of / (root + _EPSILON))

    @tf.function
    def look():
        picture = drawer.model.synthesis(styles(offset), noise="stored")
        return picture[0], distance(picture, target)[0]

    start, before = look()
    for i in range(steps):
        rate, fading = _plan(i, steps)
        shake = fading * draws.randn(own, len(mean))
        step(
            tf.constant(rate, tf.float32),
            tf.constant(shake, tf.float32),
            tf.constant(i + 1.0),
        )
    picture, after = look()
    return Projected(
        styles(offset).numpy()[0],
        picture.numpy(),
        start.numpy(),
        float(before),
        float(after),
    )


def _check(drawer: Drawer, image: np.ndarray, space: str) -> None:
    if space not in SPACES:
        raise errors.unknown("space", space, SPACES)
    config = drawer.config
    wanted = (config.resolution, config.resolution, config.num_channels)
    if image.shape != wanted:
        raise errors.UserError(f"a picture {image.shape} for a network of {wanted}")


def _statistics(drawer: Drawer, draws, labels) -> tuple[np.ndarray, float, int]:
    """Returns the mean w, its spread, and how many layers take one."""
    z = draws.randn(_MEAN_OF, drawer.config.latent_size).astype(np.float32)
    some = drawer.styles(z, None if labels is None else np.repeat(labels, _MEAN_OF, 0))
    mean = some[:, 0].mean(0)
    spread = float(np.sqrt(np.square(some[:, 0] - mean).sum() / _MEAN_OF))
    return mean, spread, some.shape[1]


def _plan(i: int, steps: int) -> tuple[float, float]:
    """Returns a step's rate and how much noise is on w."""
    done = i / steps
    rate = _RATE * min(1, (i + 1) / (_WARM_UP * steps + 1))
    rate *= 0.5 - 0.5 * np.cos(np.pi * min(1, (1 - done) / _COOL_DOWN))
    return rate, 0.2 * max(0.0, 1 - done / 0.5) ** 2
