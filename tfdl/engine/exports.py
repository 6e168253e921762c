"""What a model's export.py gives to the verbs export and publish.

A root that can be called and trained further, the requests that warm it up, and what
its documentation says. `registry.py` lists the functions.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
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
        *layers: the model, or those of its layers that `__call__` uses.
        extra: single weights besides.
    """

    def __init__(
        self,
        *layers: keras.layers.Layer,
        extra: Iterable[keras.Variable] = (),
    ):
        super().__init__()
        every = [v for layer in layers for v in layer.variables] + list(extra)
        # Layers may share weights: each is listed once.
        every = list({id(v): v for v in every}.values())
        self.variables = [v.value for v in every]
        self.trainable_variables = [v.value for v in every if v.trainable]
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
