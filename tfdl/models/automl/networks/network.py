"""What every image network of this model offers."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import keras
import tensorflow as tf

from tfdl.engine import errors, options

Config = TypeVar("Config")
MOST = 1 << 15


def from_fields(cls: type[Config], values: Mapping[str, Any], what: str) -> Config:
    """Returns a network's configuration of the class `cls` from its fields.

    Args:
        cls: a dataclass with a field "genotype".
        values: the fields, and perhaps the network's "kind".
        what: the network, for messages.

    Raises:
        UserError: an unknown field, no genotype, or a value that makes no sense.
    """
    fields = {key: value for key, value in values.items() if key != "kind"}
    known = [field.name for field in dataclasses.fields(cls)]
    for key in fields:
        if key not in known:
            raise errors.unknown("field of the network", key, known)
    if not fields.get("genotype"):
        raise errors.UserError(f"{what} needs a genotype")
    return cls(**fields)


def check_fields(config: Any, whole: Mapping[str, int]) -> None:
    """Checks what several networks' configurations have.

    Args:
        config: has `dropout_keep`, `epsilon`, `momentum`.
        whole: further fields that are whole numbers, and their least values.

    Raises:
        UserError: a value that makes no sense.
    """
    for name, least in whole.items():
        value = getattr(config, name)
        if type(value) is not int or not least <= value <= MOST:
            raise errors.UserError(
                f"network.{name} has to be a whole number in [{least}, {MOST}], "
                f"got {value!r}"
            )
    options.number("network.dropout_keep", config.dropout_keep, 1e-6, 1.0 + 1e-9)
    options.number("network.epsilon", config.epsilon, 0.0, 1.0)
    options.number("network.momentum", config.momentum, 0.0, 1.0)


class ImageNetwork(keras.Model):
    """A classifier of pictures.

    `model({"image": x})` takes normalised pictures [B, H, W, 3] and returns float32
    `"logits"` [B, classes], `"features"` [B, P] (what the classifier sees), and in
    training `"aux_logits"` if there is an auxiliary head. In training `"progress"`, a
    float scalar, says how much of the training is done, for what depends on it; it is
    1 by default.

    Subclasses define `forward`, `named` and `body`.
    """

    def call(self, inputs, training=False):
        """Maps {"image", "progress"} to {"logits", "features", "aux_logits"}."""
        features, aux_logits = self.forward(
            inputs["image"], training, inputs.get("progress"), auxiliary=training
        )
        result = {"logits": self.classify(features, training), "features": features}
        if aux_logits is not None:
            result["aux_logits"] = tf.cast(aux_logits, tf.float32)
        return result

    def forward(
        self,
        images: tf.Tensor,
        training: bool,
        progress: tf.Tensor | None,
        auxiliary: bool,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns the features [B, P], float32, and the aux logits if asked for."""
        raise NotImplementedError("subclasses define forward()")

    def classify(self, features: tf.Tensor, training: bool) -> tf.Tensor:
        """Maps features [B, P] to logits [B, classes], float32."""
        raise NotImplementedError("subclasses define classify()")

    def named(self) -> Iterator[tuple[str, keras.Variable]]:
        """Yields (name, variable) of every weight; names of kernels end in weights.

        Names of the auxiliary head's start with "aux".
        """
        raise NotImplementedError("subclasses define named()")

    def body(self) -> list[keras.layers.Layer]:
        """Returns the layers that `vectors` needs."""
        raise NotImplementedError("subclasses define body()")

    def vectors(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps normalised pictures [B, H, W, 3] to features [B, P]."""
        return self.forward(images, training, None, auxiliary=False)[0]

    def kernels(self) -> list[keras.Variable]:
        """Returns all kernels, those that weight decay is for."""
        return [v for name, v in self.named() if name.endswith("weights")]

    def auxiliary(self) -> list[keras.Variable]:
        """Returns the trained weights of the auxiliary head."""
        return [v for name, v in self.named() if name.startswith("aux") and v.trainable]

    def num_parameters(self, auxiliary: bool = False) -> int:
        """Returns the number of trained weights, by default without the aux head."""
        count = sum(_size(v) for v in self.trainable_variables)
        return count if auxiliary else count - sum(map(_size, self.auxiliary()))

    def by_name(self) -> Mapping[str, keras.Variable]:
        """Returns `named` as a dict."""
        return dict(self.named())


def _size(variable: Any) -> int:
    size = 1
    for side in variable.shape:
        size *= side
    return size
