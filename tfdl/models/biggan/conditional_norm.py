"""Batch normalisation: of the class and z, and the output's."""

import contextlib
import threading
from collections.abc import Iterator

import keras
import tensorflow as tf

from tfdl.engine import micro_batches
from tfdl.models.biggan.plans import GeneratorConfig
from tfdl.models.biggan.spectral import Linear, Table, Weights

_current = threading.local()


@contextlib.contextmanager
def accumulating(share: tf.Tensor | float) -> Iterator[None]:
    """Makes statistics move by `share` of the way to the batch's own.

    The variance they move to is the biased one. With shares 1, 1/2, ..., 1/n they end
    as the means over n batches: standing statistics. Must be entered in the replica's
    own function.
    """
    before = getattr(_current, "share", None)
    _current.share = share
    try:
        yield
    finally:
        _current.share = before


class Rows:
    """The rows of a table of statistics that truncations stand for.

    Args:
        truncation: a number, or a tensor [] or [B]; row k is for k / (count - 1).
        count: rows.
        interpolation: "linear", or "hf": the two rows' weights are exchanged, and a
            float64 truncation is divided by the step without rounding, so that 0.14
            and 0.58 fall on other rows of 51 than one would think.
    """

    def __init__(self, truncation, count: int, interpolation: str):
        given = truncation
        if not tf.is_tensor(given):
            given = tf.constant(given, tf.float64)
        value = tf.cast(given, tf.float64)
        if interpolation == "hf":
            if given.dtype != tf.float64:
                # The number that a person wrote.
                value = _divided(tf.round(value * 1e6), 1e6)
            place = _divided(value, 1.0 / (count - 1))
        else:
            place = value * (count - 1)
            whole = tf.round(place)
            place = tf.where(tf.abs(place - whole) < 1e-4, whole, place)
        place = tf.clip_by_value(place, 0.0, float(count - 1))
        low = tf.floor(place)
        part = place - low
        self._low = tf.cast(low, tf.int32)
        self._high = tf.minimum(self._low + 1, count - 1)
        if interpolation == "hf":
            first = tf.where(part == 0, tf.ones_like(part), part)
        else:
            first = 1.0 - part
        self._first = tf.cast(first, tf.float32)
        self._second = tf.cast(1.0 - first, tf.float32)

    def of(self, table) -> tf.Tensor:
        """Maps a table [count, C] to [C], or [B, C] for several truncations."""
        table = tf.convert_to_tensor(table)
        first = self._first[..., None] * tf.gather(table, self._low)
        return first + self._second[..., None] * tf.gather(table, self._high)


def _divided(value: tf.Tensor, by: float) -> tf.Tensor:
    # Graphs turn an ordinary division by a constant into a product, which rounds
    # otherwise.
    return tf.math.divide_no_nan(value, tf.constant(by, value.dtype))


class BatchNorm(keras.layers.Layer):
    """The statistics of a batch normalisation, and what uses them.

    Args:
        config: the generator's.
        epsilon: added to variances.
    """

    def __init__(self, config: GeneratorConfig, epsilon: float, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config, self.epsilon = config, epsilon

    def build(self, input_shape):
        """Makes the statistics, [C] or a row per truncation."""
        shape = (input_shape[-1],)
        if self.config.statistics == "table":
            shape = (self.config.num_statistics, *shape)
        for name, value in (("moving_mean", 0.0), ("moving_variance", 1.0)):
            # Every replica moves its own copy, all by the same numbers.
            variable = keras.Variable(
                keras.initializers.Constant(value),
                shape,
                "float32",
                trainable=False,
                name=name,
                autocast=False,
            )
            setattr(self, name, variable)

    def normalised(self, x, gain, bias, rows: Rows | None, training: bool):
        """Returns `(x - mean) / sqrt(variance + epsilon) * gain + bias`.

        Args:
            x: [B, H, W, C].
            gain: float32 [C] or [B, C].
            bias: the same.
            rows: which statistics, where they are in a table.
            training: the batch's statistics are used, and the running ones move.
        """
        if self.config.statistics == "table":
            mean, variance = rows.of(self.moving_mean), rows.of(self.moving_variance)
        elif training:
            mean, variance = self._of_batch(x)
        else:
            mean = tf.convert_to_tensor(self.moving_mean)
            variance = tf.convert_to_tensor(self.moving_variance)
        scale = tf.math.rsqrt(variance + self.epsilon) * gain
        if training:
            shift = bias - mean * scale
            return x * _spread(scale, x) + _spread(shift, x)
        # The statistics of small truncations have small variances: what is subtracted
        # first loses no digits.
        return (x - _spread(mean, x)) * _spread(scale, x) + _spread(bias, x)

    def _of_batch(self, x):
        wide = tf.cast(x, tf.float32)
        count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
        context = tf.distribute.get_replica_context()
        several = context is not None and context.num_replicas_in_sync > 1
        if several and self.config.synchronised:
            count = context.all_reduce("SUM", count)
            mean = context.all_reduce("SUM", tf.reduce_sum(wide, [0, 1, 2])) / count
            squares = tf.reduce_sum(tf.square(wide - mean), [0, 1, 2])
            variance = context.all_reduce("SUM", squares) / count
        else:
            mean, variance = tf.nn.moments(wide, [0, 1, 2])
        self._move(mean, variance, count, several and not self.config.synchronised)
        return mean, variance

    def _move(self, mean, variance, count, apart: bool) -> None:
        share = getattr(_current, "share", None)
        mean, variance = tf.stop_gradient(mean), tf.stop_gradient(variance)
        if share is None:
            share = 1.0 - micro_batches.momentum(self.config.momentum)
            if self.config.running_variance == "unbiased":
                variance *= count / tf.maximum(count - 1.0, 1.0)
        if apart:
            context = tf.distribute.get_replica_context()
            both = context.all_reduce("MEAN", tf.stack([mean, variance]))
            mean, variance = both[0], both[1]
        for moving, value in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            old = tf.convert_to_tensor(moving)
            moving.assign((1.0 - share) * old + share * value)


def _spread(values, x):
    """Returns [C] or [B, C] so that it can be combined with [B, H, W, C]."""
    if values.shape.rank == 2:
        values = values[:, None, None]
    return tf.cast(values, x.dtype)


class ConditionalNorm(BatchNorm):
    """Batch normalisation whose gain and bias depend on a condition.

    The gain is 1 + what is projected: without the 1 a deep generator does not train.

    Args:
        config: the generator's.
        weights: start and normalisation of the projections.
    """

    def __init__(self, config: GeneratorConfig, weights: Weights, **kwargs):
        super().__init__(config, config.batch_norm_epsilon, **kwargs)
        self.start = weights

    def build(self, input_shape):
        """Makes projections [cond, C], or tables [classes, C], and statistics."""
        channels = input_shape[-1]
        condition = self.config.condition_dim
        for name in ("gain", "bias"):
            if condition:
                layer = Linear(channels, self.start, use_bias=False, name=name)
                layer.build((None, condition))
            else:
                classes = self.config.num_classes
                layer = Table(classes, channels, self.start, name=name)
                layer.build()
            setattr(self, name, layer)
        super().build(input_shape)

    def call(self, x, condition, rows=None, training=False):
        """Maps pictures [B, H, W, C] and conditions [B, cond] (or classes [B])."""
        gain = 1.0 + self.gain(condition, training=training)
        bias = self.bias(condition, training=training)
        return self.normalised(x, gain, bias, rows, training)


class OutputNorm(BatchNorm):
    """Batch normalisation with one learned gain and bias per channel."""

    def __init__(self, config: GeneratorConfig, **kwargs):
        super().__init__(config, config.output_norm_epsilon, **kwargs)

    def build(self, input_shape):
        """Makes gain and bias [C], and statistics."""
        shape = (input_shape[-1],)
        self.gain = self.add_weight(name="gain", shape=shape, initializer="ones")
        self.bias = self.add_weight(name="bias", shape=shape, initializer="zeros")
        super().build(input_shape)

    def call(self, x, rows=None, training=False):
        """Maps pictures [B, H, W, C]."""
        gain, bias = tf.convert_to_tensor(self.gain), tf.convert_to_tensor(self.bias)
        return self.normalised(x, gain, bias, rows, training)
