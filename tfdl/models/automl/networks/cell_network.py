"""NASNet, AmoebaNet and any other network of two repeated cells."""

from typing import Any

import keras
import tensorflow as tf

from tfdl.layers.dropout import Dropout
from tfdl.models.automl.networks import ops
from tfdl.models.automl.networks.cells import CellLayer
from tfdl.models.automl.networks.config import CellsConfig
from tfdl.models.automl.networks.network import ImageNetwork
from tfdl.models.automl.networks.ops import Named, Style

# TF-slim's names of the stem's convolution and its normalisation.
STEM_NAMES = {"cifar": ("l1_stem_3x3", "l1_stem_bn"), "imagenet": ("conv0", "conv0_bn")}


def style_of(config: CellsConfig) -> Style:
    """Returns what all layers of a network have in common."""
    return Style(
        epsilon=config.epsilon,
        momentum=config.momentum,
        unbiased=config.unbiased_moving_variance,
        synchronised=config.synchronised,
        initializer=config.initializer,
        zero_padded_pools=config.zero_padded_pools,
    )


class Dense(keras.layers.Layer):
    """The classifier: features @ kernel + bias, float32.

    Args:
        style: of the network.
        classes: outputs.
        use_bias: whether there is a bias.
    """

    def __init__(self, style: Style, classes: int, use_bias: bool = True, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.style, self.classes, self.use_bias = style, classes, use_bias

    def build(self, input_shape):
        """Makes kernel [in, classes] and bias [classes]."""
        shape = (input_shape[-1], self.classes)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.style.kernel(shape)
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.classes,), initializer="zeros"
            )

    def call(self, x):
        """Maps [B, in] to [B, classes]."""
        x = tf.matmul(tf.cast(x, tf.float32), tf.convert_to_tensor(self.kernel))
        return x if self.bias is None else x + self.bias

    def named(self) -> Named:
        """Yields (name, variable)."""
        if self.bias is not None:
            yield "biases", self.bias
        yield "weights", self.kernel


class AuxiliaryHead(keras.layers.Layer):
    """A second classifier, in training only (Zoph et al. 2018, after Inception).

    Args:
        style: of the network.
        filters: of the 1x1 convolution, and of the one over the whole map.
        side: of that map.
        classes: outputs.
    """

    def __init__(
        self, style: Style, filters: tuple[int, int], side: int, classes: int, **kwargs
    ):
        super().__init__(autocast=False, **kwargs)
        first, second = filters
        self.side = side
        self.convolutions = ops.Steps(
            [
                ops.Conv(style, first, name="proj"),
                style.norm("aux_bn0"),
                ops.Relu(name="relu0"),
                ops.Conv(style, second, side, padding="VALID", name="Conv"),
                style.norm("aux_bn1"),
                ops.Relu(name="relu1"),
            ]
        )
        self.dense = Dense(style, classes, name="FC")

    def build(self, input_shape):
        """Makes all weights for maps [B, H, W, in]."""
        self.convolutions.build(input_shape)
        second = self.convolutions.compute_output_shape(input_shape)[-1]
        self.dense.build((None, second))

    def call(self, x, training=False):
        """Maps a cell's output [B, H, W, in] to logits [B, classes]."""
        x = tf.nn.avg_pool2d(tf.nn.relu(x), 5, 3, "VALID")
        if x.shape[1:3].is_fully_defined() and x.shape[1:3] != [self.side] * 2:
            raise ValueError(
                f"the auxiliary head is made for maps of {self.side}x{self.side}, not "
                f"{x.shape[1]}x{x.shape[2]}: training pictures are not of image_size"
            )
        x = self.convolutions(x, training=training)
        return self.dense(tf.reshape(x, [-1, x.shape[-1]]))

    def named(self) -> Named:
        """Yields (name, variable)."""
        yield from self.convolutions.named()
        for name, variable in self.dense.named():
            yield f"FC/{name}", variable


class CellNetwork(ImageNetwork):
    """A network of cells, on pictures of any size.

    Stem, normal cells with reduction cells between them, ReLU, mean, classifier.

    Args:
        config: the architecture.
    """

    def __init__(self, config: CellsConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config = config
        style = style_of(config)
        conv, norm = STEM_NAMES[config.stem]
        strides = {"stride": 2, "padding": "VALID"}
        strides = strides if config.stem == "imagenet" else {}
        self.stem = ops.Steps(
            [
                ops.Conv(style, config.stem_filters, 3, name=conv, **strides),
                style.norm(norm),
            ],
            name="stem",
        )
        self.cells = [
            CellLayer(
                getattr(config.genotype, place.kind), style, place, name=place.name
            )
            for place in config.places()
        ]
        self.aux_head, self.aux_after = None, ""
        if config.aux_head:
            number = config.aux_place()
            self.aux_after = f"cell_{number}"
            self.aux_head = AuxiliaryHead(
                style,
                config.aux_filters,
                config.aux_kernel(),
                config.num_classes,
                name=f"aux_{number}",
            )
        self.dropout = Dropout(1.0 - config.dropout_keep, name="dropout")
        self.classifier = Dense(style, config.num_classes, name="classifier")

    def build(self, input_shape=None):
        """Makes all weights; they do not depend on the pictures' size."""
        del input_shape
        self.stem.build((None, None, None, 3))
        for cell in self.cells:
            cell.build()
            if cell.name == self.aux_after:
                used = len(self.config.genotype.normal.used)
                self.aux_head.build((None, None, None, used * cell.place.filters))
        self.classifier.build((None, self.config.num_features))

    def forward(self, images, training, progress, auxiliary):
        """Returns the features [B, P] and the auxiliary logits, see the base class."""
        outputs = self._outputs(images, training, progress)
        aux_logits = None
        if auxiliary and self.aux_head is not None:
            names = [cell.name for cell in self.cells]
            x = outputs[names.index(self.aux_after) + 1]
            aux_logits = self.aux_head(x, training=training)
        x = tf.nn.relu(outputs[-1])
        return tf.reduce_mean(tf.cast(x, tf.float32), [1, 2]), aux_logits

    def classify(self, features, training):
        """Maps features [B, P] to logits [B, classes], float32."""
        return self.classifier(self.dropout(features, training=training))

    def cell_outputs(
        self, images: tf.Tensor, training: bool = False
    ) -> dict[str, tf.Tensor]:
        """Returns the output of the stem and of every cell by name."""
        outputs = self._outputs(images, training, None)
        return dict(zip(["stem", *(c.name for c in self.cells)], outputs, strict=True))

    def _outputs(self, images, training, progress):
        outputs = [self.stem(tf.cast(images, self.compute_dtype), training=training)]
        for number, cell in enumerate(self.cells):
            source = cell.place.source
            outputs.append(
                cell(
                    outputs[-1],
                    None if source is None else outputs[source],
                    training=training,
                    keep=self.keep(number, progress) if training else None,
                )
            )
        return outputs

    def keep(self, cell: int, progress: tf.Tensor | float | None) -> Any:
        """Returns with which probability a cell keeps a path, None for always.

        Args:
            cell: the cell, counted from 0 with the stem's and the reduction cells.
            progress: how much of the training is done; None is all of it.
        """
        config = self.config
        if config.drop_path_keep >= 1.0:
            return None
        return drop_path_keep(
            config.drop_path_keep,
            config.drop_path_version,
            (cell + 1) / config.total_cells,
            1.0 if progress is None else progress,
        )

    def named(self) -> Named:
        """Yields (name, variable) by TF-slim's names."""
        yield from self.stem.named()
        for cell in self.cells:
            for name, variable in cell.named():
                yield f"{cell.name}/{name}", variable
        if self.aux_head is not None:
            for name, variable in self.aux_head.named():
                yield f"{self.aux_head.name}/aux_logits/{name}", variable
        for name, variable in self.classifier.named():
            yield f"final_layer/FC/{name}", variable

    def body(self) -> list[keras.layers.Layer]:
        """Returns the layers that `vectors` needs."""
        return [self.stem, *self.cells]


def drop_path_keep(
    keep: float, version: str, depth: float, progress: tf.Tensor | float
) -> tf.Tensor:
    """Returns ScheduledDropPath's probability of keeping a path.

    Args:
        keep: at the end of training, in the last cell.
        version: "v1" falls with time, "v2" with depth, "v3" with both.
        depth: the cell's number, from 1, over that of all cells.
        progress: how much of the training is done; more than 1 counts as 1.
    """
    drop = 1.0 - keep
    if version != "v1":
        drop *= depth
    if version != "v2":
        drop *= tf.minimum(1.0, tf.cast(progress, tf.float32))
    return 1.0 - drop
