"""Pretraining: masked language model and next sentence (run_pretraining.py)."""

import random
from typing import Any

import numpy as np
import tensorflow as tf

from tfdl.data import records, topics
from tfdl.data.indexed import index_batches
from tfdl.engine import distribution, errors, model_dir, schedules
from tfdl.engine.phases import Phase
from tfdl.models.bert import losses, pretraining_records, text_files
from tfdl.models.bert import pretraining_data as data
from tfdl.models.bert.base import BertTask, inputs
from tfdl.models.bert.dynamic_masking import Masker
from tfdl.text.vocab import MASK, train_wordpiece

EMBEDDED = "embedded:topics"


class Arrays:
    """Instances made in memory, read like records."""

    def __init__(self, rows: list[dict[str, np.ndarray]]):
        self._columns = {
            name: tf.constant(np.stack([row[name] for row in rows])) for name in rows[0]
        }
        self._count = len(rows)

    def __len__(self) -> int:
        return self._count

    def batch(self, indices: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the instances at `indices`."""
        rows = {
            name: tf.gather(value, indices) for name, value in self._columns.items()
        }
        return pretraining_records.rename(rows)


class RecordSource:
    """Instances in TFRecord files, the original's too."""

    def __init__(self, pattern: str, length: int, slots: int, vocab_size: int):
        self._records = records.Records(pattern)
        self._length, self._slots = length, slots
        pretraining_records.check(self._records, length, slots, vocab_size)

    def __len__(self) -> int:
        return len(self._records)

    def batch(self, indices: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the instances at `indices`."""
        serialized = self._records.gather(indices)
        return pretraining_records.parse(serialized, self._length, self._slots)


class BertPretrainTask(BertTask):
    """Masked LM and next-sentence prediction in phases of growing length.

    The loss is `sum(w * ce) / (sum(w) + 1e-5)` over all masked positions of the
    global batch plus the mean next-sentence cross-entropy.
    """

    head = "pretraining"

    def prepare(self) -> None:
        """Reads or makes the instances of every phase, and a held-out set."""
        config = self.config
        self._documents = None
        if not config.data.startswith("tfrecord:"):
            self._documents = self._read_documents(config.data)
        if self._documents is not None and config.train_vocab and not config.init_from:
            sentences = (s for document in self._documents for s in document)
            self.vocab = train_wordpiece(
                sentences, config.train_vocab, config.do_lower_case
            )
        self.load_encoder()
        self.sources: dict[str, Any] = {}
        for stage in config.phases:
            self.check_length(stage.max_seq_length)
        if self._documents is not None:
            self._from_documents()
        else:
            self._from_records()

    def prepare_evaluation(self, data: str | None) -> None:
        """Reads what is measured on: records, text, or the embedded held-out text."""
        config = self.config
        saved = model_dir.read_config(config.init_from)
        if saved["head"] != self.head:
            raise errors.UserError(
                f"{config.init_from} is a BERT for {saved['head']}, it has no "
                "pretraining heads"
            )
        source = data or config.get("eval_data") or config.data
        kind, _, where = source.partition(":")
        if not where:
            raise errors.UserError(
                "--data is needed: tfrecord:GLOB, text:GLOB or embedded:topics"
            )
        self.load_encoder()
        stage = config.phases[-1]
        stage.max_seq_length = min(stage.max_seq_length, saved["max_seq_length"])
        if kind == "tfrecord":
            length, slots = pretraining_records.sizes(records.Records(where))
            self.check_length(length)
            self.held_out = RecordSource(where, length, slots, len(self.vocab))
            return
        documents = self._tokenized(self._read_documents(source))
        if source == EMBEDDED:
            documents = _split(documents, config.held_out)[1]
        self.held_out = self._instances(documents, stage, config.seed)

    def phases(self) -> list[Phase]:
        """Returns a phase per sequence length; one schedule runs through them."""
        stages = self.config.phases
        schedule = self.schedule(sum(stage.steps for stage in stages))
        result, offset = [], 0
        for stage in stages:
            result.append(
                Phase(
                    stage.name,
                    stage.steps,
                    stage.batch_size,
                    schedules.shifted(schedule, offset),
                    trainable=self.trainable,
                    eval_every=self.config.eval_every,
                )
            )
            offset += stage.steps
        return result

    def train_data(self, phase, start_step, shard):
        """Returns batches of instances, drawn by a permutation per epoch."""
        source = self.sources[phase.name]
        batches = index_batches(
            len(source), phase.batch_size, self.config.seed, start_step, shard
        )
        batches = batches.map(source.batch, num_parallel_calls=tf.data.AUTOTUNE)
        if not self.config.dynamic_masking:
            return batches
        steps = tf.data.Dataset.counter(start_step, dtype=tf.int64)
        remask = self._remask(phase, shard)
        return tf.data.Dataset.zip(steps, batches).map(
            remask, num_parallel_calls=tf.data.AUTOTUNE
        )

    def denominators(self, batch):
        """Returns the number of predictions and of examples."""
        examples = tf.shape(batch["token_ids"])[0]
        return {
            "mlm": tf.reduce_sum(batch["masked_weights"]),
            "nsp": tf.cast(examples, tf.float32),
        }

    def loss(self, model, batch, denominators, training=True):
        """Returns this part's share of masked-LM plus next-sentence loss."""
        features = inputs(batch) | {"masked_positions": batch["masked_positions"]}
        out = model(features, training=training)
        weights, labels = batch["masked_weights"], batch["next_sentence_labels"]
        mlm, mlm_right = losses.masked_lm(
            out["mlm_logits"], batch["masked_ids"], weights
        )
        ones = tf.ones_like(labels, tf.float32)
        nsp, nsp_right = losses.classification(out["nsp_logits"], labels, ones)
        share = mlm / (denominators["mlm"] + 1e-5) + nsp / denominators["nsp"]
        slots, examples = tf.reduce_sum(weights), tf.reduce_sum(ones)
        return share, {
            "masked_lm_loss": (mlm, slots),
            "masked_lm_accuracy": (mlm_right, slots),
            "next_sentence_loss": (nsp, examples),
            "next_sentence_accuracy": (nsp_right, examples),
        }

    def evaluate(self, learner) -> dict[str, float]:
        """Returns loss, accuracy and perplexity on the held-out instances."""
        if self.held_out is None:
            return {}
        size = self.config.eval_batch_size * learner.strategy.num_replicas_in_sync
        count = min(len(self.held_out), self.config.eval_examples)
        order = np.concatenate([np.arange(count), np.full(-count % size, -1)])
        dataset = tf.data.Dataset.from_tensor_slices(order.reshape(-1, size))
        dataset = dataset.map(self._eval_batch)

        def measure(batch):
            features = inputs(batch) | {"masked_positions": batch["masked_positions"]}
            out = learner.model(features)
            weights = batch["masked_weights"] * batch["real"][:, None]
            mlm, right = losses.masked_lm(
                out["mlm_logits"], batch["masked_ids"], weights
            )
            nsp, nsp_right = losses.classification(
                out["nsp_logits"], batch["next_sentence_labels"], batch["real"]
            )
            counts = [tf.reduce_sum(weights), tf.reduce_sum(batch["real"])]
            return tf.stack([mlm, right, nsp, nsp_right, *counts])[None]

        rows = list(distribution.map_batches(learner.strategy, measure, dataset))
        mlm, right, nsp, nsp_right, slots, examples = np.concatenate(rows).sum(0)
        mlm_loss = mlm / max(slots, 1.0)
        return {
            "masked_lm_accuracy": right / max(slots, 1.0),
            "masked_lm_loss": mlm_loss,
            "masked_lm_perplexity": float(np.exp(min(mlm_loss, 50.0))),
            "next_sentence_accuracy": nsp_right / examples,
            "next_sentence_loss": nsp / examples,
        }

    def samples(self, learner, step) -> dict[str, Any]:
        """Returns a few held-out sentences with what the model puts for [MASK]."""
        if self.held_out is None:
            return {}
        batch = self.held_out.batch(tf.range(4, dtype=tf.int64) % len(self.held_out))
        features = inputs(batch) | {"masked_positions": batch["masked_positions"]}
        guesses = tf.argmax(learner.model(features)["mlm_logits"], -1).numpy()
        lines = []
        for i in range(4):
            tokens = [self.vocab[t] for t in batch["token_ids"][i].numpy()]
            tokens = tokens[: int(tf.reduce_sum(batch["padding_mask"][i]))]
            weights = batch["masked_weights"][i].numpy()
            for p, truth, guess, used in zip(
                batch["masked_positions"][i].numpy(),
                batch["masked_ids"][i].numpy(),
                guesses[i],
                weights,
                strict=True,
            ):
                if used and tokens[p] == MASK:
                    mark = "=" if truth == guess else f"<{self.vocab[truth]}"
                    tokens[p] = f"[{self.vocab[guess]}{mark}]"
            lines.append(" ".join(tokens[1:]).replace(" ##", ""))
        return {"masked_lm": "\n\n".join(lines)}

    def max_seq_length(self) -> int:
        """Returns the longest phase's length."""
        return max(stage.max_seq_length for stage in self.config.phases)

    def score(self, metrics) -> float:
        """Returns the negative masked-LM loss."""
        return -metrics.get("masked_lm_loss", 0.0)

    def summary(self, before, after, model) -> list[str]:
        """Returns what to try next."""
        return [
            f'echo "the object is [MASK]" | tfdl predict --model_dir={model} --input=-',
            f"tfdl train --model=bert --recipe=classify --init_from={model}",
            f"tfdl export --model_dir={model} --output=saved_models/bert",
        ]

    def _read_documents(self, source: str) -> list[list[str]]:
        kind, _, rest = source.partition(":")
        if source == EMBEDDED:
            return topics.documents()
        if kind != "text":
            raise errors.UserError(
                f"data {source!r} is not known; allowed are embedded:topics, text:GLOB "
                "(a sentence per line, blank lines between documents) and tfrecord:GLOB"
            )
        documents: list[list[str]] = [[]]
        for path in records.expand(rest):
            for line in text_files.lines(text_files.whole(path)):
                if line.strip():
                    documents[-1].append(line.strip())
                else:
                    documents.append([])
            documents.append([])
        return [document for document in documents if document]

    def _from_documents(self) -> None:
        config = self.config
        train, held_out = _split(self._tokenized(self._documents), config.held_out)
        for i, stage in enumerate(config.phases):
            self.sources[stage.name] = self._instances(train, stage, config.seed + i)
        self.held_out = None
        if held_out:
            self.held_out = self._instances(held_out, stage, config.seed)

    def _tokenized(self, documents: list[list[str]]) -> list[list[list[str]]]:
        lines = [line for document in documents for line in [*document, ""]]
        tokenized = data.read_documents(lines, self.tokenizer)
        if len(tokenized) < 2:
            raise errors.UserError(
                "pretraining needs two documents or more (random next sentences come "
                "from another one); blank lines separate them"
            )
        return tokenized

    def _instances(self, documents, stage, seed: int) -> Arrays:
        settings = self._settings(stage)
        made = data.create_instances(
            documents, self.vocab, settings, random.Random(seed)
        )
        return Arrays([data.features(x, self.tokenizer, settings) for x in made])

    def _from_records(self) -> None:
        vocab_size = len(self.vocab)
        for stage in self.config.phases:
            pattern = stage.get("data") or self.config.data.removeprefix("tfrecord:")
            self.sources[stage.name] = RecordSource(
                pattern, stage.max_seq_length, stage.max_predictions_per_seq, vocab_size
            )
        pattern, self.held_out = self.config.get("eval_data"), None
        if pattern:
            self.held_out = RecordSource(
                pattern.removeprefix("tfrecord:"),
                stage.max_seq_length,
                stage.max_predictions_per_seq,
                vocab_size,
            )

    def _settings(self, stage) -> data.Settings:
        return data.Settings(
            max_seq_length=stage.max_seq_length,
            max_predictions_per_seq=stage.max_predictions_per_seq,
            dupe_factor=self.config.dupe_factor,
            masked_lm_prob=self.config.masked_lm_prob,
            short_seq_prob=self.config.short_seq_prob,
            do_whole_word_mask=self.config.do_whole_word_mask,
        )

    def _remask(self, phase, shard):
        """Returns the function (step, batch) -> batch with other masks."""
        config = self.config
        number = [stage.name for stage in config.phases].index(phase.name)
        masker = Masker(self.vocab, config.masked_lm_prob, config.do_whole_word_mask)
        part = shard.part(phase.batch_size)
        rows = slice(shard.index * part, (shard.index + 1) * part)

        def remask(step, batch):
            names = sorted(batch)

            def run(step, *values):
                seed = (config.seed % 2**32, number, int(step))
                made = masker(dict(zip(names, values, strict=True)), seed, rows)
                return [made[name] for name in names]

            values = [batch[name] for name in names]
            made = tf.numpy_function(
                run, [step, *values], [value.dtype for value in values], stateful=False
            )
            return {
                name: tf.ensure_shape(value, batch[name].shape)
                for name, value in zip(names, made, strict=True)
            }

        return remask

    def _eval_batch(self, indices):
        batch = self.held_out.batch(tf.maximum(indices, 0))
        batch["real"] = tf.cast(indices >= 0, tf.float32)
        return batch


def _split(documents, share: float):
    """Splits every document: its last sentences are held out."""
    train, held_out = [], []
    for document in documents:
        count = int(len(document) * share)
        train.append(document[: len(document) - count])
        if count:
            held_out.append(document[len(document) - count :])
    return train, held_out
