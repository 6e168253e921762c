"""ResNet (He et al. 2015, in the v1.5 form of the 2018 recipe)."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdl.engine import errors, files
from tfdl.engine import model_dir as directory
from tfdl.models.imagenet18.blocks import Block, ConvNorm
from tfdl.models.imagenet18.network import ResNetConfig


class Classifier(keras.layers.Layer):
    """The fully connected layer: features @ kernel + bias.

    Args:
        classes: outputs.
        small: the kernel starts from N(0, 0.01) instead of torch's uniform.
    """

    def __init__(self, classes: int, small: bool, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.classes, self.small = classes, small

    def build(self, input_shape):
        """Makes kernel [in, classes] and bias [classes]."""
        bound = input_shape[-1] ** -0.5
        uniform = keras.initializers.RandomUniform(-bound, bound)
        normal = keras.initializers.RandomNormal(stddev=0.01)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.classes),
            initializer=normal if self.small else uniform,
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.classes,), initializer=uniform
        )

    def call(self, x):
        """Maps [B, in] to [B, classes]."""
        return tf.nn.bias_add(
            tf.matmul(x, tf.cast(self.kernel, x.dtype)), tf.cast(self.bias, x.dtype)
        )


class ResNet(keras.Model):
    """A ResNet of any depth and width, on pictures of any size from 1x1 on.

    `model({"image": x})` takes normalised pictures [B, H, W, 3] and returns float32
    `"logits"` [B, classes] and `"features"` [B, channels], the mean over the last
    stage.

    Args:
        config: the architecture.
        folded: batch normalisation is part of the convolutions: for inference, made
            by `fold`.
    """

    def __init__(self, config: ResNetConfig, folded: bool = False, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config, self.folded = config, folded
        if config.stem == "plain":
            shapes = [(config.stem_width, 7, 2, 3)]
        else:
            deep = config.deep_stem_width
            shapes = [
                (deep, 3, 2, 3),
                (deep, 3, 1, deep),
                (config.stem_width, 3, 1, deep),
            ]
        self.stem = [
            ConvNorm(config, *shape, folded=folded, name=f"stem_{i}")
            for i, shape in enumerate(shapes)
        ]
        self.stages = []
        inputs = config.stem_width
        for stage, count in enumerate(config.blocks):
            blocks = []
            for i in range(count):
                name = f"layer{stage + 1}_{i}"
                blocks.append(Block(config, stage, i, inputs, folded, name=name))
                inputs = config.widths[stage] * config.expansion
            self.stages.append(blocks)
        self.fc = Classifier(config.num_classes, config.zero_gamma, name="fc")

    def build(self, input_shape=None):
        """Makes all weights; they do not depend on the pictures' size."""
        del input_shape
        channels = 3
        for unit in self.stem:
            unit.build((None, None, None, channels))
            channels = unit.conv.filters
        for blocks in self.stages:
            for block in blocks:
                block.build((None, None, None, channels))
                channels = block.units[-1].conv.filters
        self.fc.build((None, channels))

    def call(self, inputs, training=False):
        """Maps {"image"} to {"logits", "features"}; see the class."""
        features = self.vectors(inputs["image"], training)
        logits = self.fc(tf.cast(features, self.compute_dtype))
        return {"logits": tf.cast(logits, tf.float32), "features": features}

    def body(self) -> list[keras.layers.Layer]:
        """Returns the layers that `vectors` needs."""
        return [*self.stem, *(block for blocks in self.stages for block in blocks)]

    def vectors(self, images, training=False):
        """Maps normalised pictures [B, H, W, 3] to the last stage's mean [B, F]."""
        x = tf.cast(images, self.compute_dtype)
        for unit in self.stem:
            x = unit(x, training=training)
        # Nothing is below 0 here, so that zeros around the picture are never the
        # largest; XLA knows no pooling with padding of its own.
        x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
        for blocks in self.stages:
            for block in blocks:
                x = block(x, training=training)
        return tf.reduce_mean(tf.cast(x, tf.float32), [1, 2])


def build_model(
    config: ResNetConfig | Mapping[str, Any], *, folded: bool = False
) -> ResNet:
    """Returns a built ResNet with random weights.

    Args:
        config: the architecture: a `ResNetConfig`, its dict (with a `preset`, if you
            like), or the `config.json` of a model directory.
        folded: see `ResNet`.
    """
    if not isinstance(config, ResNetConfig):
        config = ResNetConfig.from_dict(config.get("network", config))
    model = ResNet(config, folded)
    model.build()
    return model


def from_config(config: Mapping[str, Any], model_dir: str | pathlib.Path) -> ResNet:
    """Returns the built model of a model directory; its weights are still random.

    Raises:
        UserError: the configuration asks for far more than the weights file holds:
            found before memory is asked for.
    """
    weights = files.require_file(pathlib.Path(model_dir) / directory.WEIGHTS)
    network = config.get("network")
    if not isinstance(network, Mapping):
        raise errors.UserError(f"{model_dir}: {directory.CONFIG} has no 'network'")
    wanted, held = ResNetConfig.from_dict(network), weights.stat().st_size
    if 4 * wanted.num_parameters() > held:
        raise errors.UserError(
            f"{weights} has {held:,} bytes, too few for the "
            f"{wanted.num_parameters():,} weights that {directory.CONFIG} asks for"
        )
    return build_model(wanted)


def fold(model: ResNet) -> ResNet:
    """Returns the same network for inference, normalisation inside the convolutions.

    `gamma / sqrt(variance + epsilon)` goes into each kernel, the rest into a bias:
    computed in float64, so that outputs differ by float32 rounding alone.
    """
    config = dataclasses.replace(model.config, conv_bias=False)
    result = build_model(config, folded=True)
    for old, new in zip(units(model), units(result), strict=True):
        norm = old.norm
        gamma, beta, mean, variance = (
            weight.numpy().astype("float64")
            for weight in (
                norm.gamma,
                norm.beta,
                norm.moving_mean,
                norm.moving_variance,
            )
        )
        scale = gamma / np.sqrt(variance + config.epsilon)
        bias = 0.0 if old.conv.bias is None else old.conv.bias.numpy()
        new.conv.kernel.assign(old.conv.kernel.numpy() * scale)
        new.conv.bias.assign(beta + (bias - mean) * scale)
    result.fc.kernel.assign(model.fc.kernel)
    result.fc.bias.assign(model.fc.bias)
    return result


def units(model: ResNet) -> list[ConvNorm]:
    """Returns every convolution of a model with what follows it, in order."""
    found = list(model.stem)
    for blocks in model.stages:
        for block in blocks:
            found += block.units
            if block.projection is not None:
                found.append(block.projection)
    return found
