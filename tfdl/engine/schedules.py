"""Learning-rate schedules: pure functions of the step.

Every schedule takes a step (an integer tensor or a Python int, counted from 0) and
returns a float32 tensor: the rate of that step's update.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfdl.engine import errors

Schedule = Callable[[Any], tf.Tensor]


def constant(rate: float) -> Schedule:
    """The same rate at every step."""
    return lambda step: tf.constant(rate, tf.float32)


def bert(rate: float, total: int, warmup: int = 0) -> Schedule:
    """BERT's schedule (google-research/bert, optimization.py).

    Linear decay to 0 over `total` steps; in the first `warmup` steps instead
    `rate * step / warmup`, so that the first update's rate is 0. The decay is not
    restarted after the warm-up: at step `warmup` it has advanced that far.
    """

    def schedule(step):
        step = tf.cast(step, tf.float32)
        left = 1.0 - tf.minimum(step, float(total)) / float(max(total, 1))
        decayed = rate * left
        if not warmup:
            return decayed
        return tf.where(step < float(warmup), rate * (step / float(warmup)), decayed)

    return schedule


def polynomial(
    rate: float, total: int, power: float = 1.0, end: float = 0.0, warmup: int = 0
) -> Schedule:
    """`(rate - end) * (1 - t)^power + end`, t counted after a linear warm-up.

    The warm-up goes from `rate / warmup` to `rate`, and t from 0 to 1 over the
    remaining steps.
    """

    def schedule(step):
        step = tf.cast(step, tf.float32)
        t = _after_warmup(step, total, warmup)
        decayed = (rate - end) * tf.pow(1.0 - t, power) + end
        return _with_warmup(step, rate, warmup, decayed)

    return schedule


def cosine(rate: float, total: int, end: float = 0.0, warmup: int = 0) -> Schedule:
    """`end + (rate - end) * (1 + cos(pi t)) / 2` (Loshchilov & Hutter 2016, eq. 5)."""

    def schedule(step):
        step = tf.cast(step, tf.float32)
        t = _after_warmup(step, total, warmup)
        decayed = end + (rate - end) * 0.5 * (1.0 + tf.cos(math.pi * t))
        return _with_warmup(step, rate, warmup, decayed)

    return schedule


def noam(rate: float, hidden_size: int, warmup: int) -> Schedule:
    """`rate * d^-0.5 * min(s^-0.5, s * warmup^-1.5)` (Vaswani et al. 2017, eq. 3)."""

    def schedule(step):
        step = tf.cast(step, tf.float32) + 1.0
        slope = tf.minimum(tf.math.rsqrt(step), step * float(warmup) ** -1.5)
        return rate * float(hidden_size) ** -0.5 * slope

    return schedule


def piecewise_linear(points: Sequence[tuple[float, float]]) -> Schedule:
    """Straight lines between (step, rate) points, constant outside them."""
    if not points or sorted(points, key=lambda point: point[0]) != list(points):
        raise errors.UserError(f"schedule points have to be in order, got {points}")
    steps = [float(step) for step, _ in points]
    rates = [float(rate) for _, rate in points]

    def schedule(step):
        step = tf.cast(step, tf.float32)
        result = tf.constant(rates[0])
        for i in range(len(points) - 1):
            width = steps[i + 1] - steps[i]
            share = (step - steps[i]) / width if width else 1.0
            line = rates[i] + (rates[i + 1] - rates[i]) * share
            result = tf.where(step >= steps[i], line, result)
        return tf.where(step >= steps[-1], rates[-1], result)

    return schedule


def shifted(schedule: Schedule, offset: int) -> Schedule:
    """The same schedule, entered at step `offset`: for phases that share one."""
    return lambda step: schedule(tf.cast(step, tf.int64) + offset)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": lambda rate, total: constant(rate),
    "bert": bert,
    "polynomial": polynomial,
    "cosine": cosine,
}


def create(name: str, rate: float, total: int, **options: Any) -> Schedule:
    """Returns the schedule `name` over `total` steps with peak `rate`.

    Raises:
        UserError: an unknown name or option.
    """
    if name not in SCHEDULES:
        raise errors.unknown("schedule", name, SCHEDULES)
    try:
        return SCHEDULES[name](rate, total, **options)
    except TypeError as error:
        raise errors.UserError(f"schedule {name!r}: {error}") from None


def _after_warmup(step: tf.Tensor, total: int, warmup: int) -> tf.Tensor:
    length = float(max(total - warmup, 1))
    return tf.clip_by_value((step - float(warmup)) / length, 0.0, 1.0)


def _with_warmup(step, rate: float, warmup: int, decayed: tf.Tensor) -> tf.Tensor:
    if not warmup:
        return decayed
    rising = rate * (step + 1.0) / float(warmup)
    return tf.where(step < float(warmup), rising, decayed)
