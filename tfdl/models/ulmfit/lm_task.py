"""Training a language model: on general text, then on the texts of a task."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfdl.data import bptt
from tfdl.data.text_corpora import balanced, held_out
from tfdl.engine import errors, model_dir
from tfdl.engine.learner import Learner
from tfdl.layers.carry import Carry
from tfdl.models.ulmfit import (
    pointer,
    sampled_softmax,
    steps,
    vocabulary_transfer,
)
from tfdl.models.ulmfit.awd_lstm import regularizers
from tfdl.models.ulmfit.base import UlmfitTask
from tfdl.models.ulmfit.language_model import LossSums
from tfdl.text import generation

SAMPLE_TOKENS = 40


class LanguageModelTask(UlmfitTask):
    """Next-token prediction over a corpus read as one long stream.

    With `start` "model" the encoder and decoder of another language model are taken
    over, each word's row to the same word of this corpus' own vocabulary.
    """

    metric_names = ("loss", "perplexity", "accuracy")
    _stream = None

    def prepare(self) -> None:
        """Reads and tokenizes the corpus; builds its vocabulary."""
        self.check_config()
        config = self.config
        if self.source:
            self.read_source()
        corpus = self.read_corpus(config.data)
        if config.examples:
            # The classifier's own subset of the same seed.
            chosen = balanced(corpus.train, config.examples, config.seed)
            train, valid = held_out(chosen, config.held_out)
        elif corpus.validation:
            train, valid = corpus.train, corpus.validation
        else:
            # Labels are not used: all texts of a task may be read.
            train, valid = held_out(corpus.all(), config.held_out)
        tokens = self.learn_vocabulary(train)
        self.documents = self.ids(tokens)
        self.valid = self.tokenize(valid)
        self._check(valid)
        self.batches = bptt.Batches(
            self.documents,
            config.batch_size,
            config.bptt,
            config.windows,
            config.seed,
            config.window_multiple,
        )

    def prepare_evaluation(self, data: str | None) -> None:
        """Reads what is measured on, with the model's own vocabulary."""
        config = self.config
        saved = model_dir.read_config(config.init_from)
        if saved["head"] != "language_model":
            raise errors.UserError(f"{config.init_from} is no language model")
        config.direction = saved.get("direction", "forward")
        self.use_vocabulary(config.init_from, saved)
        corpus = self.read_corpus(data or config.data)
        rows = corpus.test or corpus.validation
        if not rows:
            rows = corpus.all()
            if not data:
                rows = held_out(rows, config.held_out)[1]
        self.valid = self.tokenize(rows)
        self._check(rows)

    def _check(self, documents) -> None:
        if self.valid.tokens < 2:
            raise errors.UserError(
                f"{len(documents)} documents to measure on have {self.valid.tokens} "
                "tokens; a larger held_out, or more text, is needed"
            )

    def networks(self):
        """Returns the network; makes the state that windows carry on."""
        found = super().networks()
        widths = [(rnn.units, rnn.units) for rnn in found["model"].encoder.rnns]
        self.carry = Carry(widths, self.config.batch_size)
        counts = np.bincount(self.documents.flat, minlength=len(self.itos)) + 1e-10
        self.log_frequencies = tf.constant(np.log(counts / counts.sum()), tf.float32)
        return found

    def state(self):
        """Returns the carried state, and what the monitor remembers."""
        return [*self.carry.variables, *super().state()]

    def start_from(self, network) -> list[str]:
        """Takes the encoder and decoder over; new words get the mean row."""
        missing = vocabulary_transfer.load_encoder(self.source, network, self.itos)
        return [f"{missing:,} of {len(self.itos):,} words"] if missing else []

    def phases(self):
        """Returns the recipe's phases."""
        return steps.make(
            self.config.phases,
            self._groups,
            self.encoder_config()["num_layers"] + 1,
            self.config.batch_size,
            lambda epoch: len(self.batches.table(epoch)),
        )

    def train_data(self, phase, start_step, shard):
        """Returns the windows of a phase."""
        return self.batches.dataset(phase.options["epoch"], start_step, shard)

    def train_step(self, learner: Learner, batch, phase, step):
        """One window: cross-entropy, AR and TAR; the state is carried on."""
        config = self.config
        self.trace(learner, phase)
        variables = learner.trained("model", phase)
        state = self.carry.read(batch["reset"])
        with tf.GradientTape() as tape:
            sums = self._sums(learner, batch, state)
            counts = learner.all_reduce(
                {
                    "tokens": sums.tokens,
                    "ar": sums.ar_count,
                    "tar": sums.tar_count,
                }
            )
            share = sums.ce / counts["tokens"]
            share += config.alpha * sums.ar / counts["ar"]
            # A window of one token has no differences.
            share += config.beta * tf.math.divide_no_nan(sums.tar, counts["tar"])
            scaled = learner.loss_scales["model"].scale(share)
        gradients = tape.gradient(scaled, list(variables.values()))
        self.carry.write(sums.state)
        rate = phase.learning_rate(step)
        if config.rescale_rate:
            rate *= batch["scale"][0]
        momentum = steps.momentum_at(phase, step)
        report = self.update(learner, phase, gradients, variables, rate, momentum)
        return {
            "loss": (sums.ce, sums.tokens),
            "ar": (sums.ar, sums.ar_count),
            "tar": (sums.tar, sums.tar_count),
            **report,
        }

    def _sums(self, learner: Learner, batch, state):
        model = learner.model
        ids, labels = batch["token_ids"], batch["labels"]
        if not self.config.sampled_softmax:
            return model.loss_sums(ids, labels, state, training=True)
        negatives = sampled_softmax.draw(
            self.log_frequencies,
            min(self.config.sampled_softmax, len(self.itos)),
            tf.stack([tf.constant(self.config.seed, tf.int64), learner.step]),
        )
        out = model({"token_ids": ids, "state": state}, training=True)
        rows = tf.reshape(out["dropped"], [-1, model.config.embedding_size])
        table, bias = model.encoder.embedding, model.decoder_bias
        each = sampled_softmax.losses(
            rows,
            tf.convert_to_tensor(table),
            None if bias is None else tf.convert_to_tensor(bias),
            tf.reshape(labels, [-1]),
            negatives,
        )
        tokens = tf.cast(tf.size(labels), tf.float32)
        terms = regularizers(out["dropped"], out["hidden"])
        state = out["state"]
        return LossSums(tf.reduce_sum(each), tokens, tokens * 0, *terms, state=state)

    def measure(self, learner) -> dict[str, float]:
        """Returns loss per token, perplexity and accuracy on the held-out text."""
        if self._stream is None:
            self._stream = Stream(learner.model)
        metrics = self._stream(
            self.valid.flat, self.config.eval_batch_size, self.config.bptt
        )
        cache = self.config.cache.to_dict()
        if cache["window"] and getattr(learner, "step", None) is None:
            metrics["cache_perplexity"] = pointer.cache_perplexity(
                learner.model, self.valid.flat, pointer.Cache(**cache), self.config.bptt
            )
        return metrics

    def samples(self, learner, step) -> dict[str, Any]:
        """Returns how the model goes on with a beginning of the held-out text."""
        if self.config.direction != "forward" or not self.config.sample_tokens:
            return {}
        prompt = self.valid.flat[:8]
        ids = generation.generate(
            learner.model,
            prompt,
            self.config.sample_tokens,
            temperature=0.8,
            no_unk=True,
            seed=self.config.seed,
        )
        given = self.tokenizer.decode(prompt)
        return {"text": f"{given} ...\n{self.tokenizer.decode(ids)}\n"}

    def plan(self) -> list[str]:
        """Returns sizes, then the phases."""
        return [
            f"{len(self.documents):,} documents, {self.documents.tokens:,} tokens, "
            f"{len(self.itos):,} words; held out {self.valid.tokens:,} tokens",
            *super().plan(),
        ]

    def model_config(self) -> dict[str, Any]:
        """Returns `config.json`."""
        return {**super().model_config(), "head": "language_model"}

    def summary(self, before, after, model) -> list[str]:
        """Returns what to try next."""
        first = self.tokenizer.decode(self.valid.flat[:6])
        return [
            f"echo {first!r} | tfdl predict --model_dir={model} --input=- "
            "--option=mode=continue",
            f"tfdl evaluate --model_dir={model} --data=text:FILES",
        ]


class Stream:
    """Measures a language model on one long text; a window's graph is traced once."""

    def __init__(self, model):
        ids = tf.TensorSpec([None, None], tf.int32)
        state = [
            tuple(tf.TensorSpec([None, rnn.units]) for _ in "hc")
            for rnn in model.encoder.rnns
        ]

        @tf.function(input_signature=[ids, ids, state])
        def window(token_ids, labels, state):
            sums = model.loss_sums(
                token_ids, labels, state, training=False, accuracy=True
            )
            return sums.ce, sums.correct, sums.tokens, sums.state

        self._window, self._encoder = window, model.encoder

    def __call__(
        self, stream: np.ndarray, batch_size: int, width: int
    ) -> dict[str, float]:
        """Returns loss, perplexity and accuracy, the state carried on.

        Args:
            stream: ids; all but fewer than `batch_size` are predicted.
            batch_size: rows that the stream is cut into.
            width: of the windows.
        """
        batch_size = max(min(batch_size, (len(stream) - 1) // 2), 1)
        table, columns = bptt.rows(stream, batch_size, "fastai2", width)
        now = self._encoder.zero_state(batch_size)
        totals = np.zeros(3)
        for start in range(0, columns, width):
            end = min(start + width, columns)
            ids, labels = table[:, start:end], table[:, start + 1 : end + 1]
            *sums, now = self._window(tf.constant(ids), tf.constant(labels), now)
            totals += [float(value) for value in sums]
        loss = totals[0] / totals[2]
        return {
            "loss": loss,
            "perplexity": math.exp(min(loss, 700.0)),
            "accuracy": totals[1] / totals[2],
        }
