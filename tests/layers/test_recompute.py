"""Recomputed activations: the same result, masks included, and less kept."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import run_python
from tfdl.layers.dropout import Dropout
from tfdl.layers.recompute import recompute

X = np.random.default_rng(0).normal(size=(8, 16)).astype("float32")


class Block(keras.layers.Layer):
    """Two dense layers with dropout and a softmax that can be counted."""

    def __init__(self):
        super().__init__()
        self.first, self.second = keras.layers.Dense(16), keras.layers.Dense(16)
        self.drop_a, self.drop_b = Dropout(0.5), Dropout(0.5)

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build(input_shape)

    def call(self, x, scale=1.0, training=False):
        x = self.drop_a(tf.nn.softmax(self.first(x)), training=training)
        return scale * self.drop_b(self.second(x), training=training)


@pytest.fixture
def block():
    keras.utils.set_random_seed(1)
    layer = Block()
    layer.build((None, 16))
    return layer


def step(layer, use, x):
    """Returns loss, gradients to input and weights of two blocks in a row."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x
        for _ in range(2):
            if use:
                y = recompute(layer, y, scale=3.0, training=True)
            else:
                y = layer(y, scale=3.0, training=True)
        loss = tf.reduce_sum(y**2 * tf.range(16.0))
    return loss, tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])


def outcome(layer, function, start):
    for variable, value in zip(layer.non_trainable_variables, start, strict=True):
        variable.assign(value)
    values = tf.nest.flatten(function(tf.constant(X)))
    return [v.numpy() for v in values], [
        v.numpy() for v in layer.non_trainable_variables
    ]


@pytest.mark.parametrize("how", ["eager", "graph", "xla"])
def test_same_masks_gradients_and_state(block, how):
    start = [v.numpy() for v in block.non_trainable_variables]
    assert len(start) == 2

    def make(use):
        def function(x):
            return step(block, use, x)

        return (
            function
            if how == "eager"
            else tf.function(function, jit_compile=how == "xla")
        )

    plain, plain_state = outcome(block, make(False), start)
    again, again_state = outcome(block, make(True), start)
    for expected, actual in zip(plain, again, strict=True):
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    for before, expected, actual in zip(start, plain_state, again_state, strict=True):
        np.testing.assert_array_equal(actual, expected)
        assert (actual != before).any()


def test_masks_change_from_call_to_call(block):
    x = tf.constant(X)
    first = recompute(block, x, training=True)
    second = recompute(block, x, training=True)
    assert np.abs(first - second).max() > 0


def test_the_layer_runs_twice(block):
    def softmaxes(use):
        graph = (
            tf.function(lambda x: step(block, use, x))
            .get_concrete_function(tf.TensorSpec([8, 16]))
            .graph
        )
        return sum(op.type == "Softmax" for op in graph.get_operations())

    assert softmaxes(False) == 2
    assert softmaxes(True) == 4


REPLICAS = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from tfdl.layers.recompute import recompute
from tests.layers.test_recompute import Block, X
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    layer = Block()
    layer.build((None, 16))
state = layer.non_trainable_variables
start = [v.numpy() for v in state]

def run(use):
    for variable, value in zip(state, start):
        variable.assign(value)
    @tf.function
    def both():
        def replica():
            with tf.GradientTape() as tape:
                x = tf.constant(X)
                y = (recompute(layer, x, training=True) if use
                     else layer(x, training=True))
                loss = tf.reduce_sum(y ** 2)
            return y, tape.gradient(loss, [v.value for v in layer.trainable_variables])
        return strategy.run(replica)
    y, gradients = both()
    local = strategy.experimental_local_results
    return ([local(y)[i].numpy() for i in range(2)],
            [[local(g)[i].numpy() for g in gradients] for i in range(2)],
            [v.numpy() for v in state])

plain, again = run(False), run(True)
assert np.abs(plain[0][0] - plain[0][1]).max() > 0, "replicas share a mask"
for a, b in zip(tf.nest.flatten(plain), tf.nest.flatten(again)):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
print("EQUAL")
"""


def test_replicas_replay_their_own_masks():
    done = run_python("-c", REPLICAS)
    assert "EQUAL" in done.stdout, done.stderr[-3000:]
