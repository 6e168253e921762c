"""The generator: from z and a class to a picture."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfdl.models.biggan import inputs as network_inputs
from tfdl.models.biggan.attention import SelfAttention
from tfdl.models.biggan.conditional_norm import ConditionalNorm, OutputNorm, Rows
from tfdl.models.biggan.deep_generator import DeepUpBlock
from tfdl.models.biggan.plans import GeneratorConfig
from tfdl.models.biggan.remat import run
from tfdl.models.biggan.resampling import doubled
from tfdl.models.biggan.spectral import Convolution, Linear, Table, Weights
from tfdl.models.biggan.up_convolution import UpConvolution


class UpBlock(keras.layers.Layer):
    """A residual block: normalise, ReLU, [double], 3x3; normalise, ReLU, 3x3.

    Args:
        config: the generator's.
        outputs: channels that come out.
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
        self.up = up
        self.bn1 = ConditionalNorm(config, weights, name="bn1")
        self.bn2 = ConditionalNorm(config, weights, name="bn2")
        self.conv1 = UpConvolution(outputs, 3, weights, up=up, name="conv1")
        self.conv2 = Convolution(outputs, 3, weights, name="conv2")
        self.conv_sc = Convolution(outputs, 1, weights, name="conv_sc")

    def build(self, input_shape):
        """Makes the weights for pictures [B, H, W, in]."""
        self.bn1.build(input_shape)
        self.conv1.build(input_shape)
        self.conv_sc.build(input_shape)
        inner = (*input_shape[:-1], self.conv1.filters)
        self.bn2.build(inner)
        self.conv2.build(inner)

    def call(self, x, condition, rows=None, training=False):
        """Maps [B, H, W, in] to [B, 2H, 2W, out]."""
        y = tf.nn.relu(self.bn1(x, condition, rows=rows, training=training))
        y = self.conv1(y, training=training)
        y = tf.nn.relu(self.bn2(y, condition, rows=rows, training=training))
        y = self.conv2(y, training=training)
        # A 1x1 convolution sees one place: it may come before the doubling.
        x = self.conv_sc(x, training=training)
        return y + (doubled(x) if self.up else x)


class Generator(keras.Model):
    """BigGAN's generator, the deep one's too.

    `generator({"z": z, "label": y, "truncation": t})` takes z [B, dim_z] as it is
    (already truncated), classes as int [B] or as weights [B, classes], and returns
    `"image"`, float32 [B, H, W, C] in [-1, 1]. Instead of classes, `"embedding"` takes
    what `embed` gives, or a mixture of such. The truncation, a number or [B], says
    which statistics to use where they are in a table; 1 by default.

    In training, statistics are those of the batch, running ones move, and so do the
    vectors of spectral normalisation.

    Args:
        config: the architecture.
        empty: weights start at 0: they are about to be loaded.
    """

    def __init__(self, config: GeneratorConfig, empty: bool = False, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config = config
        self.set_companion(lambda: None)
        start = "zeros" if empty else config.initialisation
        weights = Weights(config.spectral, start)
        self.shared = None
        if config.shared_dim:
            self.shared = Table(
                config.num_classes, config.shared_dim, weights, name="shared"
            )
        first = config.blocks[0][0] * config.bottom_width**2
        self.linear = Linear(first, weights, name="linear")
        block = DeepUpBlock if config.kind == "deep" else UpBlock
        self.blocks = [
            block(config, outputs, up, weights, name=f"block_{i}")
            for i, (_, outputs, up) in enumerate(config.blocks)
        ]
        self.attention = [
            SelfAttention(channels, weights, name=f"attention_{i}")
            for i, channels in enumerate(config.attention_channels())
        ]
        self.output_norm = OutputNorm(config, name="output_norm")
        self.to_rgb = Convolution(config.last_filters, 3, weights, name="to_rgb")

    def build(self, input_shape=None):
        """Makes all weights."""
        del input_shape
        config = self.config
        if self.shared is not None:
            self.shared.build()
        self.linear.build((None, config.first_inputs))
        for block, (channels, _, _) in zip(self.blocks, config.blocks, strict=True):
            block.build((None, None, None, channels))
        for layer in self.attention:
            layer.build((None, None, None, layer.channels))
        last = (None, None, None, config.blocks[-1][1])
        self.output_norm.build(last)
        self.to_rgb.build(last)

    def set_companion(self, load: Callable[[], keras.Model | None]) -> None:
        """Says how the discriminator of the same model is loaded."""
        self._companion = functools.cache(load)

    # A property would be a part of the model to Keras, which looks at all of them.
    def load_discriminator(self) -> keras.Model | None:
        """Returns the discriminator of the same model directory, if there is one."""
        return self._companion()

    def __call__(self, inputs, training=False, **kwargs):
        """Runs the network; see the class.

        Raises:
            UserError: an input of another shape, a class that is not there, or a
                truncation outside (0, 1].
        """
        inputs = network_inputs.of_generator(inputs, self.config)
        return super().__call__(inputs, training=training, **kwargs)

    def call(self, inputs, training=False):
        """See the class."""
        embedding = inputs.get("embedding")
        if embedding is None:
            embedding = self.embed(inputs["label"])
        image = self.synthesis(
            inputs["z"], embedding, inputs["truncation"], training=training
        )
        return {"image": image}

    def embed(self, labels) -> tf.Tensor:
        """Maps classes, int [B] or weights [B, classes], to [B, shared_dim].

        Without a shared embedding it returns the classes: every block has its own.
        """
        labels = network_inputs.labels(labels, self.config.num_classes)
        return labels if self.shared is None else self.shared(labels)

    def synthesis(
        self, z, embedding, truncation: Any = 1.0, training: bool = False
    ) -> tf.Tensor:
        """Maps z [B, dim_z] and embedded classes to pictures in [-1, 1]."""
        rows = None
        if self.config.statistics == "table":
            config = self.config
            rows = Rows(truncation, config.num_statistics, config.interpolation)
        first, conditions = self.conditions(z, embedding)
        x = self.linear(tf.cast(first, self.compute_dtype), training=training)
        size = self.config.bottom_width
        x = tf.reshape(x, [-1, size, size, self.config.blocks[0][0]])
        attention = dict(zip(self.config.attention, self.attention, strict=True))
        if -1 in attention:
            x = attention[-1](x, training=training)
        remat = self.config.remat and training
        for i, (block, condition) in enumerate(
            zip(self.blocks, conditions, strict=True)
        ):
            x = run(block, x, condition, remat=remat, rows=rows, training=training)
            if i in attention:
                x = run(attention[i], x, remat=remat, training=training)
        x = tf.nn.relu(self.output_norm(x, rows=rows, training=training))
        x = self.to_rgb(x, training=training)[..., : self.config.image_channels]
        return tf.tanh(tf.cast(x, tf.float32))

    def conditions(self, z, embedding) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns the first layer's input and every block's condition."""
        count = len(self.blocks)
        if not self.config.hierarchical:
            return z, [embedding] * count
        if self.config.kind == "deep":
            whole = tf.concat([embedding, z], 1)
            return whole, [whole] * count
        first, *rest = tf.split(z, count + 1, axis=1)
        return first, [tf.concat([embedding, part], 1) for part in rest]
