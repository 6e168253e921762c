"""What the language model's and the classifier's tasks share."""

import collections
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfdl.data import text_corpora
from tfdl.data.bptt import Documents
from tfdl.data.text_corpora import Document
from tfdl.engine import ema, errors, model_dir
from tfdl.engine.learner import Learner
from tfdl.engine.monitor import Monitor
from tfdl.engine.phases import Phase
from tfdl.engine.task import Metrics, Task
from tfdl.models.ulmfit import model as models
from tfdl.models.ulmfit import tokenizer as tokenizers
from tfdl.models.ulmfit import vocabulary_transfer
from tfdl.text import base_tokenizers, fastai_rules, fastai_vocab

# Of the optimizer's fields those that belong to the task.
OWN_OPTIONS = ("averaging", "nonmono")
AVERAGING = ("none", "nt_asgd", "asgd")
DIRECTIONS = ("forward", "backward")
GENERATIONS = {"fastai07": "v0.7", "fastai1": "v1", "fastai2": "v2"}


class UlmfitTask(Task):
    """Text, vocabulary, groups of layers, averaging and the best model.

    The recipe's `start` says what `--init_from`, or the stage before, is for:
    "model" starts from it, "random" takes no notice of it.
    """

    metric_names: tuple[str, ...] = ("loss",)

    def __init__(self, config, workdir: pathlib.Path):
        super().__init__(config, workdir)
        self.source = config.init_from if config.start == "model" else ""
        self.monitor: Monitor | None = None
        self._groups: dict[str, int] = {}

    # --- text ------------------------------------------------------------------

    def check_config(self) -> None:
        """Raises `UserError` for fields that go with no other."""
        config = self.config
        for field, allowed in (
            ("direction", DIRECTIONS),
            ("start", ("model", "random")),
        ):
            if config[field] not in allowed:
                raise errors.unknown(field, config[field], allowed)
        averaging = config.optimizer.averaging
        if averaging not in AVERAGING:
            raise errors.unknown("averaging", averaging, AVERAGING)
        if (averaging != "none") != bool(config.ema_decay):
            raise errors.UserError(
                f"optimizer.averaging={averaging} needs ema_decay "
                + ("above 0" if averaging != "none" else "0")
            )
        if config.gradient_accumulation != 1:
            raise errors.UserError("ulmfit does not train in micro-batches")

    def read_source(self) -> Mapping[str, Any]:
        """Returns `config.json` of the model that training starts from."""
        saved = model_dir.read_config(self.source)
        if saved["model"] != "ulmfit":
            raise errors.UserError(f"{self.source} is no ULMFiT but {saved['model']}")
        self.encoder = {
            k: v for k, v in saved["encoder"].items() if not k.endswith("_p")
        }
        self.config.direction = saved.get("direction", "forward")
        return saved

    def use_vocabulary(self, directory: str, saved: Mapping[str, Any]) -> None:
        """Takes tokenizer and vocabulary of a model directory."""
        self.tokenizer_config = dict(saved.get("tokenizer") or {})
        self.spm = None
        if self.tokenizer_config.get("base") == "sentencepiece":
            path = model_dir.asset(directory, tokenizers.SENTENCEPIECE)
            self.spm = path.read_bytes()
        self.itos = vocabulary_transfer.read_vocab(directory)
        self._make_tokenizer()

    def learn_vocabulary(self, documents: Sequence[Document]) -> list[list[str]]:
        """Builds the vocabulary of a corpus; returns the documents' tokens."""
        config = self.config
        self.tokenizer_config = {"rules": config.rules, "base": config.base}
        self.spm = None
        if config.base == "sentencepiece":
            self.spm = self._learn_sentencepiece(documents)
        tokenizer = fastai_vocab.TextTokenizer(
            config.rules, config.base, None, self.spm
        )
        tokens = [tokenizer.tokens(document.fields) for document in documents]
        counts = collections.Counter(token for row in tokens for token in row)
        self.itos = fastai_vocab.build(
            counts, config.rules, config.max_vocab, config.min_count
        )
        self._make_tokenizer()
        return tokens

    def ids(self, tokens: Sequence[Sequence[str]]) -> Documents:
        """Returns tokens as ids; a backward model reads every document from its end."""
        documents = Documents([self.tokenizer.vocabulary.encode(row) for row in tokens])
        backward = self.config.direction == "backward"
        return documents.reversed() if backward else documents

    def tokenize(self, documents: Sequence[Document]) -> Documents:
        """Returns documents as ids, by the vocabulary there is."""
        return self.ids([self.tokenizer.tokens(x.fields) for x in documents])

    def _make_tokenizer(self) -> None:
        fields = {**self.tokenizer_config}
        self.tokenizer = fastai_vocab.TextTokenizer(
            fields.get("rules", "fastai2"),
            fields.get("base", tokenizers.DEFAULT_BASE),
            self.itos,
            self.spm,
        )

    def _learn_sentencepiece(self, documents: Sequence[Document]) -> bytes:
        rules = self.config.rules
        texts = (
            fastai_rules.prepared(fastai_rules.join_fields(x.fields, rules), rules)
            for x in documents
        )
        size = self.config.max_vocab or 30_000
        special = fastai_rules.special_tokens(rules)
        return base_tokenizers.learn_sentencepiece(texts, size, special)

    # --- the network -----------------------------------------------------------

    def encoder_config(self) -> dict[str, Any]:
        """Returns the encoder's fields, this run's dropout rates among them."""
        config = self.config
        sizes = getattr(self, "encoder", None) or config.encoder.to_dict()
        rates = {k: v * config.dropmult for k, v in config.dropouts.items()}
        pad_id = self.tokenizer.vocabulary.pad_id
        return {**sizes, **rates, "vocab_size": len(self.itos), "pad_id": pad_id}

    def build_model(self) -> keras.Model:
        """Returns the network, random."""
        return models.build_model(self.model_config())

    def networks(self) -> dict[str, keras.Model]:
        """Returns the network; makes what goes along with it."""
        network = self.build_model()
        config = self.config
        nonmono = config.optimizer.nonmono
        self.monitor = Monitor(
            [v.value for v in network.weights],
            self.metric_names,
            config.keep_best,
            config.patience,
            nonmono,
        )
        return {"model": network}

    def optimizers(self) -> dict[str, Any]:
        """Returns the optimizer's own options."""
        options = self.config.optimizer.items()
        return {"model": {k: v for k, v in options if k not in OWN_OPTIONS}}

    def variable_names(self, name: str, network: keras.Model) -> dict[str, Any]:
        """Returns the variables by names that begin with their group's number."""
        found: dict[str, Any] = {}
        for number, group in enumerate(models.groups(network)):
            for variable in group:
                found[f"{number}/{variable.path}"] = variable
        self._groups = {name: int(name.partition("/")[0]) for name in found}
        return found

    def initialise(self, learner: Learner, source: str) -> list[str]:
        """Starts from `source`; nothing is read when `start` is "random"."""
        del source
        if not self.source:
            return []
        return self.start_from(learner.model)

    def start_from(self, network: keras.Model) -> list[str]:
        """Copies what `source` has; returns what stays random."""
        raise NotImplementedError("subclasses define start_from()")

    def state(self) -> Sequence[tf.Variable]:
        """Returns what the monitor remembers."""
        return self.monitor.variables

    # --- a step ----------------------------------------------------------------

    def trace(self, learner: Learner, phase: Phase) -> None:
        """Sets what a step reads when it is traced: rates by group, averaging."""
        shares = phase.options["shares"]
        learner.optimizers["model"].set_multipliers(
            lambda name: shares[self._groups[name]]
        )
        if self.config.optimizer.averaging != "none":
            learner.ema.decay = ema.averaged_sgd

    def update(
        self,
        learner: Learner,
        phase: Phase,
        gradients: Sequence[tf.Tensor],
        variables: Mapping[str, tf.Variable],
        rate: tf.Tensor,
        momentum: tf.Tensor | None,
    ) -> Metrics:
        """Applies gradients; returns what every step tells."""
        report = learner.apply("model", gradients, variables, rate, momentum=momentum)
        one = tf.constant(1.0)
        return {
            "learning_rate": (rate, one),
            "grad_norm": (report["grad_norm"], one),
        }

    # --- evaluations -----------------------------------------------------------

    def evaluate(self, learner: Learner) -> dict[str, float]:
        """Measures, and keeps track of the best; the last time tells of that one."""
        metrics = self.measure(learner)
        step = getattr(learner, "step", None)
        if self.monitor is None or step is None or int(step.numpy()) == 0:
            return metrics
        step = int(step.numpy())
        first = self.monitor.record(step, metrics)
        if first and self.config.optimizer.averaging == "nt_asgd":
            learner.ema.begin()
        is_last = step >= sum(phase.steps for phase in self.phases())
        if not is_last and not self.finished(metrics):
            return metrics
        if self.monitor.keep_best:
            self.monitor.restore()
            metrics = self.monitor.best_metrics()
        return {**metrics, **self.measure_last(learner)}

    def measure_last(self, learner: Learner) -> dict[str, float]:
        """Returns what is measured once only, of the model that is kept."""
        del learner
        return {}

    def measure(self, learner: Learner) -> dict[str, float]:
        """Returns the metrics, `metric_names` among them."""
        raise NotImplementedError("subclasses define measure()")

    def finished(self, metrics: Mapping[str, float]) -> bool:
        """Stops when patience is at an end, or ASGD from the start has settled."""
        settled = self.config.optimizer.averaging == "asgd" and self.monitor.triggered
        return self.monitor.stops or settled

    def kept_model(self, learner: Learner) -> keras.Model:
        """Returns the best model if the recipe wants it kept, else the last."""
        self.monitor.restore()
        return learner.model

    # --- what is written -------------------------------------------------------

    def model_config(self) -> dict[str, Any]:
        """Returns what both kinds of `config.json` have."""
        rules = self.tokenizer_config.get("rules", "fastai2")
        return {
            "model": "ulmfit",
            "encoder": self.encoder_config(),
            "direction": self.config.direction,
            "generation": GENERATIONS.get(rules, "v2"),
            "tokenizer": self.tokenizer_config,
        }

    def assets(self) -> dict[str, bytes | str | pathlib.Path]:
        """Returns the vocabulary, and SentencePiece's model."""
        files: dict[str, Any] = {models.VOCAB: fastai_vocab.dump(self.itos)}
        if self.spm:
            files[tokenizers.SENTENCEPIECE] = self.spm
        return files

    def read_corpus(self, source: str) -> text_corpora.Corpus:
        """Reads a corpus and says what of it is odd."""
        corpus = text_corpora.read(source)
        self.empty = sum(not any(map(str.strip, x.fields)) for x in corpus.all())
        return corpus
