"""A parallel map whose failures are mended one by one, at no cost while all is well.

A graph cannot catch an error, and checking every picture before it is decoded costs as
much as decoding it. So a row that fails is dropped from the stream, missed a moment
later by its number, and made again in Python, which can look at each picture.
"""

import itertools
import threading
from collections.abc import Callable

import numpy as np
import tensorflow as tf

Row = dict[str, tf.Tensor]
_END = -1


def guarded_map(
    rows: tf.data.Dataset,
    fast: Callable[[Row], Row],
    repair: Callable[[Row], Row],
    outputs: dict[str, tf.TensorSpec],
    parallel: int | None = None,
) -> tf.data.Dataset:
    """Maps rows in order; those for which `fast` fails are made by `repair`.

    Args:
        rows: dicts of tensors.
        fast: a row to a dict of tensors, in a graph.
        repair: the same, called outside a graph; what it raises ends the stream.
        outputs: what both return.
        parallel: rows made at once, None to let tf.data choose.
    """
    pending = _Pending(list(rows.element_spec))
    calls = tf.data.AUTOTUNE if parallel is None else parallel

    def stream(iterator):
        def number_of(number, row):
            # The number itself passes through, so that no row can overtake its note.
            arguments = [iterator, number, *row.values()]
            return _int64(pending.add, arguments, []), row

        def mend(number):
            made = tf.numpy_function(
                lambda i, n: _arrays(repair(pending.take(i, n)), outputs),
                [iterator, number],
                [spec.dtype for spec in outputs.values()],
            )
            return {
                name: tf.ensure_shape(value, spec.shape)
                for (name, spec), value in zip(outputs.items(), made, strict=True)
            }

        def whole(number, batch):
            missing = _int64(pending.before, [iterator, number], [None])
            mended = tf.data.Dataset.from_tensor_slices(missing).map(mend)
            arrived = tf.cast(number != _END, tf.int64)
            return mended.concatenate(tf.data.Dataset.from_tensors(batch).take(arrived))

        end = (tf.constant(_END, tf.int64), _empty(outputs))
        return (
            rows.enumerate()
            .map(number_of)
            .map(lambda n, row: (n, fast(row)), calls, deterministic=True)
            .ignore_errors()
            .concatenate(tf.data.Dataset.from_tensors(end))
            .flat_map(whole)
        )

    one = tf.data.Dataset.from_tensors(0)
    made = one.map(lambda _: _int64(pending.open, [], [])).flat_map(stream)
    count = rows.cardinality()
    if count == tf.data.UNKNOWN_CARDINALITY:
        return made
    return made.apply(tf.data.experimental.assert_cardinality(count))


class _Pending:
    """The rows that were sent off and have not come back, by iterator and number."""

    def __init__(self, names: list[str]):
        self._names = names
        self._rows: dict[int, dict[int, tuple]] = {}
        self._lock = threading.Lock()
        self._ids = itertools.count()

    def open(self) -> np.int64:
        with self._lock:
            iterator = next(self._ids)
            self._rows[iterator] = {}
        return np.int64(iterator)

    def add(self, iterator, number, *values) -> np.int64:
        with self._lock:
            self._rows[int(iterator)][int(number)] = values
        return number

    def before(self, iterator, number) -> np.ndarray:
        """Returns the numbers that did not come before this one did."""
        with self._lock:
            rows = self._rows[int(iterator)]
            rows.pop(int(number), None)
            missing = [n for n in rows if number == _END or n < number]
            if number == _END and not missing:
                del self._rows[int(iterator)]
        return np.array(sorted(missing), np.int64)

    def take(self, iterator, number) -> Row:
        with self._lock:
            values = self._rows[int(iterator)].pop(int(number))
        return dict(zip(self._names, map(tf.constant, values), strict=True))


def _int64(function, arguments, shape) -> tf.Tensor:
    return tf.ensure_shape(tf.numpy_function(function, arguments, tf.int64), shape)


def _arrays(batch: Row, outputs: dict[str, tf.TensorSpec]) -> list[np.ndarray]:
    return [batch[name].numpy() for name in outputs]


def _empty(outputs: dict[str, tf.TensorSpec]) -> Row:
    return {
        name: tf.zeros([size or 0 for size in spec.shape], spec.dtype)
        for name, spec in outputs.items()
    }
