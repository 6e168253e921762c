"""BERT as a SavedModel whose signatures take raw strings."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

import tfdl
from tfdl.engine import exports, model_dir
from tfdl.models.bert import export_hub, export_spans
from tfdl.models.bert.packing import Packer
from tfdl.text.graph import GraphBertTokenizer
from tfdl.text.vocab import load_vocab

IDS = ("token_ids", "segment_ids", "padding_mask")
# Only the first token's vector is wanted, whatever the lengths that share a batch.
FIRST = {"first_token_only": True, "unpad": True}


class ServingModule(exports.Reusable):
    """What an export keeps: the variables once, the tokenizer's tables, labels."""

    def __init__(self, directory: str):
        config = model_dir.read_config(directory)
        model = tfdl.load(directory)
        # Only what the root's own call uses is its own to train.
        whole = config["head"] in export_hub.CLASSIFIERS
        super().__init__(model if whole else _encoder(model))
        self.head, self.length = config["head"], config["max_seq_length"]
        self.all_variables = [variable.value for variable in model.variables]
        # As an attribute the model would be stored a second time.
        self._model: Callable = _hidden(model)
        vocab = load_vocab(model_dir.asset(directory, "vocab.txt"))
        lower = config["tokenizer"]["do_lower_case"]
        self.tokenizer = GraphBertTokenizer(vocab, lower)
        self.packer = Packer(vocab)
        self.tokens = tf.constant(vocab)
        self.mask_tokenizer = None
        if config["head"] == "pretraining":
            self.mask_tokenizer = GraphBertTokenizer(vocab, lower, False)
            self.mask_id = vocab.index("[MASK]")
        self.labels = tf.constant(_labels(config) or [""])
        self.set_call(self.vectors, tf.TensorSpec([None], tf.string))

    def model(self, features, **options):
        """Runs the network."""
        return self._model()(features, **options)

    def vectors(self, text, training=False):
        """Maps strings [B] to logits [B, C], or to pooled vectors [B, H]."""
        packed = self.tokenizer.pack(text, None, self.length)
        model = self._model()
        if self.head in export_hub.CLASSIFIERS:
            return model(packed, training=training, **FIRST)["logits"]
        return _encoder(model)(packed, training=training, **FIRST)["pooled_output"]

    # --- signatures ------------------------------------------------------------

    def classify(self, text, text_b=None):
        """Maps strings [B] to label, probabilities and logits."""
        packed = self.tokenizer.pack(text, text_b, self.length)
        logits = self.model(packed, **FIRST)["logits"]
        if self.head == "regression":
            return {"score": logits[:, 0]}
        if self.head == "multilabel":
            return {"probabilities": tf.sigmoid(logits), "logits": logits}
        return {
            "label": tf.gather(self.labels, tf.argmax(logits, -1)),
            "probabilities": tf.nn.softmax(logits),
            "logits": logits,
        }

    def embed(self, text):
        """Maps strings [B] to pooled, mean and token vectors."""
        packed = self.tokenizer.pack(text, None, self.length)
        out = self.model(packed)
        mask = tf.cast(packed["padding_mask"], tf.float32)[:, :, None]
        vectors = out["sequence_output"]
        mean = tf.reduce_sum(vectors * mask, 1) / tf.reduce_sum(mask, 1)
        return {
            "pooled_output": out["pooled_output"],
            "sequence_output": vectors,
            "mean_output": mean,
            "padding_mask": packed["padding_mask"],
        }

    def fill_mask(self, text):
        """Maps strings [B] to the five likeliest tokens of every [MASK].

        Rows with fewer masks than the most are filled with "" and 0.
        """
        packed = self.mask_tokenizer.pack(text, None, self.length)
        is_mask = tf.equal(packed["token_ids"], self.mask_id)
        where = tf.ragged.boolean_mask(
            tf.broadcast_to(tf.range(tf.shape(is_mask)[1])[None, :], tf.shape(is_mask)),
            is_mask,
        )
        positions = where.to_tensor()
        used = tf.sequence_mask(where.row_lengths(), tf.shape(positions)[1])
        features = {**packed, "masked_positions": positions}
        logits = self.model(features, unpad=True)["mlm_logits"]
        best = tf.math.top_k(tf.nn.softmax(logits), 5)
        tokens = tf.gather(self.tokens, best.indices)
        return {
            "tokens": tf.where(used[:, :, None], tokens, ""),
            "probabilities": tf.where(used[:, :, None], best.values, 0.0),
        }

    def ids(self, **features):
        """The network on token ids, as `tfdl.load` gives it."""
        return {
            name: value
            for name, value in self.model(features).items()
            if isinstance(value, tf.Tensor)
        }


def serving_module(directory: str):
    """Returns (module, signatures) of a model directory.

    `serving_default` takes raw strings, `ids` token ids; both any batch size and
    length. Classifiers also have `pair`.
    """
    module = ServingModule(str(directory))
    text = tf.TensorSpec([None], tf.string, name="text")
    text_b = tf.TensorSpec([None], tf.string, name="text_b")

    def trace(function, **specs):
        return tf.function(function).get_concrete_function(**specs)

    signatures = {}
    if module.head == "squad":
        signatures["serving_default"] = export_spans.answer_signature(module)
    elif module.head in ("ner", "ner_features"):
        signatures["serving_default"] = export_spans.entity_signature(module)
    elif module.head == "swag":
        signatures["serving_default"] = export_spans.choice_signature(module)
    elif module.head == "encoder":
        signatures["serving_default"] = trace(module.embed, text=text)
    elif module.head == "pretraining":
        signatures["serving_default"] = trace(module.fill_mask, text=text)
        signatures["embedding"] = trace(module.embed, text=text)
    else:
        signatures["serving_default"] = trace(module.classify, text=text)
        signatures["pair"] = trace(module.classify, text=text, text_b=text_b)
    shape = [None, None, None] if module.head == "swag" else [None, None]
    ids = {name: tf.TensorSpec(shape, tf.int32, name=name) for name in IDS}
    signatures["ids"] = trace(module.ids, **ids)
    return module, signatures


def warm_ups(directory: str) -> list[exports.WarmUp]:
    """Returns a short request and a batch of uneven lengths for every signature."""
    config = model_dir.read_config(directory)
    head, length = config["head"], config["max_seq_length"]
    short, mixed = ["a short text"], ["one", "a few words more", "word " * length]
    lines = [short, mixed]
    if head == "squad":
        requests = [{"question": ["what is it?"] * len(x), "passage": x} for x in lines]
    elif head == "swag":
        endings = ["one end", "another", "a third", "the last"]
        requests = [
            {"context": x, "start": ["it"] * len(x), "endings": [endings] * len(x)}
            for x in lines
        ]
    else:
        requests = [{"text": x} for x in lines]
    if head == "pretraining":
        requests = [{"text": [f"[MASK] {text}" for text in x]} for x in lines]
    found = [exports.WarmUp(inputs) for inputs in requests]
    if head == "pretraining":
        found += [exports.WarmUp({"text": x}, "embedding") for x in lines]
    if head in export_hub.CLASSIFIERS:
        found += [exports.WarmUp({"text": x, "text_b": x}, "pair") for x in lines]
    shape = [1, 4, 8] if head == "swag" else [1, 8]
    ids = {name: np.ones(shape, np.int32) for name in IDS}
    return [*found, exports.WarmUp(ids, "ids")]


def card(directory: str) -> exports.Card:
    """Returns what the documentation of the served model says."""
    config = model_dir.read_config(directory)
    head, labels = config["head"], _labels(config)
    if head in export_hub.CLASSIFIERS:
        outputs = export_hub.logits(head, labels)["logits"]
        return exports.Card(
            summary=f"BERT for {head}: strings in, logits out.",
            task="text-classification",
            architecture="bert",
            inputs={"": "string [batch], UTF-8"},
            outputs={"": outputs},
            usage='logits = module(tf.constant(["a first text", "and a second"]))\n',
        )
    return exports.Card(
        summary="BERT: a vector for a text.",
        task="text-embedding",
        architecture="bert",
        inputs={"": "string [batch], UTF-8"},
        outputs={"": "float32 [batch, hidden], the sequence as a whole"},
        usage='vectors = module(tf.constant(["a first text", "and a second"]))\n',
    )


def hub_modules(directory: str) -> dict[str, exports.Module]:
    """Returns the encoder and its preprocessor as TF Hub modules."""
    config = model_dir.read_config(directory)
    vocab = load_vocab(model_dir.asset(directory, "vocab.txt"))
    tokenizer = GraphBertTokenizer(vocab, config["tokenizer"]["do_lower_case"])
    return export_hub.modules(
        tfdl.load(directory),
        config["head"],
        _labels(config),
        vocab,
        tokenizer,
        config["max_seq_length"],
    )


def _labels(config) -> list[str]:
    return list(config["head_config"].get("labels") or ())


def _encoder(model):
    return getattr(model, "encoder", model)


def _hidden(model) -> Callable:
    return lambda: model
