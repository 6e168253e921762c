"""Dropout: its share, its scale, and masks of one's own on every replica."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import run_python
from tfdl.layers.dropout import Dropout

ONES = np.ones((200, 100), "float32")


def test_off_outside_training_and_at_rate_zero():
    np.testing.assert_array_equal(Dropout(0.5)(ONES), ONES)
    np.testing.assert_array_equal(Dropout(0.0)(ONES, training=True), ONES)


def test_share_and_scale():
    out = Dropout(0.1)(ONES, training=True).numpy()
    kept = out[out != 0]
    np.testing.assert_allclose(kept, 1 / 0.9, rtol=1e-6)
    # 20,000 draws: 0.0021 is one deviation of the share.
    assert abs((out == 0).mean() - 0.1) < 5 * 0.0021


def test_noise_shape_shares_a_mask():
    out = Dropout(0.5, noise_shape=(200, 1))(ONES, training=True).numpy()
    np.testing.assert_array_equal(out, np.repeat(out[:, :1], 100, axis=1))
    assert 0 < (out == 0).mean() < 1


def test_a_seed_reproduces_and_calls_differ():
    def draw():
        keras.utils.set_random_seed(3)
        layer = Dropout(0.5)
        return [layer(ONES, training=True).numpy() for _ in range(2)]

    first, second = draw(), draw()
    np.testing.assert_array_equal(first, second)
    assert (first[0] != first[1]).any()


def test_restored_state_replays_the_mask():
    layer = Dropout(0.5)
    state = layer.variables[0].numpy()
    first = layer(ONES, training=True)
    layer.variables[0].assign(state)
    np.testing.assert_array_equal(layer(ONES, training=True), first)


def test_dtype_is_kept():
    out = Dropout(0.5)(tf.cast(ONES, tf.bfloat16), training=True)
    assert out.dtype == tf.bfloat16


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rate_has_to_be_a_share(rate):
    with pytest.raises(ValueError, match="rate"):
        Dropout(rate)


REPLICAS = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from tfdl.layers.dropout import Dropout
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
keras.utils.set_random_seed(5)
with strategy.scope():
    layer = Dropout(0.5)
state = layer.variables[0].numpy()
run = tf.function(lambda: strategy.run(lambda: layer(tf.ones([64, 64]), training=True)))

def masks():
    return [x.numpy() for x in strategy.experimental_local_results(run())]

first = masks()
assert (first[0] != first[1]).mean() > 0.4, "replicas share a mask"
layer.variables[0].assign(state)
for a, b in zip(first, masks()):
    np.testing.assert_array_equal(a, b)
print("DIFFERENT")
"""


def test_replicas_draw_masks_of_their_own():
    done = run_python("-c", REPLICAS)
    assert "DIFFERENT" in done.stdout, done.stderr[-3000:]
