"""BERT as TF Hub modules: a preprocessor and a Transformer encoder.

The names and shapes are those of TF Hub's common API for text embeddings with
Transformer encoders, so that code written for published BERT modules loads these.
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf
import tensorflow_text as text

from tfdl.engine import exports
from tfdl.text.graph import GraphBertTokenizer

# TF Hub's names of the inputs, and tfdl's.
INPUTS = {
    "input_word_ids": "token_ids",
    "input_mask": "padding_mask",
    "input_type_ids": "segment_ids",
}
# Labels that a page names.
MAX_NAMED = 50
CLASSIFIERS = ("classification", "regression", "multilabel")


class Preprocessor(exports.Reusable):
    """Maps strings to the encoder's inputs; `tokenize` and `bert_pack_inputs` alone.

    Args:
        tokenizer: the model's tokenizer.
        vocab: tokens in the order of their ids.
        length: the default of `seq_length`.
    """

    def __init__(self, tokenizer: GraphBertTokenizer, vocab: list[str], length: int):
        super().__init__()
        self.tokenizer = tokenizer
        self._ends = vocab.index("[CLS]"), vocab.index("[SEP]")
        strings = tf.TensorSpec([None], tf.string)
        self.tokenize = exports.Reusable()
        self.tokenize.set_call(lambda x, training: tokenizer.tokenize(x), strings)
        self.bert_pack_inputs = exports.Reusable()
        self.bert_pack_inputs.__call__ = tf.function(self._packing(length))
        tokens = tf.RaggedTensorSpec([None, None], tf.int32)
        for count in (1, 2):
            for size in (length, tf.TensorSpec([], tf.int32)):
                self.bert_pack_inputs.__call__.get_concrete_function(
                    [tokens] * count, seq_length=size
                )
        self.set_call(
            lambda x, training: self.pack([tokenizer.tokenize(x)], length), strings
        )

    def pack(self, segments: list[tf.RaggedTensor], length) -> dict[str, tf.Tensor]:
        """Packs ids [B, (T)]: [CLS] a [SEP], or [CLS] a [SEP] b [SEP], padded.

        What is too long is shared evenly, as the original shortens pairs.
        """
        room = length - len(segments) - 1
        trimmed = text.RoundRobinTrimmer(room).trim(segments)
        ids, types = text.combine_segments(trimmed, *self._ends)
        padded, mask = text.pad_model_inputs(ids, length)
        types, _ = text.pad_model_inputs(types, length)
        return {
            "input_word_ids": padded,
            "input_mask": tf.cast(mask, tf.int32),
            "input_type_ids": types,
        }

    def _packing(self, length: int):
        def bert_pack_inputs(inputs, seq_length=length):
            return self.pack(inputs, seq_length)

        return bert_pack_inputs


class Encoder(exports.Reusable):
    """The encoder with a model's head; `mlm` where it has a language model.

    Args:
        model: the model.
        head: the name of its head.
    """

    def __init__(self, model, head: str):
        encoder = model if head == "encoder" else model.encoder
        # Pretraining's heads belong to `mlm`; one that compares several sequences
        # has no place in a module that takes one.
        whole = head not in ("encoder", "pretraining", "swag")
        super().__init__(model if whole else encoder)
        network = model if whole else encoder

        def encode(inputs, training):
            found = network(_features(inputs), training=training, all_layers=True)
            layers = found.pop("encoder_outputs")
            found = {"default": found["pooled_output"], **found}
            return {**found, "encoder_outputs": layers[1:]}

        ids = {name: tf.TensorSpec([None, None], tf.int32) for name in INPUTS}
        self.set_call(encode, ids)
        if head == "pretraining":
            self.mlm = exports.Reusable(
                encoder,
                model.transform,
                model.transform_norm,
                extra=[model.output_bias],
            )
            positions = tf.TensorSpec([None, None], tf.int32)

            def mlm(inputs, training):
                found = encode(inputs, training)
                at = inputs["masked_lm_positions"]
                vectors = tf.gather(found["sequence_output"], at, batch_dims=1)
                return {**found, "mlm_logits": model.mlm_logits(vectors)}

            self.mlm.set_call(mlm, {**ids, "masked_lm_positions": positions})


def modules(model, head: str, labels, vocab, tokenizer, length: int):
    """Returns the encoder "" and its "preprocess" as modules to publish."""
    encoder = Encoder(model, head)
    preprocessor = Preprocessor(tokenizer, vocab, length)

    def encode(**ids):
        found = encoder.__call__(ids)
        return {k: v for k, v in found.items() if isinstance(v, tf.Tensor)}

    ids = {name: tf.TensorSpec([None, None], tf.int32, name=name) for name in INPUTS}
    strings = tf.TensorSpec([None], tf.string, name="text")
    preprocess = tf.function(lambda text: preprocessor.__call__(text))
    return {
        "": exports.Module(
            encoder,
            encoder_card(head, labels),
            {"serving_default": tf.function(encode).get_concrete_function(**ids)},
        ),
        "preprocess": exports.Module(
            preprocessor,
            preprocessor_card(length),
            {"serving_default": preprocess.get_concrete_function(text=strings)},
        ),
    }


def _features(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {ours: inputs[theirs] for theirs, ours in INPUTS.items()}


# --- documentation -------------------------------------------------------------

_IDS = {
    "input_word_ids": "int32 [batch, seq_length], token ids with [CLS], [SEP], padding",
    "input_mask": "int32 [batch, seq_length], 1 at tokens, 0 at padding",
    "input_type_ids": "int32 [batch, seq_length], 0 in the first segment, 1 in the "
    "second, 0 at padding",
}
_OUTPUTS = {
    "pooled_output": "float32 [batch, hidden], the sequence as a whole",
    "default": "the same as pooled_output",
    "sequence_output": "float32 [batch, seq_length, hidden], a vector per token",
    "encoder_outputs": "a list of [batch, seq_length, hidden], one per layer",
}
LOGITS = {
    "classification": {"logits": "float32 [batch, classes]"},
    "regression": {"logits": "float32 [batch, 1], the score"},
    "multilabel": {"logits": "float32 [batch, labels], one sigmoid each"},
    "squad": {
        "start_logits": "float32 [batch, seq_length]",
        "end_logits": "float32 [batch, seq_length]",
    },
    "ner": {"logits": "float32 [batch, seq_length, labels]"},
    "ner_features": {
        "features": "float32 [batch, seq_length, width], what the tagger reads",
        "logits": "float32 [batch, seq_length, labels]",
    },
}
_ENCODER_USAGE = """\
preprocess = hub.load("{preprocess}")
inputs = preprocess(tf.constant(["a first text", "and a second"]))
outputs = module(inputs)
outputs["pooled_output"]    # [2, hidden]
outputs["sequence_output"]  # [2, seq_length, hidden]
"""
_MLM_USAGE = """
positions = tf.constant([[1], [2]])
module.mlm({**inputs, "masked_lm_positions": positions})["mlm_logits"]
"""
_PREPROCESS_USAGE = """\
inputs = module(tf.constant(["one text", "another text"]))
premise = module.tokenize(tf.constant(["the dog sleeps"]))
hypothesis = module.tokenize(tf.constant(["it is awake"]))
pair = module.bert_pack_inputs([premise, hypothesis], seq_length=64)
encoder = hub.load("{main}")
vectors = encoder(pair)["default"]
"""


def logits(head: str, labels: Sequence[str]) -> dict[str, str]:
    """Returns what a head adds to the outputs, the labels in their order."""
    found = dict(LOGITS.get(head, {}))
    if labels and "logits" in found:
        names = ", ".join(labels[:MAX_NAMED])
        more = f" and {len(labels) - MAX_NAMED} more" if labels[MAX_NAMED:] else ""
        found["logits"] += f": {names}{more}"
    return found


def encoder_card(head: str, labels: Sequence[str] = ()) -> exports.Card:
    """Returns the encoder's documentation."""
    trained = "pretrained" if head in ("encoder", "pretraining") else f"for {head}"
    mlm = _MLM_USAGE if head == "pretraining" else ""
    return exports.Card(
        summary=f"BERT, {trained}: a Transformer encoder of text.",
        task="text-embedding",
        architecture="bert",
        inputs=_IDS,
        outputs={**_OUTPUTS, **logits(head, labels)},
        usage=_ENCODER_USAGE + mlm,
    )


def preprocessor_card(length: int) -> exports.Card:
    """Returns the preprocessor's documentation."""
    return exports.Card(
        summary="Text preprocessing for BERT: strings to token ids, in the graph.",
        task="text-preprocessing",
        architecture="bert",
        inputs={"": "string [batch], UTF-8"},
        outputs={k: v.replace("seq_length", str(length)) for k, v in _IDS.items()},
        usage=_PREPROCESS_USAGE,
        fine_tunable=False,
    )
