"""Batches as a pure function of seed, epoch and step.

An interrupted run can only end like an uninterrupted one if the batch of a step
does not depend on what was read before it. Here the order of the examples is an
exact permutation per epoch, computed for one batch at a time, so that training
starts at any step at once.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfdl.engine.distribution import Shard


def index_batches(
    examples: int, batch_size: int, seed: int, start_step: int, shard: Shard
) -> tf.data.Dataset:
    """Returns an endless dataset of example indices, int64 [shard's part].

    Position i of the endless stream is example `p[i mod n]` of the permutation p of
    epoch `i div n`; step s is the slice `[s * batch_size, (s + 1) * batch_size)`.
    Nothing is dropped: a batch may reach into the next epoch.

    Args:
        examples: n.
        batch_size: of the global batch.
        seed: of the permutations.
        start_step: the first step.
        shard: which slice of every batch is returned.
    """
    part = shard.part(batch_size)

    def indices(step):
        first = step * batch_size + shard.index * part
        position = first + tf.range(part, dtype=tf.int64)
        epoch = tf.cast(position // examples, tf.uint32)
        seeds = tf.stack(
            [
                tf.fill([part], tf.constant(seed % 2**32, tf.uint32)),
                epoch,
                tf.fill([part], tf.constant(0x7FD1, tf.uint32)),
            ],
            axis=1,
        )
        return tf.raw_ops.RandomIndexShuffle(
            index=position % examples,
            seed=seeds,
            max_index=tf.fill([part], tf.constant(examples - 1, tf.int64)),
        )

    return tf.data.Dataset.range(start_step, np.iinfo(np.int64).max).map(indices)


def epoch_batches(
    examples: int,
    batch_size: int,
    seed: int,
    first_epoch: int,
    start_step: int,
    shard: Shard,
    multiple: int = 1,
    full: bool = False,
) -> tf.data.Dataset:
    """Returns an endless dataset of batches that never reach into the next epoch.

    Step s belongs to epoch `first_epoch + s div B`, B the batches of an epoch. Every
    epoch is a permutation of all examples, padded by repeating its head until the
    last batch divides by `multiple` (torch's DistributedSampler), or is full.

    Args:
        examples: N.
        batch_size: of a full global batch.
        seed: of the permutations.
        first_epoch: the epoch of step 0.
        start_step: the first step.
        shard: which slice of every batch is returned.
        multiple: the last batch of an epoch is padded to a multiple of this.
        full: the last batch of an epoch is padded to `batch_size`.

    Returns:
        Dicts of `index` int64 [B], the example, and `position` int64 [B], its place
        in the endless stream, by which a draw for it can be made reproducible.
    """
    steps = batches_per_epoch(examples, batch_size, multiple)
    padded = steps * batch_size
    last = padded if full else _rounded_up(examples, multiple)
    static = shard.part(batch_size) if last == padded else None

    def rows(step):
        first = (step % steps) * batch_size
        part = tf.minimum(tf.cast(batch_size, tf.int64), last - first) // shard.count
        epoch = first_epoch + step // steps
        places = first + shard.index * part + tf.range(part, dtype=tf.int64)
        seeds = tf.stack([seed % 2**32, tf.cast(epoch, tf.int64), 0x7FD1])
        index = tf.raw_ops.RandomIndexShuffle(
            index=places % examples,
            seed=tf.tile(tf.cast(seeds, tf.uint32)[None], [part, 1]),
            max_index=tf.fill([part], tf.constant(examples - 1, tf.int64)),
        )
        return {
            "index": tf.ensure_shape(index, [static]),
            "position": tf.ensure_shape(epoch * padded + places, [static]),
        }

    return tf.data.Dataset.range(start_step, np.iinfo(np.int64).max).map(rows)


def batches_per_epoch(examples: int, batch_size: int, multiple: int = 1) -> int:
    """Returns how many batches `epoch_batches` makes of an epoch."""
    return -(-_rounded_up(examples, multiple) // batch_size)


def _rounded_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


class Ragged:
    """Rows of different lengths, stored flat, gathered and padded in the graph.

    Args:
        columns: name -> rows; every column has the same row lengths.
    """

    def __init__(self, columns: Mapping[str, Sequence[Sequence[int]]]):
        first = next(iter(columns.values()))
        self.lengths = np.array([len(row) for row in first], np.int64)
        self._starts = tf.constant(np.concatenate([[0], np.cumsum(self.lengths)[:-1]]))
        self._lengths = tf.constant(self.lengths)
        self._flat = {
            name: tf.constant(
                np.concatenate([np.asarray(row, np.int32) for row in rows])
                if len(rows)
                else np.zeros([0], np.int32)
            )
            for name, rows in columns.items()
        }

    def __len__(self) -> int:
        return len(self.lengths)

    def gather(self, indices: tf.Tensor, width: tf.Tensor | int | None = None):
        """Returns name -> int32 [B, width] and `padding_mask`, padded with zeros.

        Args:
            indices: int64 [B]; a negative one is a row of padding.
            width: columns; None is the longest of these rows.
        """
        real = indices >= 0
        safe = tf.maximum(indices, 0)
        lengths = tf.where(real, tf.gather(self._lengths, safe), 0)
        if width is None:
            width = tf.reduce_max(lengths)
        columns = tf.range(tf.cast(width, tf.int64))
        inside = columns[None, :] < lengths[:, None]
        where = tf.gather(self._starts, safe)[:, None] + columns[None, :]
        where = tf.where(inside, where, 0)
        batch = {
            name: tf.where(inside, tf.gather(flat, where), 0)
            for name, flat in self._flat.items()
        }
        batch["padding_mask"] = tf.cast(inside, tf.int32)
        return batch
