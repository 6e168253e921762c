"""Learning-rate schedules: pure functions of the step.

Every schedule takes a step (an integer tensor or a Python int, counted from 0) and
returns a float32 tensor: the rate of that step's update. `float(schedule(7))` is the
number itself.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tfdl.engine import errors
from tfdl.engine.options import construct

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
    """`end + (rate - end) * (1 + cos(pi t)) / 2` (Loshchilov & Hutter 2016, eq. 5).

    Warm-up and t are those of `polynomial`.
    """

    def schedule(step):
        step = tf.cast(step, tf.float32)
        decayed = _cosine_between(rate, end, _after_warmup(step, total, warmup))
        return _with_warmup(step, rate, warmup, decayed)

    return schedule


def cosine_restarts(
    rate: float,
    total: int,
    end: float = 0.0,
    first: int = 10,
    factor: float = 2.0,
    every: int = 1,
) -> Schedule:
    """Cosines from `rate` towards `end`, begun anew (Loshchilov & Hutter 2016).

    The first lasts `first`, each next one `factor` times the one before; the rate is
    that of the period's beginning again at its first step.

    Args:
        rate: where every cosine begins.
        total: of all steps.
        end: what the cosines go to; none reaches it.
        first: steps of the first period, or epochs of `every` steps.
        factor: how much longer each next period is.
        every: the rate changes with every so many steps only: those of an epoch.

    Raises:
        UserError: periods without length.
    """
    if first < 1 or factor < 1 or every < 1:
        raise errors.UserError(
            f"cosine restarts need first, factor and every of at least 1, got {first}, "
            f"{factor} and {every}"
        )
    starts, length = [0.0], float(first)
    while starts[-1] + length <= total / every:
        starts.append(starts[-1] + length)
        length *= factor

    def schedule(step):
        epoch = tf.cast(tf.cast(step, tf.int64) // every, tf.float32)
        period = tf.reduce_sum(tf.cast(epoch >= tf.constant(starts), tf.int32)) - 1
        long = float(first) * tf.pow(float(factor), tf.cast(period, tf.float32))
        share = (epoch - tf.gather(tf.constant(starts), period)) / long
        return _cosine_between(rate, end, share)

    return schedule


def exponential(
    rate: float,
    factor: float,
    every: float,
    staircase: bool = True,
    end: float = 0.0,
) -> Schedule:
    """`max(rate * factor^(step / every), end)`; with `staircase` whole powers.

    Args:
        rate: the first rate.
        factor: what it is multiplied by.
        every: in so many steps.
        staircase: all at once, rather than a little in every step.
        end: the least.
    """

    def schedule(step):
        power = tf.cast(step, tf.float32) / float(max(every, 1e-9))
        if staircase:
            power = tf.floor(power)
        return tf.maximum(rate * tf.pow(float(factor), power), end)

    return schedule


def noam(rate: float, hidden_size: int, warmup: int) -> Schedule:
    """`rate * d^-0.5 * min(s^-0.5, s * warmup^-1.5)` (Vaswani et al. 2017, eq. 3).

    s counts from 1.
    """

    def schedule(step):
        step = tf.cast(step, tf.float32) + 1.0
        slope = tf.minimum(tf.math.rsqrt(step), step * float(max(warmup, 1)) ** -1.5)
        return rate * float(hidden_size) ** -0.5 * slope

    return schedule


def inverse_sqrt(
    rate: float, warmup: int, start: float = 1e-7, power: float = 0.5
) -> Schedule:
    """XLM's and fairseq's inverse square root (facebookresearch/XLM, optim.py).

    `start + (rate - start) * n / warmup` in the warm-up, then
    `rate * (warmup / n)^power`; n = step counts from 0.
    """
    warmup = max(warmup, 1)

    def schedule(step):
        n = tf.cast(step, tf.float32)
        rising = start + (rate - start) * (n / float(warmup))
        falling = rate * tf.pow(float(warmup) / tf.maximum(n, 1.0), power)
        return tf.where(n < float(warmup), rising, falling)

    return schedule


def slanted_triangular(
    rate: float,
    total: int,
    cut_fraction: float = 0.1,
    ratio: float = 32.0,
    floor: bool = False,
) -> Schedule:
    """ULMFiT's slanted triangular rates (Howard & Ruder 2018, equation 3).

    `cut = floor(total * cut_fraction)`; `p = t / cut` before the cut, after it
    `1 - (t - cut) / (cut * (1 / cut_fraction - 1))`; `lr = rate * (1 + p * (ratio -
    1)) / ratio`. Without a whole step to rise in, p only falls, over all steps.

    As the equation stands, p goes below 0 at the end of a `total` that is no
    multiple of `1 / cut_fraction`, and under some 280 steps the rate itself does.
    `floor` keeps p at 0 there, the rate at `rate / ratio`.
    """
    cut = math.floor(total * cut_fraction)
    fall = cut * (1.0 / cut_fraction - 1.0) if cut else float(max(total, 1))

    def schedule(step):
        t = tf.cast(step, tf.float32)
        p = 1.0 - (t - cut) / fall if fall else tf.ones_like(t)
        if floor:
            p = tf.maximum(p, 0.0)
        if cut:
            p = tf.where(t < cut, t / cut, p)
        return rate * (1.0 + p * (ratio - 1.0)) / ratio

    return schedule


def circular(
    rate: float, total: int, div: float = 32.0, cut_div: float = 10.0
) -> Schedule:
    """The triangle of fastai 0.7 (sgdr.py, `CircularLR`), by which ULMFiT was made.

    `cut = total // cut_div`; `p = t / cut` up to the cut, behind it `1 - (t - cut) /
    (total - cut)`; `lr = rate * (1 + p * (div - 1)) / div`. Without a whole step to
    rise in, p only falls.
    """
    cut = int(total // cut_div)
    fall = float(max(total - cut, 1))

    def schedule(step):
        t = tf.cast(step, tf.float32)
        p = 1.0 - (t - cut) / fall
        if cut:
            p = tf.where(t <= cut, t / cut, p)
        return rate * (1.0 + p * (div - 1.0)) / div

    return schedule


def cycle(
    start: float, peak: float, end: float, total: int, rise: float = 0.3
) -> Schedule:
    """Half a cosine from `start` to `peak`, another from there to `end`.

    The first takes `rise` of the steps. With a peak below start and end this is the
    momentum that goes with `one_cycle`.
    """
    first = int(total * rise)
    rest = float(max(total - first, 1))

    def schedule(step):
        step = tf.cast(step, tf.float32)
        falling = _cosine_between(peak, end, (step - first) / rest)
        if not first:
            return falling
        rising = _cosine_between(start, peak, step / float(first))
        return tf.where(step < first, rising, falling)

    return schedule


def one_cycle(
    rate: float,
    total: int,
    rise: float = 0.3,
    div: float = 25.0,
    final_div: float = 1e4,
) -> Schedule:
    """The 1cycle policy (Smith 2018) with fast.ai's cosine halves.

    From `rate / div` up to `rate`, then down to `rate / (div * final_div)`.
    """
    return cycle(rate / div, rate, rate / (div * final_div), total, rise)


def piecewise_linear(points: Sequence[tuple[float, float]]) -> Schedule:
    """Straight lines between (step, rate) points, constant outside them.

    Raises:
        UserError: no points, or steps that do not rise.
    """
    if not points or any(a[0] > b[0] for a, b in zip(points, points[1:], strict=False)):
        raise errors.UserError(f"schedule points have to be in order, got {points}")
    steps = [float(step) for step, _ in points]
    rates = [float(rate) for _, rate in points]

    def schedule(step):
        step = tf.cast(step, tf.float32)
        result = tf.constant(rates[0])
        for i in range(len(points) - 1):
            width = steps[i + 1] - steps[i]
            share = (step - steps[i]) / width if width else tf.ones_like(step)
            line = _line(rates[i], rates[i + 1], share)
            result = tf.where(step >= steps[i], line, result)
        return tf.where(step >= steps[-1], rates[-1], result)

    return schedule


def segments(pieces: Sequence[tuple[int, int, float, float]]) -> Schedule:
    """Lines (start, end, first, last): fast.ai's phases of a rate, in steps.

    Step i of [start, end) has `first + (last - first) * (i + 1 - start) / (end -
    start)`: the first step is one increment on its way already and the last one has
    the piece's last rate (diux-dev/imagenet18, train_imagenet_nv.py). Past the end
    the rate stays.

    Raises:
        UserError: no pieces, or pieces that do not follow one another.
    """
    if not pieces or any(end <= start for start, end, *_ in pieces):
        raise errors.UserError(f"schedule segments need steps, got {pieces}")
    if any(a[1] != b[0] for a, b in zip(pieces, pieces[1:], strict=False)):
        raise errors.UserError(f"schedule segments leave gaps or overlap: {pieces}")

    def schedule(step):
        step = tf.cast(step, tf.float32)
        result = tf.constant(float(pieces[0][2]))
        for start, end, first, last in pieces:
            share = tf.minimum((step + 1.0 - start) / float(end - start), 1.0)
            line = _line(float(first), float(last), share)
            result = tf.where(step >= start, line, result)
        return result

    return schedule


def linear_warmup(schedule: Schedule, steps: int, start: float = 0.0) -> Schedule:
    """A line from `start` at step 0 to where `schedule` is at step `steps`."""
    if not steps:
        return schedule

    def warmed(step):
        step = tf.convert_to_tensor(step)
        share = tf.cast(step, tf.float32) / float(steps)
        line = start + (schedule(tf.constant(steps, tf.int64)) - start) * share
        return tf.where(share < 1.0, line, schedule(step))

    return warmed


def shifted(schedule: Schedule, offset: int) -> Schedule:
    """The same schedule, entered at step `offset`: for phases that share one."""
    return lambda step: schedule(tf.cast(step, tf.int64) + offset)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "bert": bert,
    "polynomial": polynomial,
    "cosine": cosine,
    "cosine_restarts": cosine_restarts,
    "exponential": exponential,
    "noam": noam,
    "inverse_sqrt": inverse_sqrt,
    "slanted_triangular": slanted_triangular,
    "circular": circular,
    "one_cycle": one_cycle,
    "piecewise_linear": piecewise_linear,
    "segments": segments,
}


def create(options: Mapping[str, Any], total: int) -> Schedule:
    """Returns the schedule that `options["name"]` names, over `total` steps.

    Raises:
        UserError: an unknown name or option, or a missing one.
    """
    return construct("schedule", SCHEDULES, options, total=total)


def _after_warmup(step: tf.Tensor, total: int, warmup: int) -> tf.Tensor:
    length = float(max(total - warmup, 1))
    return tf.clip_by_value((step - float(warmup)) / length, 0.0, 1.0)


def _with_warmup(step, rate: float, warmup: int, decayed: tf.Tensor) -> tf.Tensor:
    if not warmup:
        return decayed
    rising = rate * (step + 1.0) / float(warmup)
    return tf.where(step < float(warmup), rising, decayed)


def _cosine_between(start: float, end: float, share: tf.Tensor) -> tf.Tensor:
    share = tf.clip_by_value(share, 0.0, 1.0)
    return end + (start - end) * 0.5 * (1.0 + tf.cos(math.pi * share))


def _line(first: float, last: float, share: tf.Tensor) -> tf.Tensor:
    # Exact at both ends, which first + (last - first) * share is not.
    if first == last:
        return tf.fill(tf.shape(share), first)
    return first * (1.0 - share) + last * share
