"""The discriminator (Karras et al. 2017, table 2, with blur before resampling)."""

from collections.abc import Mapping

import keras
import tensorflow as tf

from tfdl.engine.errors import UserError
from tfdl.models.stylegan import layers
from tfdl.models.stylegan import lod as detail
from tfdl.models.stylegan.config import DiscriminatorConfig
from tfdl.models.stylegan.mapping import one_hot


class Block(keras.layers.Layer):
    """Two convolutions; the second halves the picture.

    Args:
        features: channels that come in.
        outputs: channels that come out.
        nonlinearity: "lrelu" or "relu".
        use_wscale: the equalised learning rate.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        nonlinearity: str,
        use_wscale: bool,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.nonlinearity = nonlinearity
        self.conv0 = layers.Conv(features, use_wscale=use_wscale, name="conv0")
        self.conv1 = layers.Conv(
            outputs, resample="down", use_wscale=use_wscale, name="conv1"
        )

    def build(self, input_shape):
        """Makes all weights."""
        self.conv0.build(input_shape)
        self.conv1.build((None, None, None, self.conv0.filters))

    def call(self, x):
        """Maps [B, H, W, in] to [B, H/2, W/2, out]."""
        x = layers.activate(self.conv0(x), self.nonlinearity)
        return layers.activate(self.conv1(layers.blur(x)), self.nonlinearity)


class Discriminator(keras.Model):
    """Scores pictures: large for those that look real.

    Args:
        config: the architecture.
    """

    def __init__(self, config: DiscriminatorConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config = config
        scaling = {"use_wscale": config.use_wscale}
        features, levels = config.features, config.levels
        # From the smallest resolution to the largest.
        self.from_rgb = [
            layers.Conv(
                features(r - 1), kernel_size=1, name=f"from_rgb{1 << r}", **scaling
            )
            for r in range(2, levels + 1)
        ]
        self.blocks = [
            Block(
                features(r - 1),
                features(r - 2),
                config.nonlinearity,
                name=f"block{1 << r}",
                **scaling,
            )
            for r in range(3, levels + 1)
        ]
        self.conv = layers.Conv(features(1), name="conv4", **scaling)
        self.dense0 = layers.Dense(features(0), name="dense0", **scaling)
        self.dense1 = layers.Dense(config.outputs, gain=1.0, name="dense1", **scaling)

    def build(self, input_shape=None):
        """Makes all weights."""
        del input_shape
        config = self.config
        for conv in self.from_rgb:
            conv.build((None, None, None, config.num_channels))
        for i, block in enumerate(self.blocks):
            block.build((None, None, None, self.from_rgb[i + 1].filters))
        extra = config.mbstd_num_features if config.has_deviation else 0
        self.conv.build((None, None, None, config.features(1) + extra))
        self.dense0.build((None, 16 * config.features(1)))
        self.dense1.build((None, config.features(0)))

    def call(self, images, label=None, lod=0.0, stage=None, slices=1):
        """Returns scores [B, 1], float32.

        Args:
            images: [B, H, W, C] in [-1, 1], of the full resolution, or of the one in
                use (full >> stage). A dict with "image" and "label" gives
                {"scores"}.
            label: int [B] or one-hot [B, classes]; only of a conditional network.
            lod: as in `Synthesis.call`.
            stage: the same.
            slices: see `layers.minibatch_deviation`.
        """
        if isinstance(images, Mapping):
            found = self.call(images["image"], images.get("label"), lod, stage, slices)
            return {"scores": found}
        config = self.config
        stage, fade = detail.split(lod, stage, config.levels)
        images = self._native(tf.cast(images, self.compute_dtype), stage)
        last = config.levels - 2 - stage
        x = self._enter(last, images)
        for i in range(last - 1, -1, -1):
            x = self.blocks[i](x)
            fading = not (isinstance(fade, float) and fade == 0.0)
            if i == last - 1 and fading:
                below = self._enter(i, layers.downsample(images))
                x = layers.lerp(x, below, fade)
        if config.has_deviation:
            x = layers.minibatch_deviation(
                x, config.mbstd_group_size, config.mbstd_num_features, slices
            )
        x = layers.activate(self.conv(x), config.nonlinearity)
        x = tf.reshape(x, [-1, 16 * config.features(1)])
        x = layers.activate(self.dense0(x), config.nonlinearity)
        scores = tf.cast(self.dense1(x), tf.float32)
        if config.label_size:
            chosen = one_hot(label, config.label_size, tf.float32)
            scores = tf.reduce_sum(scores * chosen, 1, keepdims=True)
        return scores

    def _enter(self, i: int, images: tf.Tensor) -> tf.Tensor:
        return layers.activate(self.from_rgb[i](images), self.config.nonlinearity)

    def _native(self, images: tf.Tensor, stage: int) -> tf.Tensor:
        config = self.config
        full, native = config.resolution, config.resolution >> stage
        size = tuple(images.shape[1:])
        for side in (full, native):
            if size == (side, side, config.num_channels):
                return layers.downsample(images, side // native)
        raise UserError(
            f"pictures have to be [batch, {full}, {full}, {config.num_channels}]"
            f"{f' or of {native} pixels' if stage else ''}, got {list(images.shape)}"
        )
