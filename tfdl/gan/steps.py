"""What a step of adversarial training is made of.

Two networks take turns: each `update` sums the gradients of the parts of a batch and
applies them to one network. Losses are shares of the global batch's mean, so that they
and their gradients add over parts and replicas.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfdl.engine import errors
from tfdl.engine.learner import Learner
from tfdl.engine.phases import Phase

Shares = dict[str, tf.Tensor]
# part of a batch -> (gradients, shares to be logged)
Compute = Callable[[Any], tuple[Sequence[tf.Tensor | None], Shares]]


class Skips:
    """Counts updates that were left out because a gradient was not finite.

    A single one happens to a GAN that recovers; when so many come in a row the
    weights themselves are beyond recovery and the run ends.

    Args:
        names: the networks; to be made in the strategy's scope.
        most: updates in a row that are left out before the run ends; 0 ends it at
            the first.

    Attributes:
        variables: for checkpoints.
    """

    def __init__(self, names: Sequence[str], most: int):
        if most < 0:
            raise errors.UserError(f"skips may not be negative, got {most}")
        self.most = most

        def counter(name):
            return tf.Variable(
                0,
                dtype=tf.int64,
                trainable=False,
                name=name,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

        self.totals = {name: counter(f"skipped_{name}") for name in names}
        self._rows = {name: counter(f"skipped_in_a_row_{name}") for name in names}
        self.variables = [*self.totals.values(), *self._rows.values()]

    def judge(self, name: str) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns what `Learner.apply` takes for a network; in replica context."""

        def end(bad):
            one = tf.cast(bad, tf.int64)
            row = (tf.convert_to_tensor(self._rows[name]) + 1) * one
            self._rows[name].assign(row)
            self.totals[name].assign_add(one)
            return row > self.most

        return end

    def metrics(self, replicas: int) -> dict[str, tuple[tf.Tensor, tf.Tensor]]:
        """Returns the totals so far, to be logged."""
        one = tf.constant(1.0 / replicas)
        return {
            f"{name}_skipped": (tf.cast(total, tf.float32) * one, one)
            for name, total in self.totals.items()
        }


def summed(
    compute: Compute, parts: Iterable[Any]
) -> tuple[list[tf.Tensor | None], Shares]:
    """Returns the sums of gradients and shares over the parts, one after another."""
    gradients, shares = None, {}
    for part in parts:
        more, more_shares = compute(part)
        if gradients is None:
            gradients, shares = list(more), dict(more_shares)
            continue
        gradients = [_added(*pair) for pair in zip(gradients, more, strict=True)]
        shares = {name: shares[name] + more_shares[name] for name in shares}
    if gradients is None:
        raise ValueError("a step without parts")
    return gradients, shares


def update(
    learner: Learner,
    phase: Phase,
    name: str,
    compute: Callable[[Any, list[tf.Variable]], tuple[Sequence, Shares]],
    parts: Iterable[Any],
    rate: tf.Tensor,
    skips: Skips | None = None,
) -> tuple[Shares, Mapping[str, tf.Tensor]]:
    """Updates one network from the parts of a batch; in replica context.

    Args:
        learner: holds the networks.
        phase: says which variables are trained.
        name: the network.
        compute: (part, variables) -> (gradients, shares); gradients of the scaled
            loss where the learner has a loss scale.
        parts: of this replica's batch.
        rate: the learning rate.
        skips: what judges updates that are not finite; None ends the run at once.

    Returns:
        (shares, report of `Learner.apply`).
    """
    variables = learner.trained(name, phase)
    watched = list(variables.values())
    gradients, shares = summed(lambda part: compute(part, watched), parts)
    judge = skips.judge(name) if skips else None
    report = learner.apply(name, gradients, variables, rate, judge=judge)
    return shares, report


def restart(optimizer: Any) -> None:
    """Forgets an optimizer's moments and its count of steps; outside a step."""
    for variable in optimizer.state():
        variable.assign(tf.zeros(variable.shape, variable.dtype))


def _added(a: tf.Tensor | None, b: tf.Tensor | None) -> tf.Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return tf.add(a, b)
