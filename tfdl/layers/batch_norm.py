"""Batch normalisation whose statistics can be those of all replicas."""

import keras
import numpy as np
import tensorflow as tf

from tfdl.engine import micro_batches


class BatchNorm(keras.layers.Layer):
    """Batch normalisation (Ioffe & Szegedy 2015) in float32.

    Each replica normalises its part of the batch by itself unless `synchronised`.
    Moving statistics are kept per replica and read as the replicas' mean: linear
    updates of the parts average to the update of the average.

    Args:
        epsilon: is added to the variance.
        momentum: part of the moving statistics that stays in each step.
        unbiased: moving variances follow the batch's n/(n-1) variance, as in torch
            and TF-slim; normalisation always uses the biased one.
        synchronised: batch statistics are those of the global batch.
        zero_gamma: gamma starts at 0 instead of 1.
    """

    def __init__(
        self,
        epsilon: float,
        momentum: float,
        unbiased: bool = True,
        synchronised: bool = False,
        zero_gamma: bool = False,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.epsilon, self.momentum = epsilon, momentum
        self.unbiased, self.synchronised = unbiased, synchronised
        self.zero_gamma = zero_gamma

    def build(self, input_shape):
        """Makes gamma, beta and the moving statistics, each [C]."""
        shape = (input_shape[-1],)

        def weight(name, value, **options):
            # `add_weight` has no argument for the synchronisation.
            initializer = keras.initializers.Constant(value)
            return keras.Variable(
                initializer, shape, "float32", name=name, autocast=False, **options
            )

        moving = {
            "trainable": False,
            "aggregation": "mean",
            "synchronization": "on_read",
        }
        self.gamma = weight("gamma", 0.0 if self.zero_gamma else 1.0)
        self.beta = weight("beta", 0.0)
        self.moving_mean = weight("moving_mean", 0.0, **moving)
        self.moving_variance = weight("moving_variance", 1.0, **moving)

    def call(self, x, training=False):
        """Returns the normalised `x`; in training the statistics move."""
        if not (training and self.trainable):
            y, _, _ = self._fused(x, False, self.moving_mean, self.moving_variance)
            return y
        if self.synchronised and _replicas() > 1:
            y, mean, variance, count = self._across_replicas(x)
        else:
            # The op's second output has the n / (n - 1) of an unbiased estimate.
            y, mean, variance = self._fused(x, True)
            count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
            if not self.unbiased:
                variance *= tf.maximum(count - 1.0, 1.0) / count
        keep = micro_batches.momentum(self.momentum)
        for moving, value in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            old = tf.convert_to_tensor(moving)
            moving.assign(keep * old + (1.0 - keep) * tf.stop_gradient(value))
        return y

    def _fused(self, x, training, mean=None, variance=None):
        # The op takes no epsilon below 1.001e-5 on cuDNN before version 8 only.
        return tf.compat.v1.nn.fused_batch_norm(
            x,
            tf.convert_to_tensor(self.gamma),
            tf.convert_to_tensor(self.beta),
            None if mean is None else tf.convert_to_tensor(mean),
            None if variance is None else tf.convert_to_tensor(variance),
            epsilon=self.epsilon,
            is_training=training,
        )

    def _across_replicas(self, x):
        context = tf.distribute.get_replica_context()
        wide = tf.cast(x, tf.float32)
        count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
        count = context.all_reduce("SUM", count)
        mean = context.all_reduce("SUM", tf.reduce_sum(wide, [0, 1, 2])) / count
        centred = wide - mean
        squares = tf.reduce_sum(tf.square(centred), [0, 1, 2])
        variance = context.all_reduce("SUM", squares) / count
        scale = tf.convert_to_tensor(self.gamma) * tf.math.rsqrt(
            variance + self.epsilon
        )
        y = tf.cast(centred * scale + tf.convert_to_tensor(self.beta), x.dtype)
        if self.unbiased:
            variance *= count / tf.maximum(count - 1.0, 1.0)
        return y, mean, variance, count

    def save_own_variables(self, store):
        """Writes the weights; statistics as the mean over this process's replicas.

        Reading them the ordinary way takes all workers of a run, of which one saves:
        `average_statistics` has to have made all replicas' values equal before.
        """
        for i, variable in enumerate(self.weights):
            local = getattr(variable.value, "values", None) or [variable.value]
            store[str(i)] = np.mean([part.numpy() for part in local], axis=0)


def _replicas() -> int:
    if not tf.distribute.in_cross_replica_context():
        return tf.distribute.get_replica_context().num_replicas_in_sync
    return 1


def average_statistics(
    model: keras.Model, strategy: tf.distribute.Strategy | None = None
) -> None:
    """Gives all replicas the mean of their moving statistics.

    To be called on every worker, in cross-replica context, before a model that
    several replicas have trained is evaluated or saved.
    """
    strategy = strategy or tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync == 1:
        return
    for layer in model._flatten_layers():
        if isinstance(layer, BatchNorm):
            for variable in (layer.moving_mean, layer.moving_variance):
                variable.value.assign(variable.value.read_value())
