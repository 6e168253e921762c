"""Networks of ENAS's macro space, with weights of their own (Pham et al. 2018, 2.3)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfdl.engine import errors
from tfdl.layers.dropout import Dropout
from tfdl.models.automl.networks import ops
from tfdl.models.automl.networks.cell_network import Dense
from tfdl.models.automl.networks.network import (
    ImageNetwork,
    check_fields,
    from_fields,
)
from tfdl.models.automl.networks.ops import Named, Style
from tfdl.models.automl.spaces import genotypes
from tfdl.models.automl.spaces.enas import MacroNet


@dataclasses.dataclass(frozen=True)
class MacroConfig:
    """A network of ENAS's layers.

    Attributes:
        genotype: the layers, see `MacroNet.to_dict`, or a published one's name.
        num_classes: outputs.
        filters: of the first third of the layers; they double twice.
        separable: whether separable convolutions are. The authors' code for the final
            training makes plain ones of them, and so are the published results.
        dropout_keep: before the classifier.
        epsilon: of batch normalisation.
        momentum: part of the moving statistics that stays in each step.
        synchronised: batch statistics are those of the global batch.
    """

    genotype: MacroNet
    num_classes: int = 10
    filters: int = 96
    separable: bool = False
    dropout_keep: float = 0.5
    epsilon: float = 1e-5
    momentum: float = 0.9
    synchronised: bool = False

    def __post_init__(self):
        given = self.genotype
        if isinstance(given, str):
            given = genotypes.published(given)
        elif hasattr(given, "items"):
            given = genotypes.from_dict(dict(given.items()))
        if not isinstance(given, MacroNet):
            raise errors.UserError(
                f"a network of ENAS's layers needs a genotype of them, got {given!r}"
            )
        object.__setattr__(self, "genotype", given)
        if len(given.layers) < 3:
            raise errors.UserError(
                f"a network of ENAS's layers has 3 or more, not {len(given.layers)}"
            )
        check_fields(self, {"num_classes": 1, "filters": 2})
        if self.filters % 2:
            raise errors.UserError(
                f"network.filters={self.filters}: an even number is needed, "
                "factorised reductions halve it"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MacroConfig":
        """Returns the configuration in a dict.

        Raises:
            UserError: an unknown field, or a value that makes no sense.
        """
        return from_fields(cls, values, "a network of ENAS's layers")

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON's types."""
        values = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        return {"kind": "enas_macro", **values, "genotype": self.genotype.to_dict()}

    def name(self) -> str:
        """Returns "enas_macro", or "custom" of others than the published layers."""
        published = genotypes.published("enas_macro")
        return "enas_macro" if self.genotype == published else "custom"

    def pools(self) -> tuple[int, int]:
        """Returns the layers behind which everything is halved."""
        third = len(self.genotype.layers) // 3
        return third - 1, 2 * third - 1

    def width(self, layer: int) -> int:
        """Returns the filters of a layer."""
        return self.filters << sum(layer > pool for pool in self.pools())

    @property
    def num_features(self) -> int:
        """Channels of the last layer, halved if that is where halving happens."""
        return self.width(len(self.genotype.layers))

    def fewest_parameters(self) -> int:
        """Returns a number of weights that the network has more than."""
        layers = range(len(self.genotype.layers))
        kernels = sum(self.width(i) ** 2 for i in layers)
        return kernels + self.num_features * self.num_classes


class MacroNetwork(ImageNetwork):
    """A stem and layers; after a third and two thirds of them everything is halved.

    A layer's op is ReLU, 1x1 convolution, normalisation, then ReLU, the convolution
    proper, normalisation, or a pool. With every layer but the first the op's output
    and those of the chosen earlier layers are concatenated and go through ReLU, 1x1
    convolution, normalisation. What is halved goes through a factorised reduction of
    its own, if a later layer reads it.

    Args:
        config: the architecture.
    """

    def __init__(self, config: MacroConfig, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.config = config
        style = Style(config.epsilon, config.momentum, True, config.synchronised)
        filters, layers = config.filters, config.genotype.layers
        self.stem = ops.Steps(
            [ops.Conv(style, filters, 3, name="conv"), style.norm("bn")], name="stem"
        )
        self.ops, self.skips = [], []
        self.reductions: dict[str, ops.FactorizedReduction] = {}
        for i, (op, inputs) in enumerate(layers):
            width = config.width(i)
            self.ops.append(self._op(style, op, width, f"layer_{i}"))
            name = f"layer_{i}_skip"
            self.skips.append(ops.project(style, width, name=name) if i else None)
            if i in config.pools():
                later = {j for _, inputs in layers[i + 1 :] for j in inputs}
                for j in sorted(later & set(range(i + 1)) | {i + 1}):
                    name = f"pool_at_{i}_from_{j}"
                    self.reductions[name] = ops.FactorizedReduction(
                        style, config.width(i + 1), False, name=name
                    )
        self.dropout = Dropout(1.0 - config.dropout_keep, name="dropout")
        self.classifier = Dense(
            style, config.num_classes, use_bias=False, name="classifier"
        )

    def _op(self, style: Style, op: str, width: int, name: str) -> ops.Steps:
        kind, size = op.split("_")
        size = int(size[0])
        first = [
            ops.Relu(name="relu_1x1"),
            ops.Conv(style, width, name="conv_1x1"),
            style.norm("bn_1x1"),
        ]
        if kind in ("avg", "max"):
            return ops.Steps([*first, ops.Pool(kind, size, 1, name="pool")], name=name)
        make = ops.Conv
        if kind == "sep" and self.config.separable:
            make = ops.Separable
        second = [ops.Relu(name="relu"), make(style, width, size, name="conv")]
        return ops.Steps([*first, *second, style.norm("bn")], name=name)

    def build(self, input_shape=None):
        """Makes all weights; they do not depend on the pictures' size."""
        del input_shape
        config = self.config
        self.stem.build((None, None, None, 3))
        for i, (_, inputs) in enumerate(config.genotype.layers):
            width = config.width(i)
            self.ops[i].build((None, None, None, width))
            if i:
                self.skips[i].build((None, None, None, width * (len(inputs) + 1)))
        for name, reduction in self.reductions.items():
            at = int(name.split("_")[2])
            reduction.build((None, None, None, config.width(at)))
        self.classifier.build((None, config.num_features))

    def forward(self, images, training, progress, auxiliary):
        """Returns the features [B, P]; there is no auxiliary head."""
        del progress, auxiliary
        x = self.stem(tf.cast(images, self.compute_dtype), training=training)
        # By their numbers: 0 is the stem's output, j that of layer j - 1.
        outputs = {0: x}
        for i, (_, inputs) in enumerate(self.config.genotype.layers):
            x = self.ops[i](x, training=training)
            if i:
                x = tf.concat([*(outputs[j] for j in inputs), x], -1)
                x = self.skips[i](x, training=training)
            outputs[i + 1] = x
            if i in self.config.pools():
                outputs = {
                    j: self.reductions[f"pool_at_{i}_from_{j}"](y, training=training)
                    for j, y in outputs.items()
                    if f"pool_at_{i}_from_{j}" in self.reductions
                }
                x = outputs[i + 1]
        return tf.reduce_mean(tf.cast(x, tf.float32), [1, 2]), None

    def classify(self, features, training):
        """Maps features [B, P] to logits [B, classes], float32."""
        return self.classifier(self.dropout(features, training=training))

    def named(self) -> Named:
        """Yields (name, variable)."""
        for layer in (*self.body(), self.classifier):
            for name, variable in layer.named():
                yield f"{layer.name}/{name}", variable

    def body(self) -> list[keras.layers.Layer]:
        """Returns the layers that `vectors` needs."""
        skips = [skip for skip in self.skips if skip is not None]
        return [self.stem, *self.ops, *skips, *self.reductions.values()]
