"""ULMFiT's two networks, from a configuration."""

import pathlib
from collections.abc import Mapping
from typing import Any

import keras

from tfdl.engine import errors, files
from tfdl.engine import model_dir as directory
from tfdl.models.ulmfit.classifier import Classifier
from tfdl.models.ulmfit.config import ClassifierConfig, EncoderConfig
from tfdl.models.ulmfit.language_model import LanguageModel

HEADS = ("language_model", "classifier")
VOCAB = "vocab.json"


def build_model(config: Mapping[str, Any]) -> LanguageModel | Classifier:
    """Returns the built network, with random weights.

    Args:
        config: `head`, `encoder` and, for a classifier, `classifier`: the fields of
            `EncoderConfig` and `ClassifierConfig`.
    """
    head = config.get("head")
    if head not in HEADS:
        raise errors.unknown("head", head, HEADS)
    encoder = EncoderConfig.from_dict(_part(config, "encoder"))
    if head == "language_model":
        model: keras.Model = LanguageModel(encoder)
    else:
        fields = ClassifierConfig.from_dict(_part(config, "classifier"))
        model = Classifier(encoder, fields)
    model.build()
    return model


def from_config(
    config: Mapping[str, Any], model_dir: str | pathlib.Path
) -> LanguageModel | Classifier:
    """Returns the built model of a model directory; its weights are still random.

    Raises:
        UserError: the configuration asks for far more than the weights file holds:
            found before memory is asked for.
    """
    weights = files.require_file(pathlib.Path(model_dir) / directory.WEIGHTS)
    wanted = EncoderConfig.from_dict(_part(config, "encoder")).num_parameters()
    held = weights.stat().st_size
    if 4 * wanted > held:
        raise errors.UserError(
            f"{weights} has {held:,} bytes, too few for the {wanted:,} weights of the "
            f"encoder that {directory.CONFIG} asks for"
        )
    return build_model(config)


def groups(model: LanguageModel | Classifier) -> list[list[keras.Variable]]:
    """Returns the layers that are unfrozen, or get a learning rate, one by one.

    Of a language model: every LSTM, then the embedding with the decoder's bias, which
    it shares with the decoder (fastai's groups). Of a classifier: the embedding,
    every LSTM, the head.
    """
    rnns = [list(rnn.trainable_variables) for rnn in model.encoder.rnns]
    embedding = [model.encoder.embedding]
    if isinstance(model, Classifier):
        return [embedding, *rnns, list(model.head.trainable_variables)]
    if model.decoder_bias is not None:
        embedding.append(model.decoder_bias)
    return [*rnns, embedding]


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = config.get(name)
    if not isinstance(part, Mapping):
        raise errors.UserError(f"the configuration has no {name!r}")
    return part
