"""Batching requests in the graph: TensorFlow's batch function around a signature.

Requests wait in the queue of TensorFlow's own batch scheduler, the one that TF Serving
uses, under the same parameters. Inside, a batch of texts is sorted by length and run in
groups of a few rows, so that short texts are not padded to the longest of the batch.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfdl.engine import errors

_queues = itertools.count()

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


def batched(
    function: Rows,
    inputs: Sequence[tf.TensorSpec],
    outputs: Sequence[tf.TensorSpec],
    options: Batching,
) -> tf.types.experimental.ConcreteFunction:
    """Returns a function that many threads call at once, and that batches the calls.

    Args:
        function: takes and returns flat lists of tensors, rows first.
        inputs: what it takes; all dimensions but the first known.
        outputs: what it returns, likewise.
        options: how to batch.
    """
    inside = tf.function(function, input_signature=inputs).get_concrete_function()
    # The public `tf.nondifferentiable_batch_function` gives all functions of a process
    # one queue, which mixes their requests up. A queue of our own for each does not.
    queue = f"queue_{next(_queues)}"
    # One scheduler, so one pool of threads, for all queues with the same options.
    scheduler = f"tfdl_serving_{options}"

    @tf.function(input_signature=inputs)
    def batch(*tensors):
        results = tf.raw_ops.BatchFunction(
            in_tensors=tensors,
            captured_tensors=inside.captured_inputs,
            f=inside,
            num_batch_threads=options.num_batch_threads,
            max_batch_size=options.max_batch_size,
            batch_timeout_micros=options.batch_timeout_micros,
            max_enqueued_batches=options.max_enqueued_batches,
            allowed_batch_sizes=options.allowed_batch_sizes,
            Tout=[spec.dtype for spec in outputs],
            shared_name=scheduler,
            batching_queue=queue,
        )
        return [
            tf.ensure_shape(result, spec.shape)
            for result, spec in zip(results, outputs, strict=True)
        ]

    return batch.get_concrete_function()


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
