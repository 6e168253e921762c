"""What stands on the pooled outputs: batch normalisation, dropout, linear layers."""

import keras
import numpy as np
import tensorflow as tf

from tfdl.engine import micro_batches
from tfdl.layers.dropout import Dropout
from tfdl.models.ulmfit.config import ClassifierConfig

EPSILON = 1e-5
MOMENTUM = 0.9


class BatchNorm(keras.layers.Layer):
    """Batch normalisation of [B, F] with torch's statistics.

    Rows are normalised with the biased variance of the global batch; the moving
    variance follows the unbiased one.

    Args:
        beta: what the shift starts at.
    """

    def __init__(self, beta: float = 0.0, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.beta_start = beta

    def build(self, input_shape):
        """Makes gamma, beta and the moving statistics, each [F]."""
        shape = (input_shape[-1],)

        def weight(name, value, trainable=True):
            constant = keras.initializers.Constant(value)
            # Statistics are those of the global batch: equal on all replicas.
            return self.add_weight(
                name=name,
                shape=shape,
                initializer=constant,
                trainable=trainable,
                aggregation="none" if trainable else "only_first_replica",
            )

        self.gamma = weight("gamma", 1.0)
        self.beta = weight("beta", self.beta_start)
        self.moving_mean = weight("moving_mean", 0.0, trainable=False)
        self.moving_variance = weight("moving_variance", 1.0, trainable=False)

    def call(self, x, training=False):
        """Returns the normalised `x`; in training the statistics move."""
        if not training:
            return self._normalised(x, self.moving_mean, self.moving_variance)
        count = _summed(tf.cast(tf.shape(x)[0], tf.float32))
        mean = _summed(tf.reduce_sum(x, 0)) / count
        variance = _summed(tf.reduce_sum(tf.square(x - mean), 0)) / count
        keep = micro_batches.momentum(MOMENTUM)
        unbiased = variance * count / tf.maximum(count - 1.0, 1.0)
        for moving, value in (
            (self.moving_mean, mean),
            (self.moving_variance, unbiased),
        ):
            old = tf.convert_to_tensor(moving)
            moving.assign(keep * old + (1.0 - keep) * tf.stop_gradient(value))
        return self._normalised(x, mean, variance)

    def _normalised(self, x, mean, variance):
        scale = tf.convert_to_tensor(self.gamma) * tf.math.rsqrt(
            tf.convert_to_tensor(variance) + EPSILON
        )
        shift = tf.convert_to_tensor(self.beta)
        return (x - tf.convert_to_tensor(mean)) * scale + shift


class Linear(keras.layers.Layer):
    """`x @ kernel + bias`, started as torch does.

    Args:
        units: outputs.
        bias: whether there is one.
    """

    def __init__(self, units: int, bias: bool, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.units, self.use_bias = units, bias

    def build(self, input_shape):
        """Makes kernel [in, units] and perhaps a bias."""
        bound = float(np.sqrt(1.0 / input_shape[-1]))
        uniform = keras.initializers.RandomUniform(-bound, bound)
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.units), initializer=uniform
        )
        self.bias = None
        if self.use_bias:
            uniform = keras.initializers.RandomUniform(-bound, bound)
            self.bias = self.add_weight(
                name="bias", shape=(self.units,), initializer=uniform
            )

    def call(self, x):
        """Maps [B, in] to [B, units]."""
        x = tf.matmul(x, tf.convert_to_tensor(self.kernel))
        return x if self.bias is None else x + tf.convert_to_tensor(self.bias)


class Head(keras.layers.Layer):
    """Maps pooled vectors to logits.

    Args:
        config: widths, rates and biases.
    """

    def __init__(self, config: ClassifierConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        widths = (*config.hidden, config.num_classes)
        self.norms = [
            BatchNorm(config.beta, name=f"norm{i}") for i in range(len(widths))
        ]
        self.dropouts = [Dropout(rate) for rate in config.dropouts]
        self.linears = [
            Linear(width, config.bias, name=f"linear{i}")
            for i, width in enumerate(widths)
        ]

    def build(self, input_shape):
        """Makes all weights for vectors [B, F]."""
        width = input_shape[-1]
        for norm, linear in zip(self.norms, self.linears, strict=True):
            norm.build((None, width))
            linear.build((None, width))
            width = linear.units
        self.built = True

    def call(self, x, training=False):
        """Maps [B, F] to [B, C]."""
        for i, (norm, dropout, linear) in enumerate(
            zip(self.norms, self.dropouts, self.linears, strict=True)
        ):
            x = tf.nn.relu(x) if i else x
            x = dropout(norm(x, training=training), training=training)
            x = linear(x)
        return x


def _summed(x):
    """Sums over the replicas."""
    if tf.distribute.in_cross_replica_context():
        return x
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return x
    return context.all_reduce("SUM", x)
