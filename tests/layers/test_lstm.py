"""The LSTM's own gradient against automatic differentiation, in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tfdl.layers.lstm import lstm


def arrays(steps=5, batch=3, inputs=4, units=6):
    """Returns x, kernel, recurrent, bias, h, c of random values."""
    random = np.random.default_rng(0)
    shapes = [
        (steps, batch, inputs),
        (inputs, 4 * units),
        (units, 4 * units),
        (4 * units,),
        (batch, units),
        (batch, units),
    ]
    return [tf.constant(random.normal(size=shape)) for shape in shapes]


def unrolled(x, kernel, recurrent, bias, h, c):
    """The LSTM written out step by step."""
    outputs = []
    for step in tf.unstack(x):
        i, f, g, o = tf.split(step @ kernel + h @ recurrent + bias, 4, 1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        outputs.append(h)
    return tf.stack(outputs), h, c


def gradients(function, inputs):
    """Returns outputs and gradients of a scalar that all outputs go into."""
    random = np.random.default_rng(1)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(*inputs)
        total = tf.add_n(
            [tf.reduce_sum(y * random.normal(size=y.shape)) for y in outputs]
        )
    return outputs, tape.gradient(total, inputs)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("steps", [1, 5])
def test_equals_autodiff(training, steps):
    inputs = arrays(steps=steps)
    expected = gradients(unrolled, inputs)
    found = gradients(tf.function(lambda *args: lstm(*args, training=training)), inputs)
    for ours, theirs in zip(
        tf.nest.flatten(found), tf.nest.flatten(expected), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13)


def test_unknown_length_and_batch():
    inputs = arrays()
    shapes = [[None, None, 4], [4, 24], [6, 24], [24], [None, 6], [None, 6]]
    function = tf.function(
        lambda *args: lstm(*args),
        input_signature=[tf.TensorSpec(shape, tf.float64) for shape in shapes],
    )
    for steps, batch in ((5, 3), (2, 1)):
        cut = [inputs[0][:steps, :batch], *inputs[1:4]]
        cut += [inputs[4][:batch], inputs[5][:batch]]
        for ours, theirs in zip(function(*cut), unrolled(*cut), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13)


def test_windows_join():
    inputs = arrays()
    whole = lstm(*inputs)
    first = lstm(inputs[0][:2], *inputs[1:])
    second = lstm(inputs[0][2:], *inputs[1:4], *first[1:])
    joined = tf.concat([first[0], second[0]], 0)
    np.testing.assert_allclose(joined, whole[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(second[2], whole[2], rtol=0, atol=1e-13)
