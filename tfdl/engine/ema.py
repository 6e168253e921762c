"""Exponential moving averages of weights."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf


class ExponentialMovingAverage:
    """Keeps `average = decay * average + (1 - decay) * weight` per variable.

    Args:
        decay: the decay, or a function of the number of updates made so far (a
            float32 tensor), e.g. `warmed_up(0.999)`.
        variables: the weights; their values now are the first averages.
    """

    def __init__(
        self,
        decay: float | Callable[[tf.Tensor], tf.Tensor],
        variables: Sequence[tf.Variable],
    ):
        self._decay = decay
        self._weights = list(variables)
        strategy = tf.distribute.get_strategy()
        self.averages = []
        for variable in self._weights:
            with strategy.extended.colocate_vars_with(variable):
                self.averages.append(
                    tf.Variable(variable.read_value(), trainable=False)
                )
        self._updates = tf.Variable(0, dtype=tf.int64, trainable=False)

    @property
    def variables(self) -> list[tf.Variable]:
        """Everything a checkpoint has to hold, in a fixed order."""
        return [self._updates, *self.averages]

    def update(self) -> None:
        """Moves the averages towards the weights; in cross-replica context."""
        decay = self._decay
        if callable(decay):
            decay = decay(tf.cast(self._updates, tf.float32))
        strategy = tf.distribute.get_strategy()

        def move(average, weight, decay):
            return average.assign_sub((1.0 - decay) * (average - weight))

        for average, weight in zip(self.averages, self._weights, strict=True):
            strategy.extended.update(average, move, args=(weight, decay), group=False)
        self._updates.assign_add(1)

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Puts the averages in the weights' place while the block runs."""
        kept = [variable.numpy() for variable in self._weights]
        for average, weight in zip(self.averages, self._weights, strict=True):
            weight.assign(average.numpy())
        try:
            yield
        finally:
            for value, weight in zip(kept, self._weights, strict=True):
                weight.assign(value)


def warmed_up(decay: float) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns `min(decay, (1 + n) / (10 + n))`, n the updates made so far."""
    return lambda n: tf.minimum(decay, (1.0 + n) / (10.0 + n))
