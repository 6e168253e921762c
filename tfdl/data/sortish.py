"""Batches of documents of similar length, as fastai makes them.

Padding to the longest of a batch costs most where lengths differ most; a full sort
would fix which documents meet. So documents are shuffled and sorted within pools.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfdl.engine.distribution import Shard

POOL = 50  # batches


def sortish_batches(
    lengths: np.ndarray, batch_size: int, random: np.random.Generator
) -> np.ndarray:
    """Returns an epoch's batches, int64 [batches, batch_size].

    Documents are shuffled, cut into pools of 50 batches and sorted in them, longest
    first; the batch with the longest document leads, so that what does not fit into
    memory fails at once, the others are shuffled (fastai's `SortishSampler`). The last
    batch is filled up with the epoch's first documents: the statistics of a batch norm
    need whole ones.
    """
    order = random.permutation(len(lengths))
    # Filled up before sorting, as more than once round as need be.
    order = np.resize(order, -(-len(order) // batch_size) * batch_size)
    pools = [
        order[i : i + POOL * batch_size]
        for i in range(0, len(order), POOL * batch_size)
    ]
    pools = [pool[np.argsort(-lengths[pool], kind="stable")] for pool in pools]
    batches = np.concatenate(pools).reshape(-1, batch_size)
    longest = int(np.argmax(lengths[batches[:, 0]]))
    batches[[0, longest]] = batches[[longest, 0]]
    batches[1:] = batches[1:][random.permutation(len(batches) - 1)]
    return batches.astype(np.int64)


def padded(documents: Sequence[np.ndarray], pad_id: int) -> np.ndarray:
    """Returns documents as int32 [B, longest], padded at the end."""
    width = max(max(map(len, documents)), 1)
    table = np.full([len(documents), width], pad_id, np.int32)
    for row, document in zip(table, documents, strict=True):
        row[: len(document)] = document
    return table


def training_batches(
    documents: Sequence[np.ndarray],
    labels: np.ndarray,
    batch_size: int,
    seed: int,
    epoch: int,
    start: int,
    shard: Shard,
    pad_id: int,
) -> tf.data.Dataset:
    """Returns batches without end: a function of seed, epoch and step.

    Args:
        documents: ids, by index.
        labels: int32 [N].
        batch_size: of the global batch.
        seed: of the orders.
        epoch: the epoch that `start` is counted from.
        start: the first batch.
        shard: which slice of every batch is returned.
        pad_id: of the padding, which is at the end.

    Returns:
        `token_ids` int32 [part, T] and `labels` int32 [part].
    """
    lengths = np.array([len(documents[i]) for i in range(len(labels))], np.int64)
    per_epoch = -(-len(labels) // batch_size)
    part = shard.part(batch_size)
    mine = slice(shard.index * part, (shard.index + 1) * part)

    def generate():
        now, skip = epoch + start // per_epoch, start % per_epoch
        while True:
            random = np.random.default_rng([seed % 2**63, now, 2])
            plan = sortish_batches(lengths, batch_size, random)
            for batch in plan[skip:]:
                # As wide as the global batch: replicas then do the same work.
                table = padded([documents[i] for i in batch], pad_id)
                yield {"token_ids": table[mine], "labels": labels[batch[mine]]}
            now, skip = now + 1, 0

    signature = {
        "token_ids": tf.TensorSpec([part, None], tf.int32),
        "labels": tf.TensorSpec([part], tf.int32),
    }
    return tf.data.Dataset.from_generator(generate, output_signature=signature)


def evaluation_batches(
    lengths: np.ndarray, batch_size: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Yields (indices [batch_size], how many of them count), longest first.

    Every document comes once; the last batch is filled up with its own last one.
    """
    order = np.argsort(-lengths, kind="stable")
    for i in range(0, len(order), batch_size):
        batch = order[i : i + batch_size]
        missing = batch_size - len(batch)
        yield np.concatenate([batch, np.repeat(batch[-1:], missing)]), len(batch)
