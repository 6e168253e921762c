"""Losses as sums, so that a global denominator can be applied to them."""

import tensorflow as tf

MASKED_LOGIT = -10000.0


def masked_lm(logits, ids, weights):
    """Cross-entropy of the masked tokens (run_pretraining.py).

    Args:
        logits: float32 [B, P, V].
        ids: int32 [B, P], the original tokens.
        weights: float32 [B, P], 0 for unused slots.

    Returns:
        (sum of weighted losses, weighted count of right predictions). The original
        divides by the sum of all weights + 1e-5.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(ids, logits)
    right = tf.cast(tf.equal(tf.argmax(logits, -1, tf.int32), ids), tf.float32)
    return tf.reduce_sum(losses * weights), tf.reduce_sum(right * weights)


def classification(logits, label_ids, weights):
    """Weighted cross-entropy [..., C] against int32 labels; (loss, right) sums."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(label_ids, logits)
    guess = tf.argmax(logits, -1, tf.int32)
    right = tf.cast(tf.equal(guess, label_ids), tf.float32)
    return tf.reduce_sum(losses * weights), tf.reduce_sum(right * weights)


def regression(logits, values, weights):
    """Sum of weighted squared errors of [B, 1] logits against float32 [B]."""
    return tf.reduce_sum(tf.square(logits[:, 0] - values) * weights)


def multilabel(logits, labels, weights):
    """Weighted binary cross-entropy, a mean over the C labels of each example."""
    losses = tf.nn.sigmoid_cross_entropy_with_logits(
        tf.cast(labels, tf.float32), logits
    )
    return tf.reduce_sum(tf.reduce_mean(losses, axis=-1) * weights)


def span(start_logits, end_logits, start_positions, end_positions, weights, mask=None):
    """Sum of (ce(start) + ce(end)) / 2, over all positions or those of a mask.

    The original lets padding take part in the softmax; with `mask` [B, S] it does not.
    """

    def one(logits, positions):
        if mask is not None:
            logits = tf.where(mask > 0, logits, MASKED_LOGIT)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(positions, logits)

    start = one(start_logits, start_positions)
    return tf.reduce_sum(0.5 * (start + one(end_logits, end_positions)) * weights)
