"""Losses on whole and mixed pictures, each a value per picture."""

import tensorflow as tf

from tfdl.engine import errors

KINDS = ("softmax", "binary")


def check(kind: str) -> str:
    """Returns the loss's name, or raises `UserError`."""
    if kind not in KINDS:
        raise errors.unknown("loss", kind, KINDS)
    return kind


def targets(labels: tf.Tensor, classes: int, smoothing: float = 0.0) -> tf.Tensor:
    """Returns float32 [B, classes]: `s / classes`, and `1 - s` more at the label.

    Label smoothing by s (Szegedy et al. 2015, section 7).
    """
    one_hot = tf.one_hot(labels, classes)
    return one_hot * (1.0 - smoothing) + smoothing / classes


def softmax(logits: tf.Tensor, soft: tf.Tensor) -> tf.Tensor:
    """Returns the cross entropy `-sum_c t_c log p_c` [B] of logits [B, C]."""
    return tf.nn.softmax_cross_entropy_with_logits(soft, tf.cast(logits, tf.float32))


def binary(logits: tf.Tensor, soft: tf.Tensor, threshold: float = 0.0) -> tf.Tensor:
    """Returns the mean over classes of the binary cross entropies [B].

    One yes or no per class (Wightman et al. 2021, section 3.2). A `threshold` above 0
    turns soft targets into 0 and 1 first: what is above it counts.
    """
    if threshold:
        soft = tf.cast(soft > threshold, tf.float32)
    each = tf.nn.sigmoid_cross_entropy_with_logits(soft, tf.cast(logits, tf.float32))
    return tf.reduce_mean(each, axis=-1)


def correct(logits: tf.Tensor, labels: tf.Tensor, k: int) -> tf.Tensor:
    """Returns float32 [B]: 1 where the label is among the k largest logits."""
    k = min(k, logits.shape[-1])
    return tf.cast(tf.math.in_top_k(labels, logits, k), tf.float32)
