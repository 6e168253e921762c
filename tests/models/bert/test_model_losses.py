"""Losses against NumPy in float64, and what weights and denominators do."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models.bert.tiny import close
from tfdl.models.bert import losses

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32") * 3


def cross_entropy(logits, ids):
    logits = logits.astype(np.float64)
    top = logits.max(-1, keepdims=True)
    log_z = np.log(np.exp(logits - top).sum(-1)) + top[..., 0]
    return log_z - np.take_along_axis(logits, ids[..., None], -1)[..., 0]


def test_masked_lm():
    logits, ids = normal(4, 5, 11), RANDOM.integers(0, 11, (4, 5), dtype=np.int32)
    weights = RANDOM.integers(0, 2, (4, 5)).astype("float32")
    ids[0, 0], weights[0, 0] = logits[0, 0].argmax(), 1  # at least one is right
    loss, right = losses.masked_lm(logits, ids, weights)
    close(loss, (cross_entropy(logits, ids) * weights).sum(), 1e-6)
    assert right == ((logits.argmax(-1) == ids) * weights).sum() > 0


def test_masked_lm_ignores_what_stands_in_unused_slots():
    logits, ids = normal(2, 3, 7), np.zeros((2, 3), "int32")
    weights = np.array([[1, 1, 0], [1, 0, 0]], "float32")
    loss, right = losses.masked_lm(logits, ids, weights)
    other = np.where(weights[..., None] > 0, logits, 9.0).astype("float32")
    again, right_again = losses.masked_lm(other, ids, weights)
    assert (loss, right) == (again, right_again)


def test_parts_add_up_to_the_whole_batch():
    logits, ids = normal(6, 4, 9), RANDOM.integers(0, 9, (6, 4), dtype=np.int32)
    weights = RANDOM.random((6, 4)).astype("float32")
    whole = losses.masked_lm(logits, ids, weights)
    parts = [losses.masked_lm(logits[s], ids[s], weights[s]) for s in
             (slice(0, 1), slice(1, 6))]  # fmt: skip
    for k in range(2):
        close(parts[0][k] + parts[1][k], whole[k], 1e-6)


@pytest.mark.parametrize("shape", [(8,), (3, 6)])  # examples, or their tokens
def test_classification(shape):
    logits = normal(*shape, 4)
    labels = RANDOM.integers(0, 4, shape, dtype=np.int32)
    weights = RANDOM.random(shape).astype("float32")
    loss, right = losses.classification(logits, labels, weights)
    close(loss, (cross_entropy(logits, labels) * weights).sum(), 1e-6)
    close(right, ((logits.argmax(-1) == labels) * weights).sum(), 1e-6)


def test_regression():
    logits, values = normal(5, 1), normal(5)
    weights = np.array([1, 0, 1, 1, 2], "float32")
    expected = ((logits[:, 0] - values) ** 2 * weights).sum()
    close(losses.regression(logits, values, weights), expected, 1e-6)


def test_multilabel():
    logits = normal(4, 3)
    labels = RANDOM.integers(0, 2, (4, 3)).astype("float32")
    weights = np.array([1, 1, 0, 1], "float32")
    chance = 1 / (1 + np.exp(-logits.astype(np.float64)))
    each = -(labels * np.log(chance) + (1 - labels) * np.log(1 - chance))
    expected = (each.mean(-1) * weights).sum()
    close(losses.multilabel(logits, labels, weights), expected, 1e-6)
    close(losses.multilabel(logits, labels.astype("int32"), weights), expected, 1e-6)


def test_span_counts_every_position():
    start, end = normal(3, 10), normal(3, 10)
    a, b = np.array([[0, 4, 9], [0, 6, 9]], "int32")
    weights = np.array([1, 1, 0], "float32")
    each = (cross_entropy(start, a) + cross_entropy(end, b)) / 2
    expected = (each * weights).sum()
    close(losses.span(start, end, a, b, weights), expected, 1e-6)


def test_large_logits_stay_finite():
    logits = np.array([[[3e4, -3e4, 0.0]]], "float32")
    with tf.GradientTape() as tape:
        x = tf.constant(logits)
        tape.watch(x)
        loss, _ = losses.masked_lm(x, np.array([[1]], "int32"), np.ones((1, 1), "f"))
    close(loss, 6e4)
    assert np.isfinite(tape.gradient(loss, x)).all()
