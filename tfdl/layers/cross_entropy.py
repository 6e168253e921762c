"""Softmax cross-entropy over a large vocabulary, together with its decoder.

One operation makes both the loss and softmax minus one-hot, all that a gradient needs:
logits and probabilities are never held side by side, and the loss's own gradient, one
number per row, is multiplied into the narrow side of each product.
"""

import tensorflow as tf


def tied_cross_entropy(
    rows: tf.Tensor,
    table: tf.Tensor,
    bias: tf.Tensor | None,
    labels: tf.Tensor,
    weights: tf.Tensor,
    training: bool = True,
    accuracy: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the weighted sum of the cross-entropies of `rows @ table^T + bias`.

    Args:
        rows: [N, E].
        table: [V, E].
        bias: [V] or None.
        labels: integers [N].
        weights: [N]; no gradient flows to them.
        training: keep what a gradient needs.
        accuracy: count hits as well.

    Returns:
        (sum of weight * cross-entropy, sum of the weights of hits or 0), scalars.
    """
    weights = tf.stop_gradient(weights)
    if training and not accuracy:
        if bias is None:
            bias = tf.zeros([tf.shape(table)[0]], table.dtype)
        loss = _with_gradient(rows, table, bias, labels, weights)
        return loss, tf.zeros([], rows.dtype)
    logits = _logits(rows, table, bias)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    correct = tf.zeros([], rows.dtype)
    if accuracy:
        best = tf.argmax(logits, -1, output_type=labels.dtype)
        hits = tf.cast(tf.equal(best, labels), rows.dtype)
        correct = tf.reduce_sum(weights * hits)
    return tf.reduce_sum(weights * losses), correct


def _logits(rows, table, bias):
    logits = tf.matmul(rows, table, transpose_b=True)
    return logits if bias is None else tf.nn.bias_add(logits, bias)


@tf.custom_gradient
def _with_gradient(rows, table, bias, labels, weights):
    logits = _logits(rows, table, bias)
    losses, errors = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(
        features=logits, labels=labels
    )

    def gradient(upstream):
        scale = (upstream * weights)[:, None]
        d_rows = tf.matmul(errors, table) * scale
        d_table = tf.matmul(errors, rows * scale, transpose_a=True)
        d_bias = tf.matmul(errors, scale, transpose_a=True)[:, 0]
        return d_rows, d_table, d_bias, None, None

    return tf.reduce_sum(weights * losses), gradient
