"""Random state that reproduces a run and differs between replicas."""

import keras
import tensorflow as tf


class SeedGenerator(keras.random.SeedGenerator):
    """A Keras seed generator that gives every replica a stream of its own.

    Keras mirrors the generator's state, so under `MirroredStrategy` all replicas
    would draw the same dropout mask. Here the replica's index is folded into each
    seed; the state itself stays equal on all replicas, so that a checkpoint of it
    replays the same masks. With one replica it equals Keras's own.
    """

    def next(self, ordered: bool = True):
        """Returns the next seed, an integer tensor of shape [2]."""
        seed = super().next(ordered=ordered)
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return seed
        folded = tf.random.experimental.stateless_fold_in(
            tf.cast(seed, tf.int32), context.replica_id_in_sync_group
        )
        return tf.cast(folded, seed.dtype)
