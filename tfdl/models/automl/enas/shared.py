"""What networks with shared weights are made of.

Every possible choice has weights of its own; an architecture is an input, and only
what it chooses is computed and gets gradients. Batch normalisation uses the batch's
statistics, in training and out of it: moving ones would mix all architectures'.
"""

import math
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfdl.engine import errors

EPSILON = 1e-5


class SharedNetwork(keras.Model):
    """Base: makes weights that start as He's normal ones.

    Its subclasses are called with `{"image": [B, H, W, 3], "arc": int32 [n]}` and
    return `{"logits": [B, classes]}`, in training also `"aux_logits"` where there is
    an auxiliary head.
    """

    def weight(
        self, name: str, shape: Sequence[int], fan_in: int | None = None
    ) -> keras.Variable:
        """Returns a new weight; the fan is all dimensions but the last by default."""
        fan = math.prod(shape[:-1]) if fan_in is None else fan_in
        # Truncated at two deviations, whose own deviation is .88 of the full one's.
        deviation = math.sqrt(2.0 / fan) / 0.87962566103423978
        init = keras.initializers.TruncatedNormal(stddev=deviation)
        return self.add_weight(shape=shape, initializer=init, name=name)

    def norm(self, name: str, shape: Sequence[int]) -> tuple:
        """Returns scale and offset of a batch normalisation."""
        scale = self.add_weight(shape=shape, initializer="ones", name=f"{name}.scale")
        offset = self.add_weight(
            shape=shape, initializer="zeros", name=f"{name}.offset"
        )
        return scale, offset

    def projection(self, name: str, channels: int, filters: int) -> tuple:
        """Returns weights of a 1x1 convolution and its normalisation."""
        return (
            self.weight(f"{name}.w", [1, 1, channels, filters]),
            *self.norm(name, [filters]),
        )

    def reduction(self, name: str, channels: int, filters: int) -> tuple:
        """Returns weights of a factorised reduction; see `reduce`."""
        return (
            self.weight(f"{name}.path1", [1, 1, channels, filters // 2]),
            self.weight(f"{name}.path2", [1, 1, channels, filters // 2]),
            *self.norm(name, [filters]),
        )


def unit(function: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Returns a function that is traced and optimised once for every shape.

    Without this, every place that calls it would be a copy of all its branches in the
    graph: five times the time until the first step, and twice that of every step.
    """
    return tf.function(function, experimental_attributes={"_noinline": True})


def check_filters(filters: int) -> int:
    """Returns `filters` if they can be halved, or raises `UserError`."""
    if isinstance(filters, bool) or not isinstance(filters, int) or filters < 2:
        raise errors.UserError(
            f"filters have to be a whole number of at least 2, got {filters!r}"
        )
    if filters % 2:
        raise errors.UserError(
            f"filters have to be even, factorised reductions halve them; got {filters}"
        )
    return filters


def conv(x: tf.Tensor, kernel) -> tf.Tensor:
    """Returns a convolution of stride 1 with SAME padding."""
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def batch_norm(x: tf.Tensor, scale, offset, epsilon: float = EPSILON) -> tf.Tensor:
    """Normalises by the batch's own statistics."""
    return tf.compat.v1.nn.fused_batch_norm(
        x, scale, offset, epsilon=epsilon, is_training=True
    )[0]


def project(x: tf.Tensor, weights: tuple) -> tf.Tensor:
    """Returns ReLU, 1x1 convolution, normalisation."""
    kernel, scale, offset = weights
    return batch_norm(conv(tf.nn.relu(x), kernel), scale, offset)


def reduce(x: tf.Tensor, weights: tuple) -> tf.Tensor:
    """Halves the resolution: every second pixel, and those one to the right below.

    Each half of the filters sees one of the two grids; no ReLU before.
    """
    first, second, scale, offset = weights
    shifted = tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])[:, 1:, 1:, :]
    halves = [
        tf.nn.conv2d(grid[:, ::2, ::2, :], kernel, 1, "VALID")
        for grid, kernel in ((x, first), (shifted, second))
    ]
    return batch_norm(tf.concat(halves, axis=3), scale, offset)


def separable(x: tf.Tensor, depth, point) -> tf.Tensor:
    """Returns a depthwise and a pointwise convolution, nothing between them."""
    x = tf.nn.depthwise_conv2d(x, depth, [1, 1, 1, 1], "SAME")
    return conv(x, point)


def dropout(x: tf.Tensor, keep: float, seed: tf.Tensor | None) -> tf.Tensor:
    """Drops entries, as a function of `seed` (int32 [2]); None drops nothing."""
    if seed is None or keep >= 1.0:
        return x
    mask = tf.floor(keep + tf.random.stateless_uniform(tf.shape(x), seed))
    return x / keep * tf.cast(mask, x.dtype)


class AuxHead:
    """5x5 average pooling of stride 3, two convolutions, mean, dense layer.

    Args:
        net: whose weights it makes.
        channels: of what it reads.
        side: height and width of what it reads.
        classes: of the images.
    """

    def __init__(self, net: SharedNetwork, channels: int, side: int, classes: int):
        if side < 5:
            raise errors.UserError(
                f"an auxiliary head pools 5x5 pixels where {side}x{side} are left; "
                "leave it out or take larger images"
            )
        side = (side - 5) // 3 + 1
        self.project = net.projection("aux_head.proj", channels, 128)
        self.kernel = net.weight("aux_head.conv.w", [side, side, 128, 768])
        self.norm = net.norm("aux_head.conv", [768])
        self.dense = net.weight("aux_head.fc.w", [768, classes])

    def run(self, x: tf.Tensor) -> tf.Tensor:
        """Returns logits."""
        kernel, *norm = self.project
        x = tf.nn.avg_pool2d(tf.nn.relu(x), 5, 3, "VALID")
        x = tf.nn.relu(batch_norm(conv(x, kernel), *norm))
        x = tf.nn.relu(batch_norm(conv(x, self.kernel), *self.norm))
        return tf.matmul(tf.reduce_mean(x, axis=[1, 2]), self.dense)
