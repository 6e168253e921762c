"""The blocks of BigGAN-deep's discriminator."""

import keras
import tensorflow as tf

from tfdl.models.biggan.plans import DiscriminatorConfig
from tfdl.models.biggan.resampling import halved
from tfdl.models.biggan.spectral import Convolution, Weights


class DeepDownBlock(keras.layers.Layer):
    """A bottleneck: ReLU before 1x1, 3x3, 3x3; ReLU, [halve], 1x1.

    A wider output's shortcut is joined with a convolution's channels.

    Args:
        config: the discriminator's.
        index: which block.
        weights: start and normalisation of the kernels.
    """

    def __init__(
        self, config: DiscriminatorConfig, index: int, weights: Weights, **kwargs
    ):
        super().__init__(autocast=False, **kwargs)
        inputs, outputs, self.down = config.blocks[index]
        hidden = config.hidden(index)
        self.conv1 = Convolution(hidden, 1, weights, name="conv1")
        self.conv2 = Convolution(hidden, 3, weights, name="conv2")
        self.conv3 = Convolution(hidden, 3, weights, name="conv3")
        self.conv4 = Convolution(outputs, 1, weights, name="conv4")
        self.conv_sc = None
        if config.projects(index):
            self.conv_sc = Convolution(outputs - inputs, 1, weights, name="conv_sc")

    def build(self, input_shape):
        """Makes the weights for pictures [B, H, W, in]."""
        inner = (*input_shape[:-1], self.conv1.filters)
        self.conv1.build(input_shape)
        for layer in (self.conv2, self.conv3, self.conv4):
            layer.build(inner)
        if self.conv_sc is not None:
            self.conv_sc.build(input_shape)

    def call(self, x, training=False):
        """Maps [B, H, W, in] to [B, H/2, W/2, out], or [B, H, W, out]."""
        y = x
        for layer in (self.conv1, self.conv2, self.conv3):
            y = layer(tf.nn.relu(y), training=training)
        y = tf.nn.relu(y)
        if self.down:
            x, y = halved(x), halved(y)
        if self.conv_sc is not None:
            x = tf.concat([x, self.conv_sc(x, training=training)], -1)
        return self.conv4(y, training=training) + x
