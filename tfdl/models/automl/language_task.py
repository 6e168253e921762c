"""Training a language model of a searched cell in full."""

import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfdl.data import bptt, text_corpora
from tfdl.engine import ema, errors, model_dir, schedules
from tfdl.engine.learner import Learner
from tfdl.engine.monitor import Monitor
from tfdl.engine.options import number
from tfdl.engine.phases import Phase
from tfdl.engine.task import Task
from tfdl.layers.carry import Carry
from tfdl.models.automl import text_data
from tfdl.models.automl import text_tokens as tokens
from tfdl.models.automl.recurrent import genotypes
from tfdl.models.automl.recurrent.config import LanguageConfig
from tfdl.models.automl.recurrent.language_model import LanguageModel
from tfdl.models.automl.recurrent.stream import Stream
from tfdl.models.automl.search import result
from tfdl.models.automl.spaces import genotypes as published
from tfdl.text import fastai_vocab, generation

STARTS = ("random", "architecture", "model")
METRICS = ("loss", "perplexity", "accuracy")


class LanguageTask(Task):
    """Next-token prediction over a corpus that is read as one long stream.

    Architectures are chosen by validation text; the run's last metrics and `tfdl
    evaluate` measure test text, which no search has seen.
    """

    text: text_data.Text
    monitor: Monitor | None = None
    _stream: Stream | None = None

    # --- what is read ----------------------------------------------------------

    def prepare(self) -> None:
        """Reads the corpus, and the cell or model that training starts from."""
        config = self.config
        self._check_config()
        genotype: Mapping[str, Any]
        if config.start == "model":
            saved = read_language_model(config.init_from)
            rules, itos = saved["tokenizer"]["rules"], tokens.read(config.init_from)
            self.text = self._text_with(config.data, rules, itos)
            network = {**saved["network"], "dropouts": config.dropouts.to_dict()}
        else:
            if config.start == "architecture":
                genotype = result.read(config.init_from).genotype
            else:
                genotype = cell_of(config.network.genotype).to_dict()
            self.text = text_data.load(
                *(config.data, config.rules, config.max_vocab, config.min_count),
                held_out=config.held_out,
            )
            network = {
                **config.network.to_dict(),
                "genotype": genotype,
                "vocab_size": len(self.text.itos),
                "dropouts": config.dropouts.to_dict(),
            }
        self.network = LanguageConfig.from_dict(network)
        self.batches = bptt.Batches(
            *(self.text.train, config.batch_size, config.bptt, config.windows),
            seed=config.seed,
            multiple=config.window_multiple,
        )

    def prepare_evaluation(self, data: str | None) -> None:
        """Reads the test text, with the model's own vocabulary."""
        config = self.config
        saved = read_language_model(config.init_from)
        rules, itos = saved["tokenizer"]["rules"], tokens.read(config.init_from)
        source = data or saved.get("data", config.data)
        corpus = text_corpora.read(source)
        # A given corpus is measured as it is: on its test text if it has one.
        found = corpus.test or corpus.validation or corpus.all()
        if not data:
            held_out = saved.get("held_out", config.held_out)
            found = text_data.splits(corpus, held_out, source)[2]
        documents = text_data.encode(found, rules, itos)
        if documents.tokens < 2:
            raise errors.UserError(
                f"{source}: {documents.tokens} tokens to measure on; two are needed"
            )
        self.text = text_data.Text(rules, itos, documents, documents, documents)

    def _text_with(self, source, rules, itos) -> text_data.Text:
        corpus = text_corpora.read(source)
        parts = text_data.splits(corpus, self.config.held_out, source)
        return text_data.Text(
            *(rules, itos), *(text_data.encode(part, rules, itos) for part in parts)
        )

    def _check_config(self) -> None:
        config = self.config
        if config.start not in STARTS:
            raise errors.unknown("start", config.start, STARTS)
        if config.start != "random" and not config.init_from:
            raise errors.UserError(
                f"start={config.start} needs --init_from, or a stage before this one"
            )
        for name in ("alpha", "beta", "weight_decay", "learning_rate"):
            number(name, config[name])
        for name in ("epochs", "eval_batch_size", "test_batch_size", "bptt"):
            number(name, config[name], low=1)
        if config.gradient_accumulation != 1:
            raise errors.UserError("language models do not train in micro-batches")
        if bool(config.average_after) != bool(config.ema_decay):
            raise errors.UserError(
                f"average_after={config.average_after} needs ema_decay "
                + ("above 0" if config.average_after else "0")
            )

    # --- the network -----------------------------------------------------------

    def build_model(self) -> keras.Model:
        """Returns the network, random."""
        model = LanguageModel(self.network)
        model.build()
        return model

    def networks(self) -> dict[str, keras.Model]:
        """Returns the network; makes what goes along with it."""
        model = self.build_model()
        config = self.config
        self.carry = Carry(model.state_sizes, config.batch_size)
        self.monitor = Monitor(
            [variable.value for variable in model.weights],
            *(METRICS, config.keep_best, config.patience, config.average_after),
        )
        return {"model": model}

    def state(self):
        """Returns the carried state, and what the monitor remembers."""
        return [*self.carry.variables, *self.monitor.variables]

    def initialise(self, learner: Learner, source: str) -> list[str]:
        """Loads the weights of a model; an architecture has none."""
        if self.config.start != "model":
            return []
        return super().initialise(learner, source)

    # --- training --------------------------------------------------------------

    def phases(self) -> list[Phase]:
        """Returns one phase of all epochs; it is measured about once an epoch."""
        config = self.config
        steps = [len(self.batches.table(i)) for i in range(int(config.epochs))]
        rate = schedules.create(
            {"rate": config.learning_rate, **config.schedule}, sum(steps)
        )
        every = max(round(sum(steps) / len(steps)), 1)
        return [Phase("language", sum(steps), config.batch_size, rate, None, every)]

    def train_data(self, phase, start_step, shard):
        """Returns the windows."""
        return self.batches.dataset(0, start_step, shard)

    def train_step(self, learner: Learner, batch, phase, step):
        """One window: cross-entropy and what holds weights and outputs small."""
        config = self.config
        if config.average_after:
            learner.ema.decay = ema.averaged_sgd
        variables = learner.trained("model", phase)
        state = self.carry.read(batch["reset"])
        with tf.GradientTape() as tape:
            sums = learner.model.loss_sums(
                batch["token_ids"], batch["labels"], state, training=True
            )
            counts = learner.all_reduce(
                {"tokens": sums.tokens, "ar": sums.ar_count, "tar": sums.tar_count}
            )
            share = sums.ce / counts["tokens"]
            share += config.alpha * sums.ar / counts["ar"]
            # A window of one token has no differences.
            share += config.beta * tf.math.divide_no_nan(sums.tar, counts["tar"])
            if config.weight_decay:
                squares = [tf.reduce_sum(v * v) for v in variables.values()]
                share += config.weight_decay * tf.add_n(squares) / self.replicas
            scaled = learner.loss_scales["model"].scale(share)
        gradients = tape.gradient(scaled, list(variables.values()))
        self.carry.write(sums.state)
        rate = phase.learning_rate(step)
        if config.rescale_rate:
            rate *= batch["scale"][0]
        report = learner.apply("model", gradients, variables, rate)
        one = tf.constant(1.0)
        return {
            "loss": (sums.ce, sums.tokens),
            "learning_rate": (rate, one),
            "grad_norm": (report["grad_norm"], one),
        }

    # --- evaluations -----------------------------------------------------------

    def evaluate(self, learner: Learner) -> dict[str, float]:
        """Returns loss a token, perplexity and accuracy.

        In training of the validation text; when the run ends, and outside training,
        of the test text, of the model that is kept.
        """
        if self._stream is None:
            self._stream = Stream(learner.model)
        step = getattr(learner, "step", None)
        if step is None:
            return self._measure(self.text.test, self.config.test_batch_size)
        found = self._measure(self.text.valid, self.config.eval_batch_size)
        step = int(step.numpy())
        if step == 0:
            return found
        if self.monitor.record(step, found) and self.config.average_after:
            learner.ema.begin()
        is_last = step >= sum(phase.steps for phase in self.phases())
        if is_last or self.finished(found):
            found = self._of_the_end(found)
        return found

    def _of_the_end(self, last: dict[str, float]) -> dict[str, float]:
        """Returns the kept model's metrics, on the test text as well."""
        if self.monitor.keep_best:
            last = self.monitor.best_metrics()
        self.monitor.restore()
        test = self._measure(self.text.test, self.config.test_batch_size)
        return {**last, **{f"test_{name}": value for name, value in test.items()}}

    def _measure(self, documents, rows: int) -> dict[str, float]:
        return self._stream(documents.flat, int(rows), int(self.config.bptt))

    def finished(self, metrics: Mapping[str, float]) -> bool:
        """Stops when patience is at an end."""
        return self.monitor.stops

    def kept_model(self, learner: Learner) -> keras.Model:
        """Returns the best model if the recipe wants it kept, else the last."""
        self.monitor.restore()
        return learner.model

    def samples(self, learner: Learner, step: int) -> dict[str, Any]:
        """Returns how the model goes on with a beginning of the validation text."""
        if not self.config.sample_tokens:
            return {}
        prompt = self.text.valid.flat[:8]
        vocabulary = fastai_vocab.Vocabulary(self.text.itos)
        ids = generation.generate(
            *(learner.model, prompt, self.config.sample_tokens),
            temperature=0.8,
            seed=self.config.seed,
            unk_id=vocabulary.unk_id,
        )
        decode = text_data.tokenizer(self.text.rules, self.text.itos).decode
        return {"text": f"{decode(prompt)} ...\n{decode(ids)}\n"}

    # --- what is written -------------------------------------------------------

    def plan(self) -> list[str]:
        """Returns sizes, then the phases."""
        text, network = self.text, self.network
        return [
            f"{text.train.tokens:,} tokens to learn from, {text.valid.tokens:,} to "
            f"choose by, {text.test.tokens:,} to measure on; {len(text.itos):,} words",
            f"{network.num_layers} cell(s) of width {network.hidden_size}, "
            f"{network.fewest_parameters():,} weights",
            *super().plan(),
        ]

    def model_config(self) -> dict[str, Any]:
        """Returns `config.json`."""
        return {
            "model": "automl",
            "network": {"kind": "language", **self.network.to_dict()},
            "tokenizer": {"rules": self.text.rules, "base": text_data.BASE},
            # What `tfdl evaluate` measures on, see there.
            "data": self.config.data,
            "held_out": self.config.held_out,
        }

    def assets(self) -> dict[str, bytes | str | pathlib.Path]:
        """Returns the vocabulary."""
        return {tokens.VOCAB: fastai_vocab.dump(self.text.itos)}

    def score(self, metrics: Mapping[str, float]) -> float:
        """Returns what `restarts` maximises: by the validation text."""
        return -metrics["loss"]

    def summary(self, before: Mapping, after: Mapping, model: str) -> list[str]:
        """Returns what to try next."""
        decode = text_data.tokenizer(self.text.rules, self.text.itos).decode
        return [
            f"echo {decode(self.text.valid.flat[:6])!r} | tfdl predict "
            f"--model_dir={model} --input=- --option=mode=continue",
            *super().summary(before, after, model),
        ]


def cell_of(text: str) -> genotypes.Cell:
    """Returns a cell by its name, or by its numbers: "tree: 0 1 ...", "enas_lm: ...".

    Raises:
        UserError: it is neither, or no recurrent cell.
    """
    form, colon, numbers = text.partition(":")
    if colon:
        return genotypes.parse(numbers, form.strip())
    cell = published.published(text)
    if not isinstance(cell, genotypes.TreeCell | genotypes.NodesCell):
        raise errors.UserError(f"network.genotype={text}: this is no recurrent cell")
    return cell


def read_language_model(directory: str) -> dict[str, Any]:
    """Returns `config.json` of a language model.

    Raises:
        UserError: the directory has another model.
    """
    saved = model_dir.read_config(directory)
    network = saved.get("network") or {}
    if saved["model"] != "automl" or network.get("kind") != "language":
        raise errors.UserError(f"{directory} is no language model of a searched cell")
    return saved
