"""The state that a language model carries from window to window in training."""

from collections.abc import Sequence

import tensorflow as tf

State = list[tuple[tf.Tensor, ...]]


class Carry:
    """The state of every recurrent layer for all rows of the global batch.

    Every replica has all rows and uses its own. So they are saved as they are, and a
    run may go on with another number of replicas. Made in the strategy's scope.

    Args:
        widths: of the tensors of each layer's state.
        batch_size: rows of the global batch.
    """

    def __init__(self, widths: Sequence[Sequence[int]], batch_size: int):
        self._rows = batch_size
        self._layers = [
            tuple(_variable(batch_size, units) for units in layer) for layer in widths
        ]

    @property
    def variables(self) -> list[tf.Variable]:
        """Everything, in a fixed order."""
        return [variable for layer in self._layers for variable in layer]

    def read(self, reset: tf.Tensor) -> State:
        """Returns this replica's state; zero where `reset` [rows] is 1."""
        context = tf.distribute.get_replica_context()
        part = self._rows // context.num_replicas_in_sync
        start = context.replica_id_in_sync_group * part
        keep = (1.0 - reset)[:, None]
        return [
            tuple(x.read_value()[start : start + part] * keep for x in layer)
            for layer in self._layers
        ]

    def write(self, state: State) -> None:
        """Keeps the state after a window; called by every replica with its own."""
        context = tf.distribute.get_replica_context()
        several = context.num_replicas_in_sync > 1
        for layer, values in zip(self._layers, state, strict=True):
            for variable, value in zip(layer, values, strict=True):
                whole = context.all_gather(value, axis=0) if several else value
                variable.assign(whole)


def _variable(rows: int, units: int) -> tf.Variable:
    return tf.Variable(
        tf.zeros([rows, units]),
        trainable=False,
        # All replicas assign the same.
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
