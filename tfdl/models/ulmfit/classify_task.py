"""Fine-tuning the classifier (ULMFiT section 3.3)."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

import tfdl
from tfdl.data import sortish
from tfdl.data.text_corpora import Corpus, balanced, held_out, label_ids
from tfdl.engine import distribution, errors, files, model_dir
from tfdl.engine.learner import Learner
from tfdl.metrics import classification
from tfdl.models.ulmfit import confusion_picture, steps, vocabulary_transfer
from tfdl.models.ulmfit.awd_lstm import regularizers
from tfdl.models.ulmfit.base import UlmfitTask


class ClassifyTask(UlmfitTask):
    """Documents to classes, on the encoder of a language model or from scratch."""

    metric_names = ("error", "loss", "accuracy", "macro_f1")
    _own = None
    test_documents: Sequence[np.ndarray] = ()

    def prepare(self) -> None:
        """Reads and tokenizes the labelled documents."""
        self.check_config()
        config = self.config
        corpus = self.read_corpus(config.data)
        if not corpus.labels:
            raise errors.UserError(f"{config.data} has no labels to learn")
        self.labels = corpus.labels
        train, valid = self._split(corpus)
        if config.examples:
            train = balanced(train, config.examples, config.seed)
        self.train_labels = label_ids(train, self.labels)
        self.eval_labels = label_ids(valid, self.labels)
        if self.source:
            self.use_vocabulary(self.source, self.read_source())
            self.documents = self.cut(self.tokenize(train))
        else:
            self.documents = self.cut(self.ids(self.learn_vocabulary(train)))
        self.eval_documents = self.cut(self.tokenize(valid))
        if corpus.validation and corpus.test and not config.held_out:
            # By the one the epoch is chosen, by the other it is not.
            self.test_documents = self.cut(self.tokenize(corpus.test))
            self.test_labels = label_ids(corpus.test, self.labels)

    def prepare_evaluation(self, data: str | None) -> None:
        """Reads what is measured on; vocabulary and classes are the model's.

        Args:
            data: as `config.data`; its test split, or else validation, or else all.
        """
        config = self.config
        self.source = config.init_from
        saved = self.read_source()
        if saved["head"] != "classifier":
            raise errors.UserError(f"{self.source} is no classifier")
        self.use_vocabulary(self.source, saved)
        self.labels = tuple(saved.get("labels") or ())
        if not data and not config.data:
            raise errors.UserError("--data is needed: what to measure on")
        corpus = self.read_corpus(data or config.data)
        documents = corpus.test or corpus.validation or corpus.train
        if not self.labels:
            self.labels = corpus.labels
        self.eval_labels = label_ids(documents, self.labels)
        self.eval_documents = self.cut(self.tokenize(documents))

    def _split(self, corpus: Corpus):
        config = self.config
        if config.held_out:
            return held_out(corpus.train, config.held_out)
        valid = corpus.validation or corpus.test
        if not valid:
            raise errors.UserError(
                f"{config.data} has no test documents: set held_out, e.g. 0.1"
            )
        return corpus.train, valid

    def cut(self, documents) -> list[np.ndarray]:
        """Returns the documents, of longer ones the first `max_tokens` tokens."""
        most = self.config.max_tokens or None
        rows = [documents[i] for i in range(len(documents))]
        if most and self.config.direction == "backward":
            return [row[-most:] for row in rows]
        return [row[:most] for row in rows]

    def start_from(self, network) -> list[str]:
        """Takes the encoder over; the head is new."""
        vocabulary_transfer.load_encoder(self.source, network)
        return ["head"]

    def phases(self):
        """Returns the recipe's phases."""
        per_epoch = -(-len(self.documents) // self.config.batch_size)
        return steps.make(
            self.config.phases,
            self._groups,
            self.encoder_config()["num_layers"] + 2,
            self.config.batch_size,
            lambda epoch: per_epoch,
        )

    def train_data(self, phase, start_step, shard):
        """Returns batches of similar lengths."""
        return sortish.training_batches(
            self.documents,
            self.train_labels,
            phase.batch_size,
            self.config.seed,
            phase.options["epoch"],
            start_step,
            shard,
            self.tokenizer.vocabulary.pad_id,
        )

    def train_step(self, learner: Learner, batch, phase, step):
        """One batch: cross-entropy, and AR and TAR as for the language model."""
        config = self.config
        self.trace(learner, phase)
        variables = learner.trained("model", phase)
        labels = batch["labels"]
        with tf.GradientTape() as tape:
            out = learner.model({"token_ids": batch["token_ids"]}, training=True)
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, out["logits"])
            ar, ar_count, tar, tar_count = regularizers(
                out["dropped"], out["raw"], out["mask"]
            )
            count = tf.cast(tf.size(labels), tf.float32)
            counts = learner.all_reduce(
                {"rows": count, "ar": ar_count, "tar": tar_count}
            )
            share = tf.reduce_sum(each) / counts["rows"]
            share += config.alpha * tf.math.divide_no_nan(ar, counts["ar"])
            share += config.beta * tf.math.divide_no_nan(tar, counts["tar"])
            scaled = learner.loss_scales["model"].scale(share)
        gradients = tape.gradient(scaled, list(variables.values()))
        rate, momentum = phase.learning_rate(step), steps.momentum_at(phase, step)
        report = self.update(learner, phase, gradients, variables, rate, momentum)
        guessed = tf.argmax(out["logits"], -1, output_type=labels.dtype)
        right = tf.reduce_sum(tf.cast(tf.equal(guessed, labels), tf.float32))
        return {
            "loss": (tf.reduce_sum(each), count),
            "accuracy": (right, count),
            **report,
        }

    def measure(self, learner) -> dict[str, float]:
        """Returns error, loss, accuracy and macro F1 on the held-out documents."""
        self.probabilities = self._probabilities(learner)
        guessed = self.probabilities.argmax(-1)
        right = self.probabilities[np.arange(len(guessed)), self.eval_labels]
        accuracy = classification.accuracy(self.eval_labels, guessed)
        return {
            "error": 1.0 - accuracy,
            "loss": float(-np.log(np.maximum(right, 1e-30)).mean()),
            "accuracy": accuracy,
            "macro_f1": classification.macro_f1(self.eval_labels, guessed),
        }

    def measure_last(self, learner) -> dict[str, float]:
        """Returns the error on test documents, where others chose the epoch."""
        if not self.test_documents:
            return {}
        guessed = self._own(self.test_documents).argmax(-1)
        self.test_error = 1.0 - classification.accuracy(self.test_labels, guessed)
        return {"test_error": self.test_error}

    def _probabilities(self, learner) -> np.ndarray:
        """Returns [N, C]; with `ensemble`, the mean of two models'."""
        pad_id = self.tokenizer.vocabulary.pad_id
        size, strategy = self.config.eval_batch_size, learner.strategy
        if self._own is None:
            self._own = Probabilities(strategy, learner.model, pad_id, size)
        own = self._own(self.eval_documents)
        other = self.config.ensemble
        if not other or getattr(learner, "step", None) is not None:
            return own
        saved = check_partner(other, self.source, self.labels, self.itos)
        turned = saved.get("direction", "forward") != self.config.direction
        rows = [x[::-1] if turned else x for x in self.eval_documents]
        with strategy.scope():
            model = tfdl.load(other)
        return (own + Probabilities(strategy, model, pad_id, size)(rows)) / 2

    def samples(self, learner, step) -> dict[str, Any]:
        """Returns the confusion matrix as a picture."""
        guessed = self.probabilities.argmax(-1)
        matrix = classification.confusion(self.eval_labels, guessed, len(self.labels))
        return {"confusion": confusion_picture.draw(matrix, self.labels)}

    def plan(self) -> list[str]:
        """Returns sizes, then the phases."""
        longest = max(map(len, self.documents))
        empty = f", {self.empty:,} of them empty" if self.empty else ""
        return [
            f"{len(self.documents):,} documents to learn from (longest {longest:,} "
            f"tokens), {len(self.eval_documents):,} held out{empty}; "
            f"{len(self.labels)} classes",
            *super().plan(),
        ]

    def remarks(self) -> list[str]:
        """Returns how another stage of the run compares, if the recipe names one."""
        name = self.config.compare_with
        path = self.workdir.parent / name / "done.json"
        if not name or not path.is_file():
            return []
        other = json.loads(files.read_text(path))["after"]
        if self.test_documents:
            own, kind, count = self.test_error, "test_error", len(self.test_documents)
        else:
            own, kind = self.monitor.best_metrics()["error"], "error"
            count = len(self.eval_documents)
        noise = (own * (1.0 - own) / count) ** 0.5
        return [
            f"{kind.replace('_', ' ')} {own:.1%}; {name}, the same network: "
            f"{other[kind]:.1%} ({count:,} documents, standard error {noise:.1%})"
        ]

    def score(self, metrics) -> float:
        """Returns the accuracy."""
        return metrics["accuracy"]

    def model_config(self) -> dict[str, Any]:
        """Returns `config.json`."""
        config = self.config
        head = config.head.to_dict()
        head["hidden"] = tuple(head["hidden"])
        head["dropouts"] = tuple(x * config.dropmult for x in head["dropouts"])
        return {
            **super().model_config(),
            "head": "classifier",
            "classifier": {**head, "num_classes": len(self.labels)},
            "labels": list(self.labels),
        }

    def summary(self, before, after, model) -> list[str]:
        """Returns what to try next."""
        text = self.tokenizer.decode(self.eval_documents[0][:12])
        return [
            f"echo {text!r} | tfdl predict --model_dir={model} --input=-",
            f"tfdl evaluate --model_dir={model} --data={self.config.data}",
            f"tfdl export --model_dir={model} --output=saved_models/ulmfit",
        ]


def check_partner(other: str, first: str, labels, itos) -> dict[str, Any]:
    """Returns the configuration of the second model of an ensemble.

    Raises:
        UserError: its classes or its vocabulary are others.
    """
    saved = model_dir.read_config(other)
    if saved.get("head") != "classifier" or list(saved.get("labels") or ()) != list(
        labels
    ):
        raise errors.UserError(f"{other} does not tell the classes that {first} does")
    if vocabulary_transfer.read_vocab(other) != list(itos):
        raise errors.UserError(f"{other} has another vocabulary than {first}")
    return saved


class Probabilities:
    """Class probabilities of documents; what a batch goes through is traced once.

    Args:
        strategy: where it runs.
        model: a classifier.
        pad_id: of the padding.
        batch_size: per replica.
    """

    def __init__(self, strategy, model, pad_id: int, batch_size: int):
        self._pad_id = pad_id
        self._size = batch_size * strategy.num_replicas_in_sync
        self._read = distribution.BatchMap(
            strategy, lambda batch: tf.nn.softmax(model(batch)["logits"])
        )

    def __call__(self, documents: Sequence[np.ndarray]) -> np.ndarray:
        """Returns [N, C] in the documents' order."""
        lengths = np.array([len(row) for row in documents])
        plan = list(sortish.evaluation_batches(lengths, self._size))

        def generate():
            for batch, _ in plan:
                rows = [documents[i] for i in batch]
                yield {"token_ids": sortish.padded(rows, self._pad_id)}

        spec = {"token_ids": tf.TensorSpec([self._size, None], tf.int32)}
        dataset = tf.data.Dataset.from_generator(generate, output_signature=spec)
        result: np.ndarray | None = None
        for (batch, count), output in zip(plan, self._read(dataset), strict=True):
            if result is None:
                result = np.zeros([len(documents), output.shape[-1]], np.float64)
            result[batch[:count]] = output[:count]
        return result
