"""Networks of the first space: convolutions with skip connections (Zoph & Le 2017)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdl.engine import errors
from tfdl.layers.dropout import Dropout
from tfdl.models.automl.networks import ops
from tfdl.models.automl.networks.cell_network import Dense
from tfdl.models.automl.networks.network import (
    MOST,
    ImageNetwork,
    check_fields,
    from_fields,
)
from tfdl.models.automl.networks.ops import Named, Style
from tfdl.models.automl.spaces import genotypes
from tfdl.models.automl.spaces.zoph_conv import ConvNet


@dataclasses.dataclass(frozen=True)
class ZophConvConfig:
    """A network of convolutions.

    Attributes:
        genotype: the layers, see `ConvNet.to_dict`.
        num_classes: outputs.
        extra_filters: more outputs of every convolution; the paper added 40 to its
            best network.
        pool_after: layers, from 0, whose outputs go through a 2x2 maximum.
        dropout_keep: before the classifier.
        epsilon: of batch normalisation.
        momentum: part of the moving statistics that stays in each step.
        synchronised: batch statistics are those of the global batch.
    """

    genotype: ConvNet
    num_classes: int = 10
    extra_filters: int = 0
    pool_after: tuple[int, ...] = ()
    dropout_keep: float = 1.0
    epsilon: float = 1e-5
    momentum: float = 0.9
    synchronised: bool = False

    def __post_init__(self):
        given = self.genotype
        if hasattr(given, "items"):
            given = genotypes.from_dict(dict(given.items()))
        if not isinstance(given, ConvNet):
            raise errors.UserError(
                f"a network of convolutions needs a genotype of them, got {given!r}"
            )
        object.__setattr__(self, "genotype", given)
        object.__setattr__(self, "pool_after", tuple(self.pool_after))
        check_fields(self, {"num_classes": 1, "extra_filters": 0})
        layers = range(len(given.layers))
        if not set(self.pool_after) <= set(layers):
            raise errors.UserError(
                f"network.pool_after={list(self.pool_after)}: allowed are layers 0 to "
                f"{len(given.layers) - 1}"
            )
        if max(self.outputs(i) for i in layers) > MOST:
            raise errors.UserError(f"a layer has more than {MOST:,} filters")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ZophConvConfig":
        """Returns the configuration in a dict.

        Raises:
            UserError: an unknown field, or a value that makes no sense.
        """
        return from_fields(cls, values, "a network of convolutions")

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON's types."""
        values = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        values["genotype"] = self.genotype.to_dict()
        values["pool_after"] = list(self.pool_after)
        return {"kind": "zoph_conv", **values}

    def name(self) -> str:
        """Returns "custom": none of these networks is published."""
        return "custom"

    def outputs(self, layer: int) -> int:
        """Returns how many channels a layer makes."""
        return self.genotype.layers[layer].filters + self.extra_filters

    def inputs(self, layer: int) -> int:
        """Returns how many channels a layer reads."""
        read = self.genotype.layers[layer].inputs
        return sum(map(self.outputs, read)) if read else 3

    @property
    def num_features(self) -> int:
        """Channels of the loose ends together."""
        return sum(map(self.outputs, self.genotype.loose_ends()))

    def fewest_parameters(self) -> int:
        """Returns the number of weights in kernels."""
        kernels = sum(
            layer.height * layer.width * self.inputs(i) * self.outputs(i)
            for i, layer in enumerate(self.genotype.layers)
        )
        return kernels + self.num_features * self.num_classes


class ZophConvNetwork(ImageNetwork):
    """Convolutions, each followed by batch normalisation and ReLU.

    A layer reads the concatenation of its inputs, smaller ones with zeros below and to
    the right; one without inputs reads the picture. The classifier sees the mean of
    the concatenation of all layers that no other reads.

    Args:
        config: the architecture.
    """

    def __init__(self, config: ZophConvConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config = config
        style = Style(config.epsilon, config.momentum, True, config.synchronised)
        self.convolutions = []
        for i, layer in enumerate(config.genotype.layers):
            steps = [
                ops.Conv(
                    style,
                    config.outputs(i),
                    (layer.height, layer.width),
                    (layer.stride_height, layer.stride_width),
                    name="conv",
                ),
                style.norm("bn"),
                ops.Relu(name="relu"),
            ]
            if i in config.pool_after:
                steps.append(ops.Pool("max", 2, 2, name="pool"))
            self.convolutions.append(ops.Steps(steps, name=f"layer_{i}"))
        self.dropout = Dropout(1.0 - config.dropout_keep, name="dropout")
        self.classifier = Dense(style, config.num_classes, name="classifier")

    def build(self, input_shape=None):
        """Makes all weights; they do not depend on the pictures' size."""
        del input_shape
        for i, convolution in enumerate(self.convolutions):
            convolution.build((None, None, None, self.config.inputs(i)))
        self.classifier.build((None, self.config.num_features))

    def forward(self, images, training, progress, auxiliary):
        """Returns the features [B, P]; there is no auxiliary head."""
        del progress, auxiliary
        images = tf.cast(images, self.compute_dtype)
        genotype, outputs = self.config.genotype, []
        for layer, convolution in zip(genotype.layers, self.convolutions, strict=True):
            x = images
            if layer.inputs:
                x = concatenated([outputs[j] for j in layer.inputs])
            outputs.append(convolution(x, training=training))
        x = concatenated([outputs[j] for j in genotype.loose_ends()])
        return tf.reduce_mean(tf.cast(x, tf.float32), [1, 2]), None

    def classify(self, features, training):
        """Maps features [B, P] to logits [B, classes], float32."""
        return self.classifier(self.dropout(features, training=training))

    def named(self) -> Named:
        """Yields (name, variable)."""
        for layer in (*self.convolutions, self.classifier):
            for name, variable in layer.named():
                yield f"{layer.name}/{name}", variable

    def body(self) -> list[keras.layers.Layer]:
        """Returns the layers that `vectors` needs."""
        return list(self.convolutions)


def concatenated(maps: Sequence[tf.Tensor]) -> tf.Tensor:
    """Concatenates maps [B, H, W, C] in depth, smaller ones filled up with zeros."""
    if len(maps) == 1:
        return maps[0]
    shapes = [tf.shape(x) for x in maps]
    size = tf.reduce_max(tf.stack(shapes)[:, 1:3], 0)
    filled = []
    for x, shape in zip(maps, shapes, strict=True):
        after = size - shape[1:3]
        edges = [[0, 0], [0, after[0]], [0, after[1]], [0, 0]]
        filled.append(tf.pad(x, edges))
    known = [x.shape[1:3].as_list() for x in maps]
    result = tf.concat(filled, -1)
    if not any(side is None for sides in known for side in sides):
        largest = [max(sides) for sides in zip(*known, strict=True)]
        result.set_shape([maps[0].shape[0], *largest, result.shape[-1]])
    return result
