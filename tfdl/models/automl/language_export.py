"""Language models of searched cells as SavedModels that take raw text.

Nothing is remembered between requests: the state is an input and an output of
`next_word`.
"""

from typing import Any

import numpy as np
import tensorflow as tf

import tfdl
from tfdl.engine import exports, model_dir
from tfdl.models.automl import text_tokens
from tfdl.models.automl.language_predict import log_probs
from tfdl.models.automl.recurrent import genotypes
from tfdl.models.automl.recurrent.config import LanguageConfig

# Tokens that `next_word` names.
TOP = 10
PAD = 0  # what rows are filled up with; never looked at


class ServingModule(exports.Reusable):
    """The variables once, the tokenizer's tables, and the signatures."""

    def __init__(self, directory: str):
        config = model_dir.read_config(directory)
        model = tfdl.load(directory)
        super().__init__(model)
        # Autodiff's own gradient: one of ours inside a loop cannot be restored.
        model.use_plain_gradient()
        # By closure: as an attribute the model would be stored a second time.
        self._hidden = lambda: model
        self.genotype = tf.constant(str(config["network"]["genotype"]))
        self.tokenizer = self.words = None
        if text_tokens.has(directory):
            self.words = tf.constant(text_tokens.read(directory))
            self.tokenizer = text_tokens.graph(config, directory)
            self.set_call(self.from_text, tf.TensorSpec([None], tf.string))
        else:
            self.set_call(self.from_ids, tf.TensorSpec([None, None], tf.int32))

    def network(self):
        """Returns the model."""
        return self._hidden()

    def from_text(self, text, training=False):
        """Maps strings [B] to the last cell's mean output [B, H]."""
        ids, lengths = self.ids_of(text)
        used = tf.sequence_mask(lengths, tf.shape(ids)[1], tf.float32)[:, :, None]
        hidden = self._outputs(ids, training)
        total = tf.maximum(tf.reduce_sum(used, 1), 1.0)
        return tf.reduce_sum(hidden * used, 1) / total

    def from_ids(self, token_ids, training=False):
        """Maps ids [B, T] to the last cell's mean output [B, H]."""
        return tf.reduce_mean(self._outputs(token_ids, training), 1)

    def _outputs(self, token_ids, training):
        return self.network()({"token_ids": token_ids}, training=training)["hidden"]

    def ids_of(self, text):
        """Maps strings [B] to ids [B, T] and lengths [B]."""
        tokens = self.tokenizer.tokenize(text)
        return tokens.to_tensor(PAD), tf.cast(tokens.row_lengths(), tf.int32)

    # --- signatures ------------------------------------------------------------

    def score(self, text):
        """Maps strings [B] to tokens, their log-probabilities and the perplexity.

        Rows are filled up with "" and 0; a text's first token has no probability.
        """
        ids, lengths = self.ids_of(text)
        found = self._scores(ids, lengths)
        used = tf.sequence_mask(lengths - 1, tf.shape(ids)[1] - 1)
        words = tf.where(used, tf.gather(self.words, ids[:, 1:]), "")
        return {"tokens": words, **found}

    def score_ids(self, token_ids, lengths):
        """Maps ids [B, T], of which row i has lengths[i], to their likelihood."""
        return self._scores(token_ids, lengths)

    def next_word(self, token_ids, **state):
        """Reads ids [B, T] after a state; returns what may follow and the next state.

        Args:
            token_ids: [B, T], most often T = 1.
            **state: state_{layer}_{part} [B, H]; zeros before any text.
        """
        model = self.network()
        before = [
            tuple(state[f"state_{i}_{k}"] for k in range(len(sizes)))
            for i, sizes in enumerate(model.state_sizes)
        ]
        found = model({"token_ids": token_ids, "state": before})
        logits = model.decode(found["hidden"][:, -1])
        answer = {"logits": logits, "probabilities": tf.nn.softmax(logits)}
        if self.words is not None:
            count = min(TOP, model.config.vocab_size)
            answer["tokens"] = tf.gather(self.words, tf.math.top_k(logits, count)[1])
        for i, layer in enumerate(found["state"]):
            answer |= {f"state_{i}_{k}": part for k, part in enumerate(layer)}
        return answer

    def _scores(self, ids, lengths):
        found = log_probs(self.network(), ids)
        used = tf.sequence_mask(lengths - 1, tf.shape(ids)[1] - 1)
        found = tf.where(used, found, 0.0)
        count = tf.cast(tf.maximum(lengths - 1, 1), tf.float32)
        return {
            "log_probs": found,
            "perplexity": tf.exp(-tf.reduce_sum(found, 1) / count),
            "lengths": lengths - 1,
        }

    def signatures(self) -> dict[str, Any]:
        """Returns the concrete functions by name."""
        text = tf.TensorSpec([None], tf.string, name="text")
        ids = tf.TensorSpec([None, None], tf.int32, name="token_ids")
        lengths = tf.TensorSpec([None], tf.int32, name="lengths")
        state = {
            name: tf.TensorSpec([None, width], tf.float32, name=name)
            for name, width in _state(self.network().config).items()
        }

        def trace(function, **specs):
            return tf.function(function).get_concrete_function(**specs)

        found = {
            "score_ids": trace(self.score_ids, token_ids=ids, lengths=lengths),
            "next_word": trace(self.next_word, token_ids=ids, **state),
        }
        if self.tokenizer is not None:
            found["score"] = trace(self.score, text=text)
        default = "score_ids" if self.tokenizer is None else "score"
        return {"serving_default": found[default], **found}


def _state(config: LanguageConfig) -> dict[str, int]:
    """Returns the names and widths of the state's tensors."""
    is_tree = isinstance(config.cell(), genotypes.TreeCell)
    widths = (config.hidden_size, config.output_size)[: 2 if is_tree else 1]
    return {
        f"state_{i}_{k}": width
        for i in range(config.num_layers)
        for k, width in enumerate(widths)
    }


def serving_module(directory: str) -> tuple[ServingModule, dict[str, Any]]:
    """Returns (module, signatures): `score` (the default), `score_ids`, `next_word`.

    Without a vocabulary `score`, which takes text, is left out.
    """
    module = ServingModule(str(directory))
    return module, module.signatures()


def warm_ups(directory: str) -> list[exports.WarmUp]:
    """Returns short and long requests for every signature."""
    config = LanguageConfig.from_dict(model_dir.read_config(directory)["network"])
    found = []
    if text_tokens.has(directory):
        for texts in (["a short text"], ["one", "", "some more words " * 40]):
            found += [exports.WarmUp({"text": texts}, "score")]
            found += [exports.WarmUp({"text": texts})]
    for batch, length in ((1, 8), (3, 100)):
        ids = np.zeros([batch, length], np.int32)
        lengths = np.arange(length, length - batch, -1, dtype=np.int32)
        inputs = {"token_ids": ids, "lengths": lengths}
        found.append(exports.WarmUp(inputs, "score_ids"))
        if not text_tokens.has(directory):
            found.append(exports.WarmUp(inputs))
        state = {
            name: np.zeros([batch, width], np.float32)
            for name, width in _state(config).items()
        }
        found.append(exports.WarmUp({"token_ids": ids[:, :1], **state}, "next_word"))
    return found


def card(directory: str) -> exports.Card:
    """Returns what the documentation of the model says."""
    config = LanguageConfig.from_dict(model_dir.read_config(directory)["network"])
    takes_text = text_tokens.has(directory)
    what = "strings [B]" if takes_text else "int32 [B, T]: token ids"
    example = '["a text"]' if takes_text else "[[2, 3, 4]]"
    return exports.Card(
        summary=(
            f"A language model of {config.num_layers} searched recurrent cell(s) of "
            f"width {config.hidden_size}, {config.vocab_size:,} words."
        ),
        task="text-language-model",
        inputs={"": what},
        outputs={"": f"float32 [B, {config.output_size}]: the cells' mean output"},
        usage=f"vectors = module(tf.constant({example}))",
    )
