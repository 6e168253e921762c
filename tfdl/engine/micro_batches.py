"""Which part of a step's batch is being computed, for layers that keep statistics."""

import contextlib
import threading
from collections.abc import Iterator

import tensorflow as tf

_current = threading.local()


@contextlib.contextmanager
def part(index: tf.Tensor | int, count: int) -> Iterator[None]:
    """Says that part `index` (from 0) of `count` is traced while the block runs."""
    before = getattr(_current, "part", (0, 1))
    _current.part = (index, count)
    try:
        yield
    finally:
        _current.part = before


def momentum(keep: float) -> tf.Tensor | float:
    """Returns the momentum of a moving average's update in this part.

    After all parts the average is `keep * old + (1 - keep) * mean(new)`, as if the
    parts had been computed at once by so many replicas. With P_j = keep + (1 - keep)
    j / count, part j (from 1) keeps P_(j-1) / P_j.
    """
    index, count = getattr(_current, "part", (0, 1))
    if count == 1:
        return keep
    share = (1.0 - keep) / count
    before = keep + share * tf.cast(index, tf.float32)
    return before / (before + share)
