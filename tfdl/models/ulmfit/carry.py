"""The state that a language model carries from window to window in training."""

import tensorflow as tf

from tfdl.models.ulmfit.awd_lstm import AwdLstm, State


class Carry:
    """(h, c) of every LSTM for all rows of the global batch, as variables.

    Every replica has all rows and uses its own. So they are saved as they are, and a
    run may go on with another number of replicas.

    Args:
        encoder: the network; made in the strategy's scope.
        batch_size: rows of the global batch.
    """

    def __init__(self, encoder: AwdLstm, batch_size: int):
        self._rows = batch_size
        self._pairs = [
            tuple(_variable(batch_size, rnn.units) for _ in ("h", "c"))
            for rnn in encoder.rnns
        ]

    @property
    def variables(self) -> list[tf.Variable]:
        """Everything, in a fixed order."""
        return [variable for pair in self._pairs for variable in pair]

    def read(self, reset: tf.Tensor) -> State:
        """Returns this replica's state; zero where `reset` [rows] is 1."""
        context = tf.distribute.get_replica_context()
        part = self._rows // context.num_replicas_in_sync
        start = context.replica_id_in_sync_group * part
        keep = (1.0 - reset)[:, None]
        return [
            tuple(x.read_value()[start : start + part] * keep for x in pair)
            for pair in self._pairs
        ]

    def write(self, state: State) -> None:
        """Keeps the state after a window; called by every replica with its own."""
        context = tf.distribute.get_replica_context()
        several = context.num_replicas_in_sync > 1
        for pair, values in zip(self._pairs, state, strict=True):
            for variable, value in zip(pair, values, strict=True):
                whole = context.all_gather(value, axis=0) if several else value
                variable.assign(whole)


def _variable(rows: int, units: int) -> tf.Variable:
    return tf.Variable(
        tf.zeros([rows, units]),
        trainable=False,
        # All replicas assign the same.
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
