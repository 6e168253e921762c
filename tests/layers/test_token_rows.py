"""Rows of tokens and the grid they come from."""

import numpy as np
import tensorflow as tf

from tfdl.layers.token_rows import AllTokens, RealTokens

MASK = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 1]], "int32")
GRID = np.arange(18, dtype="float32").reshape(3, 3, 2) + 1.0


def test_all_tokens_keep_padding():
    tokens = AllTokens(3, 3)
    rows = tokens.rows(tf.constant(GRID))
    np.testing.assert_array_equal(rows, GRID.reshape(9, 2))
    np.testing.assert_array_equal(tokens.grid(rows), GRID)


def test_real_tokens_leave_padding_out():
    tokens = RealTokens(tf.constant(MASK))
    rows = tokens.rows(tf.constant(GRID))
    np.testing.assert_array_equal(rows, GRID[MASK == 1])
    np.testing.assert_array_equal(tokens.grid(rows), GRID * MASK[:, :, None])


def test_real_tokens_of_nothing():
    tokens = RealTokens(tf.zeros([2, 3], tf.int32))
    rows = tokens.rows(tf.ones([2, 3, 4]))
    assert rows.shape == (0, 4)
    np.testing.assert_array_equal(tokens.grid(rows), np.zeros([2, 3, 4]))


def test_gradients_pass_both_ways():
    grid = tf.constant(GRID)
    with tf.GradientTape() as tape:
        tape.watch(grid)
        tokens = RealTokens(tf.constant(MASK))
        loss = tf.reduce_sum(tokens.grid(tokens.rows(grid)) ** 2)
    gradient = tf.convert_to_tensor(tape.gradient(loss, grid))
    np.testing.assert_array_equal(gradient, 2 * GRID * MASK[:, :, None])


def test_one_trace_serves_every_shape():
    traces = []

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, 2]),
            tf.TensorSpec([None, None], tf.int32),
        ]
    )
    def there_and_back(grid, mask):
        traces.append(1)
        tokens = RealTokens(mask)
        return tokens.grid(tokens.rows(grid))

    for size in (3, 2):
        grid, mask = GRID[:, :size], MASK[:, :size]
        np.testing.assert_array_equal(
            there_and_back(grid, mask), grid * mask[:, :, None]
        )
    assert len(traces) == 1
