"""What a model's export.py gives to the verbs export and publish.

A root that can be called and trained further, the requests that warm it up, and what
its documentation says. `registry.py` lists the functions.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf


class Reusable(tf.train.Checkpoint):
    """The root of a SavedModel, with TF Hub's Reusable SavedModel interface.

    It holds `variables`, `trainable_variables` and `regularization_losses`, each
    variable once. The Keras model stays out: as an attribute it would be stored a
    second time. Functions use it through closures; what else they need (tables,
    vocabularies, constants) has to be an attribute.

    Args:
        model: the model whose variables are stored.
        parts: limits the variables to those of these layers, for a module that
            uses a part of the model only.
    """

    def __init__(self, model: keras.Model, *parts: keras.layers.Layer):
        super().__init__()
        owners = parts or (model,)
        self.variables = _values(v for owner in owners for v in owner.variables)
        self.trainable_variables = _values(
            v for owner in owners for v in owner.trainable_variables
        )
        self.regularization_losses = []

    def set_call(self, call: Callable[..., Any], *inputs: Any) -> None:
        """Makes the root callable as `root(inputs, training=False)`.

        Args:
            call: maps inputs and the Python boolean `training` to a tensor, or to a
                dict of tensors.
            *inputs: what it is traced with: a `tf.TensorSpec` or a dict of them,
                several for several forms of input.
        """

        def forward(inputs, training=False):
            return call(inputs, training=training)

        self.__call__ = tf.function(forward)
        for spec in inputs:
            for training in (False, True):
                self.__call__.get_concrete_function(spec, training=training)


def _values(variables) -> list[tf.Variable]:
    """Returns the TensorFlow variables behind Keras's, each once."""
    return list({id(v): v.value for v in variables}.values())


@dataclasses.dataclass(frozen=True)
class Card:
    """What the documentation of a module says.

    Attributes:
        summary: one sentence.
        task: TF Hub's tag for what it does: text-embedding, text-preprocessing,
            text-classification, text-question-answering, text-language-model,
            text-generation, image-classification, image-feature-vector,
            image-generator, video-generation.
        inputs: name -> dtype, shape and meaning; "" is the name of a lone tensor.
        outputs: the same for what comes back.
        usage: Python that uses `module`, the loaded module. `{main}` stands for the
            address of the main module, `{SUFFIX}` for that of another one.
        architecture: TF Hub's network-architecture tag, e.g. bert, resnet-v1.
        language: language code, for text.
        dataset: TF Hub's dataset tag, where it is known.
        fine_tunable: whether it has trainable variables.
    """

    summary: str
    task: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    usage: str
    architecture: str = ""
    language: str = ""
    dataset: str = ""
    fine_tunable: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as a plain dict."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Module:
    """A module to publish: the root, what it says of itself, its signatures."""

    root: Reusable
    card: Card
    signatures: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class WarmUp:
    """A request that a server runs before it says that a model is ready.

    Attributes:
        inputs: name -> array, list of strings or bytes, as a client sends them.
        signature: the signature asked.
    """

    inputs: Mapping[str, Any]
    signature: str = "serving_default"
