"""Fine-tuning for classes, numbers and sets of labels (run_classifier.py)."""

import functools
import json
from typing import Any

import numpy as np
import tensorflow as tf

from tfdl.data import topics
from tfdl.engine import errors, files, model_dir
from tfdl.metrics import classification
from tfdl.models.bert import examples as examples_lib
from tfdl.models.bert import features, glue, long_documents, losses, xnli
from tfdl.models.bert.base import inputs
from tfdl.models.bert.examples import Example
from tfdl.models.bert.finetune import BertFineTuneTask, Rows

KINDS = ("classification", "regression", "multilabel")
WINDOW_FIELDS = ("doc_stride", "window_pooling")
ALL_LANGUAGES = "all"
EMBEDDED = "embedded:topics"
PAIR = ("text_a", "text_b")
MEASURED = ("logits", "labels")


class BertClassifyTask(BertFineTuneTask):
    """One of GLUE's tasks, XNLI, the embedded passages, or tables of your own.

    `config.data` says which: `embedded:topics`, `glue:FOLDER` (with
    `config.glue_task`), `xnli:FOLDER` (with `config.language`), or
    `table:TRAIN[,DEV]` (.tsv, .csv, .jsonl).
    """

    def prepare(self) -> None:
        """Reads the examples and makes their features."""
        config = self.config
        if config.kind not in KINDS:
            raise errors.unknown("kind", config.kind, KINDS)
        self.head = config.kind
        train, self.eval_examples, labels = self._read()
        if self.head == "regression":
            labels = []
        self.labels = list(labels)
        self.load_encoder()
        self.check_length(config.max_seq_length)
        self.head_config = {"labels": self.labels}
        if config.glue_task:
            self.head_config["glue_task"] = glue.task(config.glue_task).name
        if config.doc_stride:
            for field in WINDOW_FIELDS:
                self.head_config[field] = config[field]
        self.rows = self.make_rows(train)
        self.eval_rows = self.make_rows(self.eval_examples)

    def prepare_evaluation(self, data: str | None) -> None:
        """Reads only what is measured on; kind and labels are the model's.

        Args:
            data: a table (.tsv, .csv, .jsonl), or what `config.data` takes; of GLUE
                and XNLI folders the development set is used, `glue:FOLDER:SPLIT`
                names another.
        """
        config = self.config
        saved = model_dir.read_config(config.init_from)
        self.head = config.kind = saved["head"]
        if self.head not in KINDS:
            raise errors.UserError(
                f"{config.init_from} is a BERT for {saved['head']}, not a classifier; "
                "name the --recipe that measures it"
            )
        self.labels = list(saved["head_config"].get("labels") or ())
        config.glue_task = config.glue_task or saved["head_config"].get("glue_task", "")
        for field in WINDOW_FIELDS:
            config[field] = saved["head_config"].get(field, config[field])
        self.load_encoder()
        config.max_seq_length = saved["max_seq_length"]
        if not data and config.data == EMBEDDED and self.labels != list(topics.LABELS):
            raise errors.UserError(
                "--data is needed: the embedded passages have other labels than "
                f"{config.init_from}"
            )
        self.eval_examples = self._read_evaluation(data or config.data)
        self.eval_rows = self.make_rows(self.eval_examples)

    def make_rows(self, examples: list[Example]) -> Rows:
        """Returns the features of labelled examples.

        With `doc_stride` every window of a long text is a row with its label; `owner`
        is its example.
        """
        tokenizer, length = self.tokenizer, self.max_seq_length()
        values = examples_lib.label_ids(examples, self.labels, self.head)
        dtype = np.int32 if self.head == "classification" else np.float32
        labels = np.array(values, dtype)
        if not self.config.doc_stride:
            made = [
                features.convert(x.text_a, x.text_b, tokenizer, length)
                for x in examples
            ]
            return Rows(made, {"labels": labels})
        made, owners = long_documents.convert(
            examples, tokenizer, length, self.config.doc_stride
        )
        return Rows(made, {"labels": labels[owners], "owner": owners})

    def loss(self, model, batch, denominators, training=True):
        """Returns this part's share of the mean loss."""
        out = model(inputs(batch), training=training, first_token_only=True)
        total, right = self._terms(out["logits"], batch)
        metrics = {}
        if right is not None:
            metrics["accuracy"] = (right, tf.reduce_sum(batch["weights"]))
        return total / denominators["examples"], metrics

    def evaluate(self, learner) -> dict[str, float]:
        """Returns the task's own metrics and the loss on the development set."""
        rows = self.predict_rows(
            learner, self.eval_rows, functools.partial(self._measure, learner.model)
        )
        logits, labels = (np.stack([row[k] for row in rows]) for k in MEASURED)
        if self.config.doc_stride:
            owners = np.stack([row["owner"] for row in rows])
            pooling = self.config.window_pooling
            logits = long_documents.aggregate(logits, owners, pooling)
            labels = labels[np.flatnonzero(np.diff(owners, prepend=-1))]
        metrics = score(self.head, logits, labels, self.config.glue_task)
        if self.config.language == ALL_LANGUAGES:
            metrics |= self._by_language(logits, labels)
        metrics["loss"] = float(np.mean([row["loss"] for row in rows]))
        return metrics

    def score(self, metrics) -> float:
        """Returns the mean of the task's metrics."""
        values = [value for name, value in metrics.items() if name != "loss"]
        return float(np.mean(values)) if values else -metrics["loss"]

    def summary(self, before, after, model) -> list[str]:
        """Returns what to try next."""
        first = self.eval_examples[0]
        texts = [text[:60].replace('"', "'") for text in first[:2] if text is not None]
        given = f'echo "{texts[0]}"'
        if len(texts) == 2:
            given = f"echo '{json.dumps(dict(zip(PAIR, texts, strict=True)))}'"
        data = self.config.data
        measured = "" if data == EMBEDDED else f" --data={data}"
        return [
            f"{given} | tfdl predict --model_dir={model} --input=-",
            f"tfdl evaluate --model_dir={model}{measured}",
            f"tfdl export --model_dir={model} --output=saved_models/bert",
        ]

    def _by_language(self, logits, labels) -> dict[str, float]:
        """Returns XNLI's accuracy by language; writes the table of them."""
        names = np.array([x.guid.partition("-")[0] for x in self.eval_examples])
        right = logits.argmax(-1) == labels
        found = {name: right[names == name].mean() for name in dict.fromkeys(names)}
        found = {**found, "average": np.mean(list(found.values()))}
        files.atomic_write(self.workdir / "xnli.txt", xnli.table(found))
        return {f"accuracy_{name}": value for name, value in found.items()}

    def _measure(self, model, batch):
        logits = model(inputs(batch), first_token_only=True)["logits"]
        each = self._each_loss(logits, batch["labels"])
        measured = {"logits": logits, "labels": batch["labels"], "loss": each}
        return measured | {k: batch[k] for k in ("owner",) if k in batch}

    def _each_loss(self, logits, labels):
        if self.head == "classification":
            return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        if self.head == "regression":
            return tf.square(logits[:, 0] - labels)
        cross = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
        return tf.reduce_mean(cross, axis=-1)

    def _terms(self, logits, batch):
        labels, weights = batch["labels"], batch["weights"]
        if self.head == "classification":
            return losses.classification(logits, labels, weights)
        if self.head == "regression":
            return losses.regression(logits, labels, weights), None
        return losses.multilabel(logits, labels, weights), None

    def _read(self) -> tuple[list[Example], list[Example], Any]:
        config = self.config
        kind, _, where = config.data.partition(":")
        if config.data == EMBEDDED:
            return _passages("train"), _passages("validation"), topics.LABELS
        if kind == "glue":
            spec = glue.task(config.glue_task)
            if spec.is_regression != (config.kind == "regression"):
                wanted = "regression" if spec.is_regression else "classification"
                raise errors.UserError(f"{spec.name} needs --config.kind={wanted}")
            train = glue.read(where, spec.name, "train")
            return train, glue.read(where, spec.name, "dev"), spec.labels
        if kind == "xnli":
            train = xnli.read_train(where, config.language)
            return train, xnli.read_dev(where, config.language), xnli.LABELS
        if kind == "table":
            return self._read_tables(where)
        raise errors.UserError(
            f"data {config.data!r} is not known; allowed are embedded:topics, "
            "glue:FOLDER, xnli:FOLDER and table:TRAIN[,DEV]"
        )

    def _read_evaluation(self, source: str) -> list[Example]:
        config = self.config
        kind, _, where = source.partition(":")
        if source == EMBEDDED:
            return _passages("validation")
        if kind == "glue":
            folder, _, split = where.partition(":")
            return glue.read(folder, config.glue_task, split or "dev")
        if kind == "xnli" and config.language == ALL_LANGUAGES:
            return xnli.read_all(where)
        if kind == "xnli":
            return xnli.read_dev(where, config.language)
        path = source if kind != "table" else where.split(",")[-1]
        if not path:
            raise errors.UserError("--data is needed: what to measure on")
        text_b = None if config.text_b == "auto" else config.text_b
        return examples_lib.read_table(
            path, config.text_a or None, text_b, config.label or None, config.kind
        )

    def _read_tables(self, where: str):
        config = self.config
        paths = [path for path in where.split(",") if path]
        if not 1 <= len(paths) <= 2:
            raise errors.UserError("data table: takes one file, or two: train,dev")
        columns = (config.text_a or None, config.text_b, config.label or None)
        if config.text_b == "auto":
            columns = (columns[0], None, columns[2])
        read = [
            examples_lib.read_table(path, *columns, kind=config.kind) for path in paths
        ]
        train = read[0]
        if len(read) == 1:
            # Every tenth row is held out when there is no second file.
            held_out = train[9::10] or train[-1:]
            train = [row for i, row in enumerate(train) if i % 10 != 9] or train
        else:
            held_out = read[1]
        labels = list(config.labels)
        if not labels and config.kind != "regression":
            labels = examples_lib.label_set(read[0], config.kind)
        return train, held_out, labels


def score(kind: str, logits, labels, glue_task: str = "") -> dict[str, float]:
    """Returns the metrics of predictions.

    Args:
        kind: classification, regression or multilabel.
        logits: [N, C].
        labels: ids [N], floats [N] or 0/1 rows [N, C].
        glue_task: with its name, the task's own metrics.
    """
    if kind == "multilabel":
        return classification.multilabel_f1(labels, logits > 0)
    guess = logits[:, 0] if kind == "regression" else logits.argmax(-1)
    if glue_task:
        return glue.score(glue_task, labels, guess)
    if kind == "regression":
        return {
            "pearson": classification.pearson(labels, guess),
            "spearman": classification.spearman(labels, guess),
        }
    return {
        "accuracy": classification.accuracy(labels, guess),
        "macro_f1": classification.macro_f1(labels, guess),
    }


def _passages(split: str) -> list[Example]:
    return [
        Example(text, None, label, f"embedded:topics:{split}:{i}", str(i))
        for i, (text, label) in enumerate(topics.labelled_passages(split))
    ]
