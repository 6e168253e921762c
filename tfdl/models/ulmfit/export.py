"""ULMFiT as a SavedModel that takes raw text, and as TF Hub modules.

Nothing is remembered between requests: the language model's state is an input and an
output of `next_word`.
"""

import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

import tfdl
from tfdl.engine import exports, model_dir
from tfdl.models.ulmfit import bpt3c, export_hub, score, tokenizer
from tfdl.models.ulmfit.classifier import Classifier
from tfdl.models.ulmfit.config import ClassifierConfig
from tfdl.models.ulmfit.model import VOCAB
from tfdl.models.ulmfit.vocabulary_transfer import read_vocab

# Tokens that `next_word` and `begin` name.
TOP = 10


class ServingModule(exports.Reusable):
    """The variables once, the tokenizer's tables, and the signatures."""

    def __init__(self, directory: str):
        config = model_dir.read_config(directory)
        model = tfdl.load(directory)
        self.classifies = isinstance(model, Classifier)
        super().__init__(model if self.classifies else model.encoder)
        # What the root's own call does not use is not its own to train.
        self.all_variables = [variable.value for variable in model.variables]
        # Autodiff's own gradient: one of ours inside a loop cannot be restored.
        model.encoder.plain_gradient = True
        # By closure: as an attribute the model would be stored a second time.
        self._hidden = lambda: model
        self.backward = config["direction"] == "backward"
        self.tokenizer = self.tokens = None
        itos = _vocabulary(directory)
        if itos is not None:
            self.tokens = tf.constant(itos)
            self.tokenizer = tokenizer.make(config["tokenizer"], itos, directory)
        # Traced once and called by every signature.
        self.ids_of = tf.function(
            self._ids_of, input_signature=[tf.TensorSpec([None], tf.string)]
        )
        self.labels = tf.constant(config.get("labels") or [""])
        if self.tokenizer is not None:
            self.set_call(self.from_text, tf.TensorSpec([None], tf.string))
        else:
            self.set_call(self.from_ids, tf.TensorSpec([None, None], tf.int32))

    def network(self):
        """Returns the model."""
        return self._hidden()

    # --- called as module(texts), or as module(ids) without a vocabulary -------

    def from_text(self, text, training=False):
        """Maps strings [B] to logits [B, C], or to pooled vectors [B, 3E]."""
        return self.from_ids(self.ids_of(text)[0], training)

    def from_ids(self, token_ids, training=False):
        """Maps ids [B, T] to logits [B, C], or to pooled vectors [B, 3E]."""
        if not self.classifies:
            return self.vectors(token_ids, training)
        return self.network()({"token_ids": token_ids}, training=training)["logits"]

    def vectors(self, token_ids, training=False):
        """Maps ids [B, T] to pooled vectors [B, 3E]."""
        model = self.network()
        config = model.config if self.classifies else ClassifierConfig(1)
        return bpt3c.encode(model.encoder, config, token_ids, training)["pooled"]

    def _ids_of(self, text):
        """Maps strings [B] to ids [B, T] in the model's direction, and lengths [B]."""
        tokens = self.tokenizer.tokenize(text)
        lengths = tf.cast(tokens.row_lengths(), tf.int32)
        ids = tokens.to_tensor(self.network().encoder.config.pad_id)
        if self.backward:
            ids = tf.reverse_sequence(ids, lengths, seq_axis=1)
        return ids, lengths

    # --- signatures ------------------------------------------------------------

    def classify(self, text):
        """Maps strings [B] to label, probabilities and logits."""
        return self._classes(self.from_text(text))

    def classify_ids(self, token_ids, lengths):
        """Maps ids [B, T], of which row i has lengths[i], to the same."""
        return self._classes(self.from_ids(self._padded(token_ids, lengths)))

    def encode(self, text):
        """Maps strings [B] to pooled vectors [B, 3E]."""
        return {"pooled": self.vectors(self.ids_of(text)[0])}

    def encode_ids(self, token_ids, lengths):
        """Maps ids [B, T] to pooled vectors [B, 3E]."""
        return {"pooled": self.vectors(self._padded(token_ids, lengths))}

    def lm_score(self, text):
        """Maps strings [B] to tokens, their log-probabilities and the perplexity.

        Rows are in the model's direction and filled up with "" and 0; the first token
        of each has no probability.
        """
        ids, lengths = self.ids_of(text)
        found = score.token_log_probs(self.network(), ids)
        used = tf.sequence_mask(lengths - 1, tf.shape(ids)[1] - 1)
        found = tf.where(used, found, 0.0)
        count = tf.cast(tf.maximum(lengths - 1, 1), tf.float32)
        return {
            "tokens": tf.where(used, tf.gather(self.tokens, ids[:, 1:]), ""),
            "log_probs": found,
            "perplexity": tf.exp(-tf.reduce_sum(found, 1) / count),
            "lengths": lengths - 1,
        }

    def begin(self, text):
        """Reads strings [B]; returns what may follow and the state after the text."""
        ids, lengths = self.ids_of(text)
        model = self.network()
        # Texts end at different places: what is read behind an end is not kept.
        state = model.encoder.zero_state(tf.shape(ids)[0])

        def body(step, last, state):
            found = model.encoder(ids[:, step : step + 1], state=state)
            going = (step < lengths)[:, None]
            last = tf.where(going, found["raw"][-1][0], last)
            state = [
                tuple(tf.where(going, x, y) for x, y in zip(new, old, strict=True))
                for new, old in zip(found["state"], state, strict=True)
            ]
            return step + 1, last, state

        last = tf.zeros([tf.shape(ids)[0], model.config.embedding_size])
        steps = tf.shape(ids)[1]
        _, last, state = tf.while_loop(
            lambda step, *_: step < steps, body, (tf.constant(0), last, state)
        )
        return self._next(model.decode(last), state)

    def next_word(self, token_ids, **state):
        """Reads ids [B, T] after a state; returns what may follow and the next state.

        Args:
            token_ids: [B, T], most often T = 1.
            **state: h_0, c_0, h_1 ... [B, H] of every LSTM; zeros before any text.
        """
        model = self.network()
        layers = range(model.config.num_layers)
        before = [(state[f"h_{i}"], state[f"c_{i}"]) for i in layers]
        found = model.encoder(token_ids, state=before)
        return self._next(model.decode(found["raw"][-1][-1]), found["state"])

    def _next(self, logits, state):
        answer = {"logits": logits}
        if self.tokens is not None:
            count = min(TOP, self.network().config.vocab_size)
            best = tf.math.top_k(tf.nn.softmax(logits), count)
            answer["tokens"] = tf.gather(self.tokens, best.indices)
            answer["probabilities"] = best.values
        for i, (h, c) in enumerate(state):
            answer |= {f"h_{i}": h, f"c_{i}": c}
        return answer

    def _classes(self, logits):
        return {
            "label": tf.gather(self.labels, tf.argmax(logits, -1)),
            "probabilities": tf.nn.softmax(logits),
            "logits": logits,
        }

    def _padded(self, token_ids, lengths):
        real = tf.sequence_mask(lengths, tf.shape(token_ids)[1])
        return tf.where(real, token_ids, self.network().encoder.config.pad_id)

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions by name."""
        text = tf.TensorSpec([None], tf.string, name="text")
        ids = {
            "token_ids": tf.TensorSpec([None, None], tf.int32, name="token_ids"),
            "lengths": tf.TensorSpec([None], tf.int32, name="lengths"),
        }

        def trace(function, **specs):
            return tf.function(function).get_concrete_function(**specs)

        found = {"encode_ids": trace(self.encode_ids, **ids)}
        if self.classifies:
            found["classify_ids"] = trace(self.classify_ids, **ids)
        else:
            specs = {"token_ids": ids["token_ids"], **self._state_specs()}
            found["next_word"] = trace(self.next_word, **specs)
        if self.tokenizer is not None:
            found["encode"] = trace(self.encode, text=text)
            if self.classifies:
                found["classify"] = trace(self.classify, text=text)
            else:
                found["lm_score"] = trace(self.lm_score, text=text)
                found["begin"] = trace(self.begin, text=text)
        return {"serving_default": found[self.default()], **found}

    def default(self) -> str:
        """Returns the name of the signature that answers when none is asked for."""
        if self.classifies:
            return "classify" if self.tokenizer is not None else "classify_ids"
        return "lm_score" if self.tokenizer is not None else "encode_ids"

    def _state_specs(self) -> dict[str, tf.TensorSpec]:
        return {
            f"{part}_{i}": tf.TensorSpec([None, units], tf.float32, name=f"{part}_{i}")
            for i, (_, units) in enumerate(self.network().config.widths())
            for part in "hc"
        }


def serving_module(directory: str) -> tuple[ServingModule, dict[str, Any]]:
    """Returns (module, signatures) of a model directory.

    A classifier has `classify` (the default), `classify_ids`, `encode`, `encode_ids`; a
    language model `lm_score` (the default), `begin`, `next_word`, `encode`,
    `encode_ids`. Without a vocabulary those that take text are left out.
    """
    module = ServingModule(str(directory))
    return module, module.signatures()


def warm_ups(directory: str) -> list[exports.WarmUp]:
    """Returns a short request and a batch of uneven lengths for every signature."""
    config = model_dir.read_config(directory)
    classifies, found = config["head"] == "classifier", []
    names = ["encode"] + (["classify"] if classifies else ["lm_score", "begin"])
    with_ids = ["encode_ids"] + (["classify_ids"] if classifies else [])
    if _vocabulary(directory) is not None:
        for texts in (["a short text"], ["one", "", "some more words " * 40]):
            found += [exports.WarmUp({"text": texts}, n) for n in names]
            found.append(exports.WarmUp({"text": texts}))
    for batch, length in ((1, 8), (3, 100)):
        ids = np.full([batch, length], 2, np.int32)
        lengths = np.arange(length, length - batch, -1, dtype=np.int32)
        inputs = {"token_ids": ids, "lengths": lengths}
        found += [exports.WarmUp(inputs, name) for name in with_ids]
        if _vocabulary(directory) is None:
            found.append(exports.WarmUp(inputs))
        if not classifies:
            encoder = config["encoder"]
            widths = [encoder["hidden_size"]] * (encoder["num_layers"] - 1)
            state = {
                f"{part}_{i}": np.zeros([batch, units], np.float32)
                for i, units in enumerate([*widths, encoder["embedding_size"]])
                for part in "hc"
            }
            one = {"token_ids": ids[:, :1], **state}
            found.append(exports.WarmUp(one, "next_word"))
    return found


def card(directory: str) -> exports.Card:
    """Returns what the documentation of the served model says."""
    return export_hub.card(model_dir.read_config(directory), _vocabulary(directory))


def hub_modules(directory: str) -> dict[str, exports.Module]:
    """Returns the module itself and, with a vocabulary, its parts."""
    module, signatures = serving_module(directory)
    config = model_dir.read_config(directory)
    modules = {"": exports.Module(module, card(directory), signatures)}
    return modules | export_hub.parts(module, config)


def _vocabulary(directory: str) -> list[str] | None:
    path = pathlib.Path(directory) / model_dir.ASSETS / VOCAB
    return read_vocab(directory) if path.is_file() else None
