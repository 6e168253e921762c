"""Measuring a model directory with a task's metrics."""

import pathlib

import tensorflow as tf
from ml_collections import ConfigDict

from tfdl.engine import precision, runs
from tfdl.engine.task import plain


class Evaluated:
    """What a task needs to know of a learner when nothing is learned."""

    def __init__(self, strategy: tf.distribute.Strategy, model):
        self.strategy, self.model = strategy, model


def evaluate(
    config: ConfigDict,
    strategy: tf.distribute.Strategy,
    data: str | None,
    output: pathlib.Path,
) -> dict[str, float | str]:
    """Returns the metrics of the model directory `config.init_from`.

    Args:
        config: the recipe of the task that measures.
        strategy: where it runs.
        data: what to measure on; None is the recipe's own held-out data.
        output: where the task may write predictions.
    """
    task = runs.create_task(config, output)
    task.prepare_evaluation(data)
    precision.set_policy(config.precision)
    with strategy.scope():
        model = task.load(config.init_from)
    metrics = task.evaluate(Evaluated(strategy, model))
    return plain(metrics)
