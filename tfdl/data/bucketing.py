"""Batches of rows of similar length: the cheapest way not to compute padding.

The plan of an epoch is a pure function of the lengths, the seed and the epoch's
number, so that any step can be started at, and every worker makes the same plan.
"""

import numpy as np
import tensorflow as tf

from tfdl.engine.distribution import Shard


def widths_for(lengths: np.ndarray, multiple: int = 16, most: int = 8) -> np.ndarray:
    """Returns the widths that batches are padded to: few, so that few are traced.

    Multiples of `multiple`, thinned out until there are at most `most`.
    """
    longest = int(np.max(lengths, initial=1))
    steps = -(-longest // multiple)
    every = -(-steps // most)
    widths = np.arange(every, steps + every, every) * multiple
    widths[-1] = min(widths[-1], steps * multiple)
    return widths


def epoch_plan(
    lengths: np.ndarray, batch_size: int, seed: int, epoch: int, window: int = 64
) -> np.ndarray:
    """Returns the batches of an epoch, int64 [batches, batch_size].

    Rows are shuffled, sorted by length within windows of `window` batches, cut into
    batches, and the batches shuffled. Every row appears once; the last batch is
    filled up with rows drawn again.
    """
    random = np.random.default_rng([seed % 2**63, epoch])
    order = random.permutation(len(lengths))
    missing = -len(order) % batch_size
    order = np.concatenate([order, random.choice(order, missing)])
    batches = []
    for start in range(0, len(order), window * batch_size):
        part = order[start : start + window * batch_size]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches.append(part.reshape(-1, batch_size))
    plan = np.concatenate(batches)
    return plan[random.permutation(len(plan))].astype(np.int64)


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Returns how many batches an epoch has, the filled-up one included."""
    return -(-examples // batch_size)


def bucketed_batches(
    lengths: np.ndarray,
    batch_size: int,
    seed: int,
    start_step: int,
    shard: Shard,
    multiple: int = 16,
) -> tf.data.Dataset:
    """Returns an endless dataset of (indices int64 [part], width int64 []).

    Args:
        lengths: of all rows.
        batch_size: of the global batch.
        seed: of the order.
        start_step: the first step.
        shard: which slice of every batch is returned; the width is the global
            batch's, equal on all workers.
        multiple: see `widths_for`.
    """
    per_epoch = steps_per_epoch(len(lengths), batch_size)
    part = shard.part(batch_size)
    widths = widths_for(lengths, multiple)

    def epoch_batches(epoch):
        plan = epoch_plan(lengths, batch_size, seed, int(epoch))
        longest = lengths[plan].max(axis=1)
        width = widths[np.searchsorted(widths, longest)]
        mine = plan[:, shard.index * part : (shard.index + 1) * part]
        return mine, width.astype(np.int64)

    def epoch_dataset(epoch):
        indices, width = tf.numpy_function(
            epoch_batches, [epoch], (tf.int64, tf.int64), stateful=False
        )
        indices.set_shape([per_epoch, part])
        width.set_shape([per_epoch])
        # Only the first epoch starts in its middle.
        skip = tf.where(epoch == start_step // per_epoch, start_step % per_epoch, 0)
        return tf.data.Dataset.from_tensor_slices((indices[skip:], width[skip:]))

    epochs = tf.data.Dataset.range(start_step // per_epoch, np.iinfo(np.int64).max)
    return epochs.flat_map(epoch_dataset)


def evaluation_plan(
    lengths: np.ndarray, batch_size: int, multiple: int = 16
) -> list[tuple[np.ndarray, int]]:
    """Returns batches (indices [batch_size], width) that cover every row once.

    Rows are sorted by length; the last batch is filled up with -1.
    """
    order = np.argsort(lengths, kind="stable")
    order = np.concatenate([order, np.full(-len(order) % batch_size, -1)])
    widths = widths_for(lengths, multiple)
    plan = []
    for batch in order.reshape(-1, batch_size).astype(np.int64):
        longest = max(int(lengths[batch[batch >= 0]].max(initial=1)), 1)
        plan.append((batch, int(widths[np.searchsorted(widths, longest)])))
    return plan
