"""The discriminator: how real a picture of a class looks."""

import keras
import tensorflow as tf

from tfdl.models.biggan import inputs as network_inputs
from tfdl.models.biggan.attention import SelfAttention
from tfdl.models.biggan.deep_discriminator import DeepDownBlock
from tfdl.models.biggan.plans import DiscriminatorConfig
from tfdl.models.biggan.remat import run
from tfdl.models.biggan.resampling import halved
from tfdl.models.biggan.spectral import Convolution, Linear, Table, Weights


class DownBlock(keras.layers.Layer):
    """A residual block: [ReLU], 3x3, ReLU, 3x3, [halve].

    Args:
        config: the discriminator's.
        index: which block.
        weights: start and normalisation of the kernels.
    """

    def __init__(
        self, config: DiscriminatorConfig, index: int, weights: Weights, **kwargs
    ):
        super().__init__(autocast=False, **kwargs)
        _, outputs, self.down = config.blocks[index]
        # The first block sees pictures, which a ReLU would spoil.
        self.activates = index > 0
        hidden = config.hidden(index)
        self.conv1 = Convolution(hidden, 3, weights, name="conv1")
        self.conv2 = Convolution(outputs, 3, weights, name="conv2")
        self.conv_sc = None
        if config.projects(index):
            self.conv_sc = Convolution(outputs, 1, weights, name="conv_sc")

    def build(self, input_shape):
        """Makes the weights for pictures [B, H, W, in]."""
        self.conv1.build(input_shape)
        self.conv2.build((*input_shape[:-1], self.conv1.filters))
        if self.conv_sc is not None:
            self.conv_sc.build(input_shape)

    def call(self, x, training=False):
        """Maps [B, H, W, in] to [B, H/2, W/2, out], or [B, H, W, out]."""
        y = tf.nn.relu(x) if self.activates else x
        y = tf.nn.relu(self.conv1(y, training=training))
        y = self.conv2(y, training=training)
        # Averaging and a 1x1 convolution may change places.
        if self.down:
            x, y = halved(x), halved(y)
        if self.conv_sc is not None:
            x = self.conv_sc(x, training=training)
        return y + x


class Discriminator(keras.Model):
    """BigGAN's discriminator with projection, the deep one's too.

    `discriminator({"image": x, "label": y})` takes pictures [B, H, W, C] in [-1, 1]
    and classes, int [B] or weights [B, classes], and returns `"logits"`, float32 [B].
    In training the vectors of spectral normalisation move.

    Args:
        config: the architecture.
        empty: weights start at 0: they are about to be loaded.
    """

    def __init__(self, config: DiscriminatorConfig, empty: bool = False, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config = config
        start = "zeros" if empty else config.initialisation
        weights = Weights(config.spectral, start)
        self.input_conv = None
        if config.kind == "deep":
            stem = config.blocks[0][0]
            self.input_conv = Convolution(stem, 3, weights, name="input_conv")
        block = DeepDownBlock if config.kind == "deep" else DownBlock
        self.blocks = [
            block(config, i, weights, name=f"block_{i}")
            for i in range(len(config.blocks))
        ]
        self.attention = [
            SelfAttention(config.blocks[i][1], weights, name=f"attention_{i}")
            for i in config.attention
        ]
        last = config.blocks[-1][1]
        self.linear = Linear(1, weights, name="linear")
        self.embed = None
        if config.projection:
            classes = config.num_classes
            self.embed = Table(classes, last, weights, normalised=True, name="embed")

    def build(self, input_shape=None):
        """Makes all weights."""
        del input_shape
        config = self.config
        if self.input_conv is not None:
            self.input_conv.build((None, None, None, config.image_channels))
        for block, (channels, _, _) in zip(self.blocks, config.blocks, strict=True):
            block.build((None, None, None, channels))
        for layer in self.attention:
            layer.build((None, None, None, layer.channels))
        self.linear.build((None, config.blocks[-1][1]))
        if self.embed is not None:
            self.embed.build()

    def __call__(self, inputs, training=False, **kwargs):
        """Runs the network; see the class.

        Raises:
            UserError: an input of another shape, or a class that is not there.
        """
        inputs = network_inputs.of_discriminator(inputs, self.config)
        return super().__call__(inputs, training=training, **kwargs)

    def call(self, inputs, training=False):
        """See the class."""
        x = tf.cast(inputs["image"], self.compute_dtype)
        remat = self.config.remat and training
        if self.input_conv is not None:
            x = self.input_conv(x, training=training)
        attention = dict(zip(self.config.attention, self.attention, strict=True))
        for i, block in enumerate(self.blocks):
            x = run(block, x, remat=remat, training=training)
            if i in attention:
                x = run(attention[i], x, remat=remat, training=training)
        x = tf.reduce_sum(tf.cast(tf.nn.relu(x), tf.float32), [1, 2])
        logits = self.linear(x, training=training)[:, 0]
        if self.embed is not None:
            rows = self.embed(inputs["label"], training=training)
            logits += tf.reduce_sum(rows * x, 1)
        return {"logits": logits}
