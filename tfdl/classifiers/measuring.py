"""Accuracies and loss of a classifier over labelled pictures, each counted once."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfdl.classifiers import losses
from tfdl.data.evaluation_images import EvaluationBatch, evaluation_images
from tfdl.data.image_sources import ImageSource
from tfdl.engine import distribution


def rows(logits: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Returns [B, 4]: right at 1, right at 5, loss and weight of every picture."""
    label, weight = batch["label"], batch["weight"]
    soft = losses.targets(label, logits.shape[-1])
    columns = (
        losses.correct(logits, label, 1),
        losses.correct(logits, label, 5),
        losses.softmax(logits, soft),
        tf.ones_like(weight),
    )
    return tf.stack([column * weight for column in columns], axis=1)


class Measure:
    """Measures a network again and again; traced once.

    Args:
        strategy: where it runs.
        rows_of: a batch -> what `rows` returns.
        on_bad: what unreadable pictures do, see `evaluation_images`.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        rows_of: Callable[[Mapping[str, tf.Tensor]], tf.Tensor],
        on_bad: str = "stop",
    ):
        self._map, self._on_bad = distribution.BatchMap(strategy, rows_of), on_bad

    def __call__(
        self, source: ImageSource, plan: Sequence[EvaluationBatch]
    ) -> dict[str, float]:
        """Returns top-1 and top-5 in percent, the mean loss and the pictures."""
        totals = np.zeros([4])
        for found in self._map(evaluation_images(source, plan, on_bad=self._on_bad)):
            totals += found.astype(np.float64).sum(axis=0)
        right1, right5, loss, count = totals
        if count + len(source.bad) != len(source):
            raise AssertionError(f"{count} of {len(source)} pictures were counted")
        return {
            "top1": 100.0 * right1 / count,
            "top5": 100.0 * right5 / count,
            "loss": loss / count,
            "images": count,
        }
