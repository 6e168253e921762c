"""Moving averages of weights."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfdl.engine.options import number

# The largest start: averaging that waits for `begin`.
NEVER = tf.int64.max

Decay = float | Callable[[tf.Tensor], tf.Tensor]


class ExponentialMovingAverage:
    """Keeps `average = decay * average + (1 - decay) * weight` per variable.

    Args:
        decay: the decay, or a function of the number of averagings made so far (a
            float32 tensor), such as `warmed_up(0.999)` or `averaged_sgd`. It is the
            attribute `decay`, read when the step is traced: a phase may change it.
        variables: the weights; their values now are the first averages.
        start: the first so many updates copy the weights instead of averaging
            them; with `NEVER` until `begin` is called.

    Raises:
        UserError: a decay that is not in [0, 1).
    """

    def __init__(self, decay: Decay, variables: Sequence[tf.Variable], start: int = 0):
        self.decay = decay if callable(decay) else number("decay", decay, below=1.0)
        self._weights = list(variables)
        self._kept: list[np.ndarray] = []
        self._strategy = tf.distribute.get_strategy()
        self.averages: list[tf.Variable] = []
        for variable in self._weights:
            with self._strategy.extended.colocate_vars_with(variable):
                self.averages.append(
                    tf.Variable(variable.read_value(), trainable=False)
                )
        self._updates = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._start = tf.Variable(start, dtype=tf.int64, trainable=False)

    @property
    def variables(self) -> list[tf.Variable]:
        """Everything a checkpoint has to hold, in a fixed order."""
        return [self._updates, self._start, *self.averages]

    def begin(self) -> None:
        """Starts averaging afresh from the weights as they are now."""
        for average, weight in zip(self.averages, self._weights, strict=True):
            average.assign(weight.numpy())
        self._start.assign(self._updates.numpy())

    def update(self) -> None:
        """Moves the averages towards the weights; in cross-replica context.

        Every replica averages its own copy of the weights; copies are equal, and so
        stay the averages.
        """
        n = tf.convert_to_tensor(self._updates) - tf.convert_to_tensor(self._start)
        tf.cond(n < 0, self._copy, lambda: self._average(tf.cast(n, tf.float32)))
        self._updates.assign_add(1)

    def _copy(self) -> tf.Tensor:
        self._each(lambda average, weight: average.assign(weight))
        return tf.constant(False)

    def _average(self, n: tf.Tensor) -> tf.Tensor:
        decay = self.decay(n) if callable(self.decay) else self.decay
        # Written with 1 - decay alone: in float32 it and decay need not add up to 1,
        # and the average would then move away from weights that stand still.
        share = 1.0 - decay

        def move(average, weight):
            return average.assign_sub(
                tf.cast(share, average.dtype) * (average - weight)
            )

        self._each(move)
        return tf.constant(True)

    def _each(self, function: Callable[..., tf.Tensor]) -> None:
        for average, weight in zip(self.averages, self._weights, strict=True):
            self._strategy.extended.update(
                average, function, args=(weight,), group=False
            )

    @contextlib.contextmanager
    def swapped(self) -> Iterator[None]:
        """Puts the averages in the weights' place while the block runs."""
        self._kept = [variable.numpy() for variable in self._weights]
        for average, weight in zip(self.averages, self._weights, strict=True):
            weight.assign(average.numpy())
        try:
            yield
        finally:
            for value, weight in zip(self._kept, self._weights, strict=True):
                weight.assign(value)
            self._kept = []

    @contextlib.contextmanager
    def unswapped(self) -> Iterator[None]:
        """Puts the weights back for a moment, within `swapped`."""
        for value, weight in zip(self._kept, self._weights, strict=True):
            weight.assign(value)
        try:
            yield
        finally:
            for average, weight in zip(self.averages, self._weights, strict=True):
                weight.assign(average.numpy())


def warmed_up(decay: float) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns `min(decay, (1 + n) / (10 + n))`, n the averagings made so far."""
    return lambda n: tf.minimum(decay, (1.0 + n) / (10.0 + n))


def averaged_sgd(n: tf.Tensor) -> tf.Tensor:
    """The decay that turns SGD into torch's averaged SGD from `begin` on.

    The average is the mean of all weights but the first (Polyak & Juditsky 1992;
    torch copies twice before it averages). With `start=NEVER`, and `begin` called
    when the validation loss stops falling, this is NT-ASGD (Merity et al. 2017,
    algorithm 1).
    """
    return tf.maximum(n - 1.0, 0.0) / tf.maximum(n, 1.0)


def half_life(updates: float) -> float:
    """Returns the decay by which a weight's part halves in so many updates.

    A half-life of h examples is `half_life(h / batch_size)` (10,000 images in
    NVlabs/stylegan, training_loop.py).
    """
    return 0.5 ** (1.0 / updates)
