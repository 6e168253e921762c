"""Self-attention over the places of a picture (Zhang et al. 2018), as in BigGAN."""

import keras
import tensorflow as tf

from tfdl.models.biggan.spectral import Convolution, Weights


class SelfAttention(keras.layers.Layer):
    """Adds to every place what it finds at others, times gamma, which starts at 0.

    Queries are all places, keys and values the maxima of 2x2 places; the softmax's
    inputs are not scaled.

    Args:
        channels: C.
        weights: start and normalisation of the convolutions.
    """

    def __init__(self, channels: int, weights: Weights, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.channels = channels

        def convolution(name, filters):
            return Convolution(filters, 1, weights, use_bias=False, name=name)

        self.theta = convolution("theta", channels // 8)
        self.phi = convolution("phi", channels // 8)
        self.g = convolution("g", channels // 2)
        self.o = convolution("o", channels)

    def build(self, input_shape):
        """Makes the weights for pictures [B, H, W, C]."""
        for layer in (self.theta, self.phi, self.g):
            layer.build(input_shape)
        self.o.build((*input_shape[:-1], self.g.filters))
        self.gamma = self.add_weight(name="gamma", shape=(), initializer="zeros")

    def call(self, x, training=False):
        """Maps [B, H, W, C] to the same shape."""
        queries = _places(self.theta(x, training=training))
        keys = _places(_pooled(self.phi(x, training=training)))
        values = _places(_pooled(self.g(x, training=training)))
        scores = tf.matmul(queries, keys, transpose_b=True)
        shares = tf.nn.softmax(tf.cast(scores, tf.float32))
        found = tf.matmul(tf.cast(shares, x.dtype), values)
        shape = tf.concat([tf.shape(x)[:-1], [self.g.filters]], 0)
        found = tf.reshape(found, shape)
        found.set_shape([*x.shape[:-1], self.g.filters])
        found = self.o(found, training=training)
        return tf.cast(self.gamma, x.dtype) * found + x


def _pooled(x):
    return tf.nn.max_pool2d(x, 2, 2, "VALID")


def _places(x):
    return tf.reshape(x, [tf.shape(x)[0], -1, x.shape[-1]])
