"""A convolution of a picture of twice the size."""

import tensorflow as tf

from tfdl.models.biggan.resampling import doubled_convolution
from tfdl.models.biggan.spectral import Convolution, Weights, used


class UpConvolution(Convolution):
    """A 3x3 convolution that sees its input doubled, if told so.

    Args:
        filters: outputs.
        size: of the kernel.
        weights: start and normalisation of the kernel.
        up: whether the size doubles.
    """

    def __init__(
        self, filters: int, size: int, weights: Weights, up: bool = True, **kwargs
    ):
        super().__init__(filters, size, weights, **kwargs)
        self.up = up

    def call(self, x, training=False):
        """Maps [B, H, W, in] to [B, 2H, 2W, filters]."""
        if not self.up:
            return super().call(x, training=training)
        kernel = used(self.kernel, self.norm, x.dtype, training)
        x = doubled_convolution(x, kernel)
        return tf.nn.bias_add(x, tf.cast(self.bias, x.dtype))
