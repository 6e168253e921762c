"""Tokens of a batch as rows of a matrix, with or without the padding.

Dense layers and normalisation treat every token alike: they work on rows [N, D].
Attention needs to know which tokens belong together: it works on the grid [B, S, D].
"""

import tensorflow as tf


class AllTokens:
    """Every position is a row, padding included: N = B * S.

    Args:
        batch: B, an int or a scalar tensor.
        length: S.
    """

    def __init__(self, batch, length):
        self.batch, self.length = batch, length

    def rows(self, grid: tf.Tensor) -> tf.Tensor:
        """Maps [B, S, D] to [N, D]."""
        return tf.reshape(grid, [-1, grid.shape[-1]])

    def grid(self, rows: tf.Tensor) -> tf.Tensor:
        """Maps [N, D] to [B, S, D]."""
        return tf.reshape(rows, [self.batch, self.length, rows.shape[-1]])


class RealTokens(AllTokens):
    """Only real tokens are rows; the grid is 0 elsewhere.

    N changes with every batch, so this is for plain graphs. XLA compiles it with
    N = B * S as the bound, which saves nothing.

    Args:
        padding_mask: [B, S], 1 = real.
    """

    def __init__(self, padding_mask: tf.Tensor):
        shape = tf.shape(padding_mask)
        super().__init__(shape[0], shape[1])
        self.where = tf.where(tf.reshape(tf.not_equal(padding_mask, 0), [-1]))

    def rows(self, grid: tf.Tensor) -> tf.Tensor:
        """Maps [B, S, D] to [N, D]."""
        return tf.gather(super().rows(grid), self.where[:, 0])

    def grid(self, rows: tf.Tensor) -> tf.Tensor:
        """Maps [N, D] to [B, S, D]."""
        size = [self.batch * self.length, rows.shape[-1]]
        return super().grid(tf.scatter_nd(self.where, rows, tf.cast(size, tf.int64)))
