"""Batching the requests of many clients, under TF Serving's parameters.

A batch runs as soon as one of `num_batch_threads` threads is free; until then other
requests join. A batch of texts is sorted by length and run in groups of a few rows, in
the graph, so that short texts are not padded to the longest of the batch.

TensorFlow's own batch function is not used: its scheduler keeps the graph of every
function it ever ran, so that a server would grow with each new version.
"""

import concurrent.futures
import dataclasses
import functools
import os
import threading
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfdl.engine import errors

# How TF Serving's scheduler refuses a request.
QUEUE_FULL = "The batch scheduling queue to which this task was submitted is full"

Rows = Callable[..., Sequence[tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Batching:
    """How requests are put together; names and defaults as in TF Serving.

    Attributes:
        max_batch_size: rows of a batch at most.
        batch_timeout_micros: how long a request may wait for others.
        num_batch_threads: batches that run at once.
        max_enqueued_batches: batches that may wait; beyond them, requests are refused.
        allowed_batch_sizes: batches are filled up to one of these, if given.
        pad_variable_length_inputs: pad inputs of unequal lengths with zeros, so that
            they can share a batch.
        group_rows: rows that run together, of a batch sorted by the texts' lengths;
            0 runs a batch as it is.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    num_batch_threads: int = os.cpu_count() or 1
    max_enqueued_batches: int = 10
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    group_rows: int = 8

    def __post_init__(self):
        for name, low in (
            ("max_batch_size", 1),
            ("batch_timeout_micros", 0),
            ("num_batch_threads", 1),
            ("max_enqueued_batches", 1),
            ("group_rows", 0),
        ):
            if getattr(self, name) < low:
                raise errors.UserError(
                    f"{name} has to be at least {low}, got {getattr(self, name)}"
                )
        sizes = self.allowed_batch_sizes
        if sizes and list(sizes) != sorted(set(sizes)):
            raise errors.UserError(
                f"allowed_batch_sizes has to increase, got {list(sizes)}"
            )
        if sizes and sizes[-1] != self.max_batch_size:
            raise errors.UserError(
                "the last entry of allowed_batch_sizes has to be max_batch_size, "
                f"{self.max_batch_size}, got {sizes[-1]}"
            )


def is_batchable(
    inputs: Sequence[tf.TensorSpec], outputs: Sequence[tf.TensorSpec], padding: bool
) -> bool:
    """Returns whether rows of several requests may share a batch.

    Every tensor's first dimension has to be the batch, and no other dimension of an
    output may vary: else the shape of an answer would depend on other clients'
    requests. Other dimensions of inputs may vary with padding only.
    """

    def has_rows(spec: tf.TensorSpec) -> bool:
        return bool(spec.shape.rank) and spec.shape[0] is None

    return (
        all(map(has_rows, [*inputs, *outputs]))
        and all(spec.shape[1:].is_fully_defined() for spec in outputs)
        and (padding or all(spec.shape[1:].is_fully_defined() for spec in inputs))
    )


class Batch:
    """Requests that run together."""

    def __init__(self):
        self.requests: list[Sequence[tf.Tensor]] = []
        self.rows = 0
        self.full, self.done = threading.Event(), threading.Event()
        self.answers: list[Sequence[tf.Tensor]] = []
        self.error: Exception | None = None


class Queue:
    """A function that many threads call at once, and that batches the calls.

    Args:
        function: takes and returns flat lists of tensors, rows first.
        inputs: what it takes; all dimensions but the first known.
        options: how to batch.
    """

    def __init__(
        self, function: Rows, inputs: Sequence[tf.TensorSpec], options: Batching
    ):
        traced = tf.function(function, input_signature=inputs)
        self._function = traced.get_concrete_function()
        self._options = options
        self._threads = _threads(options)
        self._waiting: list[Batch] = []
        self._lock = threading.Lock()

    def __call__(self, *tensors: tf.Tensor) -> Sequence[tf.Tensor]:
        """Runs a request of at most `max_batch_size` rows with others.

        Raises:
            tf.errors.UnavailableError: too many batches wait already.
            tf.errors.OpError: the batch failed, because of any of its requests.
        """
        batch, place = self._join(tensors)
        if place == 0:
            timeout = self._options.batch_timeout_micros / 1e6
            if timeout:
                batch.full.wait(timeout)
            self._threads.submit(self._run, batch)
        batch.done.wait()
        if batch.error is not None:
            raise batch.error
        return batch.answers[place]

    def _join(self, tensors: Sequence[tf.Tensor]) -> tuple[Batch, int]:
        """Returns the batch that a request is in, and its place there."""
        rows, options = int(tensors[0].shape[0]), self._options
        with self._lock:
            last = self._waiting[-1] if self._waiting else None
            if last is None or last.rows + rows > options.max_batch_size:
                if last is not None:
                    last.full.set()
                if len(self._waiting) >= options.max_enqueued_batches:
                    raise tf.errors.UnavailableError(None, None, QUEUE_FULL)
                last = Batch()
                self._waiting.append(last)
            last.requests.append(tensors)
            last.rows += rows
            if last.rows >= options.max_batch_size:
                last.full.set()
            return last, len(last.requests) - 1

    def _run(self, batch: Batch) -> None:
        try:
            with self._lock:
                self._waiting.remove(batch)
            batch.answers = self._answers(batch)
        except Exception as error:
            batch.error = error
        finally:
            batch.done.set()

    def _answers(self, batch: Batch) -> list[Sequence[tf.Tensor]]:
        requests = batch.requests
        sizes = [int(request[0].shape[0]) for request in requests]
        filling = self._filling(batch.rows)
        if len(requests) == 1 and not filling:
            return [self._function(*requests[0])]
        columns = []
        for parts in zip(*requests, strict=True):
            spare = [parts[0][:1]] * filling
            columns.append(tf.concat([*parts, *spare], 0))
        results = self._function(*columns)
        sizes += [filling] if filling else []
        split = [tf.split(result, sizes) for result in results]
        answers = list(zip(*split, strict=True))
        return answers[: len(requests)]

    def _filling(self, rows: int) -> int:
        """Returns the rows that are missing to an allowed batch size."""
        for size in self._options.allowed_batch_sizes:
            if size >= rows:
                return size - rows
        return 0


@functools.lru_cache(maxsize=64)
def _threads(options: Batching) -> concurrent.futures.Executor:
    """Returns the threads that all queues with the same options share.

    Few and lasting ones: TensorFlow's kernels keep memory for each thread.
    """
    return concurrent.futures.ThreadPoolExecutor(options.num_batch_threads, "batch")


def by_length(function: Rows, outputs: Sequence[tf.TensorSpec], rows: int) -> Rows:
    """Returns `function` run on groups of `rows` rows of like text lengths.

    Args:
        function: takes flat tensors, at least one of them strings, and treats each
            row alone.
        outputs: what it returns; only the first dimension may be unknown.
        rows: of a group.
    """

    def grouped(*tensors):
        length = _text_length(tensors)
        order = tf.argsort(length)
        tensors = [tf.gather(tensor, order) for tensor in tensors]
        groups = (tf.shape(length)[0] + rows - 1) // rows

        def run(i, *written):
            results = function(*(t[i * rows : (i + 1) * rows] for t in tensors))
            made = [w.write(i, r) for w, r in zip(written, results, strict=True)]
            return i + 1, *made

        empty = [
            tf.TensorArray(spec.dtype, size=groups, infer_shape=False)
            for spec in outputs
        ]
        # One by one the groups would leave cores idle, all at once they would need
        # the memory of the whole batch.
        _, *written = tf.while_loop(
            lambda i, *_: i < groups, run, (0, *empty), parallel_iterations=2
        )
        back = tf.math.invert_permutation(order)
        return [
            tf.ensure_shape(tf.gather(array.concat(), back), spec.shape)
            for array, spec in zip(written, outputs, strict=True)
        ]

    return grouped


def _text_length(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the bytes of text in each row."""
    lengths = []
    for tensor in tensors:
        if tensor.dtype == tf.string:
            size = tf.strings.length(tensor)
            lengths.append(tf.reduce_sum(size, range(1, tensor.shape.rank)))
    return tf.add_n(lengths)
