"""ULMFiT as TF Hub modules: what their pages say, and the encoder by itself.

A language model is published as a text embedding: strings in, vectors out (TF Hub's
common API for text). Its parts are published beside it: "preprocess" maps strings to
ids, "encoder" maps ids to vectors, of the text and of every token. A classifier maps
strings to logits; "embedding" gives the vectors that it reads.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfdl.engine import exports

ARCHITECTURE = "awd-lstm"
# Labels that a page names.
MAX_NAMED = 50
_TEXT = {"": "string [batch], UTF-8, of any length"}
_IDS = {"": "int32 [batch, tokens], padded behind"}
_POOLED = "float32 [batch, {width}]: last output, maximum and mean over time"
_EMBEDDING_USAGE = (
    'vectors = module(tf.constant(["a first text", "and a second"]))  # [2, {width}]\n'
)


class Preprocessor(exports.Reusable):
    """Strings to ids, padded behind, in the model's direction."""

    def __init__(self, module: Any):
        super().__init__()
        self.tokenizer = module.tokenizer
        self.set_call(
            lambda text, training: module.ids_of(text)[0],
            tf.TensorSpec([None], tf.string),
        )


class Encoder(exports.Reusable):
    """Ids to vectors of texts and of tokens; the weights can be trained further."""

    def __init__(self, module: Any):
        model = module.network()
        super().__init__(model.encoder)

        def encode(ids, training):
            found = model.encoder(ids, training=training)
            pooled = module.vectors(ids, training)
            sequence = tf.transpose(found["raw"][-1], [1, 0, 2])
            return {
                "default": pooled,
                "pooled_output": pooled,
                "sequence_output": sequence,
            }

        self.set_call(encode, tf.TensorSpec([None, None], tf.int32))


class Embedding(exports.Reusable):
    """Strings to the vectors that a classifier's head reads."""

    def __init__(self, module: Any):
        super().__init__(module.network().encoder)
        self.tokenizer = module.tokenizer

        def embed(text, training):
            return module.vectors(module.ids_of(text)[0], training)

        self.set_call(embed, tf.TensorSpec([None], tf.string))


def parts(module: Any, config: Mapping[str, Any]) -> dict[str, exports.Module]:
    """Returns the modules beside the main one, by suffix."""
    if module.tokenizer is None:
        return {}
    if module.classifies:
        return {"embedding": exports.Module(Embedding(module), _embedding_card(config))}
    width = 3 * config["encoder"]["embedding_size"]
    encoder = exports.Card(
        summary="AWD-LSTM: vectors of texts and of their tokens, from token ids.",
        task="text-embedding",
        architecture=ARCHITECTURE,
        inputs=_IDS,
        outputs={
            "default": _POOLED.format(width=width),
            "pooled_output": "the same",
            "sequence_output": "float32 [batch, tokens, "
            f"{config['encoder']['embedding_size']}], a vector per token",
        },
        usage='ids = hub.load("{preprocess}")(tf.constant(["a first text"]))\n'
        'vectors = module(ids)["pooled_output"]\n',
    )
    preprocess = exports.Card(
        summary="Text preprocessing for an AWD-LSTM: strings to token ids.",
        task="text-preprocessing",
        inputs=_TEXT,
        outputs=_IDS,
        usage='ids = module(tf.constant(["a first text", "and a second"]))\n'
        'vectors = hub.load("{encoder}")(ids)["pooled_output"]\n',
        fine_tunable=False,
    )
    return {
        "preprocess": exports.Module(Preprocessor(module), preprocess),
        "encoder": exports.Module(Encoder(module), encoder),
    }


def card(config: Mapping[str, Any], itos: Sequence[str] | None) -> exports.Card:
    """Returns what the page of the main module says."""
    if config["head"] != "classifier":
        return _embedding_card(config, itos is not None)
    labels = config.get("labels") or []
    names = ", ".join(labels[:MAX_NAMED])
    more = f" and {len(labels) - MAX_NAMED} more" if labels[MAX_NAMED:] else ""
    text = itos is not None
    argument = 'tf.constant(["a first text"])' if text else "tf.constant([[2, 17, 9]])"
    return exports.Card(
        summary="ULMFiT: a text classifier from a tuned language model.",
        task="text-classification",
        architecture=ARCHITECTURE,
        inputs=_TEXT if text else _IDS,
        outputs={"": f"float32 [batch, {len(labels)}], logits: {names}{more}"},
        usage=f"logits = module({argument})\n",
    )


def _embedding_card(config: Mapping[str, Any], text: bool = True) -> exports.Card:
    width = 3 * config["encoder"]["embedding_size"]
    usage = _EMBEDDING_USAGE.format(width=width)
    if not text:
        usage = f"vectors = module(tf.constant([[2, 17, 9]]))  # [1, {width}]\n"
    return exports.Card(
        summary="AWD-LSTM language model (ULMFiT): a vector for a text.",
        task="text-embedding",
        architecture=ARCHITECTURE,
        inputs=_TEXT if text else _IDS,
        outputs={"": _POOLED.format(width=width)},
        usage=usage,
    )
