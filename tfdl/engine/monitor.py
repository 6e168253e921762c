"""What a run remembers of its evaluations: the best weights, when to stop."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

MOST = 2000  # evaluations


class Monitor:
    """Keeps the losses of all evaluations, and the best model so far.

    Its variables belong into checkpoints.

    Args:
        weights: of the model; made in the strategy's scope.
        names: of the metrics; the first one decides, smaller is better.
        keep_best: whether the weights of the best evaluation are kept.
        patience: stop after so many evaluations without a better one; 0 never stops.
        nonmono: how many evaluations the non-monotone rule leaves out; 0 is off.
    """

    def __init__(
        self,
        weights: Sequence[tf.Variable],
        names: Sequence[str],
        keep_best: bool,
        patience: int = 0,
        nonmono: int = 0,
    ):
        self._weights = list(weights)
        self._names = tuple(names)
        self._patience, self._nonmono = patience, nonmono
        self.keep_best = keep_best or patience > 0
        self._history = tf.Variable(tf.zeros([MOST]), trainable=False)
        # Evaluations made, the best one (from 1 on), the step of the last, triggered.
        self._counts = tf.Variable(tf.zeros([4], tf.int64), trainable=False)
        self._best_metrics = tf.Variable(tf.zeros([len(names)]), trainable=False)
        self._best: list[tf.Variable] = []
        if self.keep_best:
            self._best = [
                tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False)
                for v in self._weights
            ]

    @property
    def variables(self) -> list[tf.Variable]:
        """Everything, in a fixed order."""
        return [self._history, self._counts, self._best_metrics, *self._best]

    def record(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Notes an evaluation; returns whether the non-monotone rule holds first now.

        That is: the loss is larger than the smallest of all but the last `nonmono`
        (Merity et al. 2017, algorithm 1). A step that was noted already is not again.
        """
        count, best, last, triggered = self._counts.numpy()
        if step <= last or count >= MOST:
            return False
        loss = float(metrics[self._names[0]])
        history = self._history.numpy()
        earlier = history[:count]
        rule = (
            self._nonmono > 0
            and count > self._nonmono
            and loss > earlier[: count - self._nonmono].min()
        )
        history[count] = loss
        self._history.assign(history)
        if not best or loss < earlier[best - 1]:
            best = count + 1
            self._best_metrics.assign([float(metrics[n]) for n in self._names])
            for kept, weight in zip(self._best, self._weights, strict=False):
                kept.assign(weight.numpy())
        first = bool(rule and not triggered)
        self._counts.assign([count + 1, best, step, int(triggered or rule)])
        return first

    @property
    def triggered(self) -> bool:
        """Whether the non-monotone rule has held."""
        return bool(self._counts.numpy()[3])

    @property
    def stops(self) -> bool:
        """Whether patience is at an end."""
        count, best, *_ = self._counts.numpy()
        return bool(self._patience and best and count - best >= self._patience)

    def best_metrics(self) -> dict[str, float]:
        """Returns the metrics of the best evaluation."""
        values = self._best_metrics.numpy().astype(np.float64)
        return dict(zip(self._names, map(float, values), strict=True))

    def restore(self) -> None:
        """Puts the best weights into the model, if they are kept."""
        if self.keep_best and self._counts.numpy()[1]:
            for kept, weight in zip(self._best, self._weights, strict=True):
                weight.assign(kept.numpy())
