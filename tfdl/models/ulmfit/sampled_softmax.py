"""A loss over a sample of the vocabulary (fastai 0.7, sampled_sm.py)."""

import tensorflow as tf


def draw(log_frequencies: tf.Tensor, count: int, seed: tf.Tensor) -> tf.Tensor:
    """Returns `count` different words, frequent ones more likely.

    The exponential race: every word arrives after a time drawn with its frequency as
    the rate, the first `count` are taken.

    Args:
        log_frequencies: [V].
        count: of words.
        seed: two integers.
    """
    uniform = tf.random.stateless_uniform(tf.shape(log_frequencies), seed, 1e-30, 1.0)
    log_times = tf.math.log(-tf.math.log(uniform)) - log_frequencies
    return tf.math.top_k(-log_times, count, sorted=False).indices


def losses(
    rows: tf.Tensor,
    table: tf.Tensor,
    bias: tf.Tensor | None,
    labels: tf.Tensor,
    negatives: tf.Tensor,
) -> tf.Tensor:
    """Returns `log(exp(x_label) + 2 * sum of exp(x_negative)) - x_label`, [N].

    Args:
        rows: outputs [N, E].
        table: the decoder [V, E].
        bias: its bias [V] or None.
        labels: int [N].
        negatives: int [K].
    """
    right = tf.reduce_sum(rows * tf.gather(table, labels), axis=1)
    wrong = tf.matmul(rows, tf.gather(table, negatives), transpose_b=True)
    if bias is not None:
        right += tf.gather(bias, labels)
        wrong += tf.gather(bias, negatives)
    both = tf.concat([right[:, None], wrong + tf.math.log(2.0)], axis=1)
    return tf.reduce_logsumexp(both, axis=1) - right
