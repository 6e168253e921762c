"""What fine-tuning tasks share: length-bucketed batches and evaluation over them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfdl.data.bucketing import bucketed_batches, evaluation_plan, steps_per_epoch
from tfdl.data.indexed import Ragged
from tfdl.engine import distribution
from tfdl.engine.phases import Phase
from tfdl.models.bert.base import BertTask


class Rows:
    """Features of examples: ragged token columns and one value per example.

    Args:
        features: per example `token_ids`, `segment_ids` and further columns of the
            same length.
        values: name -> array [N, ...], one entry per example.
    """

    def __init__(
        self,
        features: Sequence[Mapping[str, Sequence[int]]],
        values: Mapping[str, np.ndarray] | None = None,
    ):
        self._ragged = Ragged({k: [row[k] for row in features] for k in features[0]})
        self._values = {k: tf.constant(v) for k, v in (values or {}).items()}
        self.lengths = self._ragged.lengths

    def __len__(self) -> int:
        return len(self._ragged)

    def batch(self, indices: tf.Tensor, width: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns padded columns [B, width], the values, and `weights` [B].

        A weight is 0 where the index is negative: a row that only fills up.
        """
        batch = self._ragged.gather(indices, width)
        safe = tf.maximum(indices, 0)
        for name, value in self._values.items():
            batch[name] = tf.gather(value, safe)
        batch["weights"] = tf.cast(indices >= 0, tf.float32)
        return batch


class BertFineTuneTask(BertTask):
    """A task that trains on `self.rows` and is measured on `self.eval_rows`."""

    rows: Rows
    eval_rows: Rows | None = None

    def model_config(self) -> dict[str, Any]:
        """Returns `config.json`; a head's dropout is said where it is not 0.1."""
        if self.config.head_dropout != 0.1:
            self.head_config["dropout"] = self.config.head_dropout
        return super().model_config()

    def phases(self) -> list[Phase]:
        """Returns one phase of `epochs` (or `steps`) with BERT's schedule."""
        config = self.config
        # As the original counts: int(examples / batch size * epochs).
        steps = int(len(self.rows) / config.batch_size * config.epochs)
        steps = config.get("steps") or max(steps, 1)
        every = config.eval_every
        return [
            Phase(
                "finetune",
                steps,
                config.batch_size,
                self.schedule(steps),
                trainable=self.trainable,
                eval_every=every,
            )
        ]

    def train_data(self, phase, start_step, shard):
        """Returns batches of similar lengths; every epoch is a new permutation."""
        batches = bucketed_batches(
            self.bucket_lengths(),
            phase.batch_size,
            self.config.seed,
            start_step,
            shard,
            self.config.bucket_multiple,
        )
        return batches.map(self.rows.batch, num_parallel_calls=tf.data.AUTOTUNE)

    def bucket_lengths(self) -> np.ndarray:
        """Returns the lengths that batches are made by.

        With `bucketing` off every row counts as max_seq_length long.
        """
        if self.config.bucketing:
            return self.rows.lengths
        return np.full_like(self.rows.lengths, self.max_seq_length())

    def denominators(self, batch):
        """Returns the number of examples."""
        return {"examples": tf.reduce_sum(batch["weights"])}

    def steps_per_epoch(self) -> int:
        """Returns the batches of an epoch."""
        return steps_per_epoch(len(self.rows), self.config.batch_size)

    def predict_rows(self, learner, rows: Rows, function) -> list[Any]:
        """Runs `function(batch)` over all rows; returns its results in their order.

        Args:
            learner: whose strategy is used.
            rows: what to run over.
            function: called in replica context on a padded batch; returns a dict of
                tensors with the batch dimension first.

        Returns:
            One dict of NumPy arrays per row.
        """
        size = self.config.eval_batch_size * learner.strategy.num_replicas_in_sync
        return run_rows(learner.strategy, rows, function, size)


def run_rows(strategy, rows: Rows, function, batch_size: int) -> list[dict[str, Any]]:
    """Runs `function` over all rows in batches of similar lengths, in order."""
    plan = evaluation_plan(rows.lengths, batch_size)
    indices = tf.constant(np.stack([batch for batch, _ in plan]))
    widths = tf.constant([width for _, width in plan], tf.int64)
    dataset = tf.data.Dataset.from_tensor_slices((indices, widths)).map(rows.batch)
    results: list[Any] = [None] * len(rows)
    outputs = distribution.map_batches(strategy, function, dataset)
    for (batch, _), output in zip(plan, outputs, strict=True):
        for position, row in enumerate(batch):
            if row >= 0:
                results[row] = {name: value[position] for name, value in output.items()}
    return results
