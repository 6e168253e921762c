"""The blocks of BigGAN-deep's generator."""

import keras
import tensorflow as tf

from tfdl.models.biggan.conditional_norm import ConditionalNorm
from tfdl.models.biggan.plans import RATIO, GeneratorConfig
from tfdl.models.biggan.resampling import doubled
from tfdl.models.biggan.spectral import Convolution, Weights
from tfdl.models.biggan.up_convolution import UpConvolution


class DeepUpBlock(keras.layers.Layer):
    """A bottleneck: 1x1 to a quarter of the width, [double], two 3x3, 1x1.

    Normalisation and ReLU come before every convolution. The shortcut keeps the first
    channels, without a convolution.

    Args:
        config: the generator's.
        outputs: channels that come out, at most those that come in.
        up: whether the size doubles.
        weights: start and normalisation of the kernels.
    """

    def __init__(
        self,
        config: GeneratorConfig,
        outputs: int,
        up: bool,
        weights: Weights,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.config, self.outputs, self.up, self.start = config, outputs, up, weights
        for i in range(1, 5):
            setattr(self, f"bn{i}", ConditionalNorm(config, weights, name=f"bn{i}"))

    def build(self, input_shape):
        """Makes the weights for pictures [B, H, W, in]."""
        channels, before = input_shape[-1], input_shape[:-1]
        hidden = channels // RATIO
        start = self.start
        self.conv1 = Convolution(hidden, 1, start, name="conv1")
        self.conv2 = UpConvolution(hidden, 3, start, up=self.up, name="conv2")
        self.conv3 = Convolution(hidden, 3, start, name="conv3")
        self.conv4 = Convolution(self.outputs, 1, start, name="conv4")
        for norm, layer in (
            (self.bn1, self.conv1),
            (self.bn2, self.conv2),
            (self.bn3, self.conv3),
            (self.bn4, self.conv4),
        ):
            norm.build((*before, channels))
            layer.build((*before, channels))
            channels = hidden

    def call(self, x, condition, rows=None, training=False):
        """Maps [B, H, W, in] to [B, 2H, 2W, out], or [B, H, W, out]."""
        y = x
        for norm, layer in (
            (self.bn1, self.conv1),
            (self.bn2, self.conv2),
            (self.bn3, self.conv3),
            (self.bn4, self.conv4),
        ):
            y = tf.nn.relu(norm(y, condition, rows=rows, training=training))
            y = layer(y, training=training)
        x = x[..., : self.outputs]
        return y + (doubled(x) if self.up else x)
