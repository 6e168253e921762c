"""Mixed precision: the layers' arithmetic, and loss scaling for float16."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfdl.engine import errors

POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}

# Where a dynamic scale stops. What overflows at a scale of 1 overflows by itself.
MINIMUM, MAXIMUM = 1.0, 2.0**24


def set_policy(precision: str) -> None:
    """Sets the arithmetic of layers made from now on; weights stay float32.

    Raises:
        UserError: `precision` is not float32, bfloat16 or float16.
    """
    if precision not in POLICIES:
        raise errors.unknown("precision", precision, POLICIES)
    keras.config.set_dtype_policy(POLICIES[precision])


class LossScale:
    """Keeps float16 gradients from underflowing (Micikevicius et al. 2018, 3.2).

    The loss is multiplied by a scale and the gradients are divided by it. A
    dynamic scale is halved after a step with a NaN or Inf, whose update is
    skipped, and doubled after `growth_interval` good steps in a row.

    Args:
        initial: the scale to begin with; 1 switches scaling off.
        dynamic: whether it adapts.
        growth_interval: good steps before it is doubled.
    """

    def __init__(
        self, initial: float = 1.0, dynamic: bool = False, growth_interval: int = 2000
    ):
        self.dynamic = dynamic
        self._growth_interval = growth_interval
        self._initial = float(initial)
        self.variables: Sequence[tf.Variable] = ()
        if dynamic:
            only_first = tf.VariableAggregation.ONLY_FIRST_REPLICA
            self._scale = tf.Variable(
                float(initial), trainable=False, aggregation=only_first
            )
            self._good = tf.Variable(0, trainable=False, aggregation=only_first)
            self.variables = (self._scale, self._good)

    @classmethod
    def for_precision(cls, precision: str) -> "LossScale":
        """Returns the scale that a precision needs: a dynamic one for float16."""
        if precision == "float16":
            return cls(initial=2.0**15, dynamic=True)
        return cls()

    @property
    def active(self) -> bool:
        """Whether gradients carry a scale at all."""
        return self.dynamic or self._initial != 1.0

    def value(self) -> tf.Tensor:
        """Returns the current scale, a float32 scalar."""
        if self.dynamic:
            return tf.convert_to_tensor(self._scale)
        return tf.constant(self._initial)

    def scale(self, loss: tf.Tensor) -> tf.Tensor:
        """Returns the loss times the scale."""
        if not self.active:
            return loss
        return loss * tf.cast(self.value(), loss.dtype)

    def at_minimum(self) -> tf.Tensor:
        """Tells whether the scale cannot be lowered any further."""
        if not self.dynamic:
            return tf.constant(True)
        return tf.convert_to_tensor(self._scale) <= MINIMUM

    def update(self, finite: tf.Tensor) -> None:
        """Adapts the scale after a step; called in cross-replica context."""
        if not self.dynamic:
            return
        good = tf.where(finite, self._good + 1, 0)
        grow = good >= self._growth_interval
        scale = tf.convert_to_tensor(self._scale)
        grown = tf.where(grow, tf.minimum(scale * 2.0, MAXIMUM), scale)
        self._scale.assign(tf.where(finite, grown, tf.maximum(scale * 0.5, MINIMUM)))
        self._good.assign(tf.where(grow, 0, good))
