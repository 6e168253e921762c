"""Moving averages of weights."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden, run_python
from tfdl.engine import ema, errors, optimizers


def moved(average, weight, values):
    """Updates the average with each value; returns it after each."""
    update = tf.function(average.update)
    result = []
    for value in values:
        weight.assign(value)
        update()
        result.append(average.averages[0].numpy())
    return np.array(result)


def test_equals_the_definition():
    weight = tf.Variable([1.0, 2.0])
    values = np.random.default_rng(0).normal(size=[50, 2]).astype("float32")
    ours = moved(ema.ExponentialMovingAverage(0.95, [weight]), weight, values)
    expected = np.array([1.0, 2.0])
    for value, after in zip(values.astype("float64"), ours, strict=True):
        expected = 0.95 * expected + 0.05 * value
        np.testing.assert_allclose(after, expected, rtol=1e-6, atol=1e-6)


def test_does_not_drift_from_weights_that_stand_still():
    weight = tf.Variable([0.1, 12345.678])
    average = ema.ExponentialMovingAverage(0.9999, [weight])
    moved(average, weight, [weight.numpy()] * 200)
    np.testing.assert_array_equal(average.averages[0], weight)


def test_warmed_up_decay():
    weight = tf.Variable([0.0])
    average = ema.ExponentialMovingAverage(ema.warmed_up(0.2), [weight])
    ours = moved(average, weight, [[1.0]] * 3)
    # Decays of 1/10, 2/11, then 0.2 < 3/12.
    expected = [1 - 0.1, 1 - 0.1 * 2 / 11, 1 - 0.1 * 2 / 11 * 0.2]
    np.testing.assert_allclose(ours[:, 0], expected, rtol=1e-6)


def test_half_life():
    weight = tf.Variable([0.0])
    average = ema.ExponentialMovingAverage(ema.half_life(8), [weight])
    ours = moved(average, weight, [[1.0]] * 16)
    np.testing.assert_allclose(ours[[7, 15], 0], [0.5, 0.75], rtol=1e-6)


def test_copies_before_its_start():
    weight = tf.Variable([1e8])
    average = ema.ExponentialMovingAverage(0.5, [weight], start=2)
    ours = moved(average, weight, [[1.1], [2.0], [4.0], [4.0]])
    np.testing.assert_array_equal(ours[:, 0], np.array([1.1, 2.0, 3.0, 3.5], "float32"))


def test_averaged_sgd_equals_torch():
    file = np.load(golden("ulmfit", "io_optim.npz"))
    weight = tf.Variable(file["p0"])
    optimizer = optimizers.create({"name": "sgd", "weight_decay": 1.2e-3})
    optimizer.build([weight], ["p"])
    average = ema.ExponentialMovingAverage(ema.averaged_sgd, [weight], ema.NEVER)
    for _ in range(3):  # not begun: nothing but a copy
        average.update()
        np.testing.assert_array_equal(average.averages[0], file["p0"])
    average.begin()
    for gradient, expected in zip(file["grads"], file["asgd_ax"], strict=True):
        optimizer.apply([tf.constant(gradient)], [weight], 0.5)
        average.update()
        np.testing.assert_allclose(average.averages[0], expected, rtol=1e-6, atol=1e-6)


def test_swapped_puts_everything_back():
    weight = tf.Variable([1.0])
    average = ema.ExponentialMovingAverage(0.5, [weight])
    moved(average, weight, [[3.0]])
    with average.swapped():
        np.testing.assert_array_equal(weight, [2.0])
    np.testing.assert_array_equal(weight, [3.0])
    with pytest.raises(RuntimeError), average.swapped():
        raise RuntimeError
    np.testing.assert_array_equal(weight, [3.0])
    np.testing.assert_array_equal(average.averages[0], [2.0])


def test_restored_averages_go_on_alike(tmp_path):
    values = np.random.default_rng(0).normal(size=[8, 1]).astype("float32")

    def fresh():
        weight = tf.Variable([0.0])
        decay = ema.warmed_up(0.99)
        return weight, ema.ExponentialMovingAverage(decay, [weight], start=2)

    weight, average = fresh()
    whole = moved(average, weight, values)
    weight, average = fresh()
    moved(average, weight, values[:5])
    state = tf.train.Checkpoint(state=average.variables)
    path = state.write(str(tmp_path / "half"))
    weight, average = fresh()
    tf.train.Checkpoint(state=average.variables).read(path).assert_consumed()
    np.testing.assert_array_equal(moved(average, weight, values[5:]), whole[5:])


@pytest.mark.parametrize("decay", [1.0, -0.1, "x"])
def test_a_wrong_decay_is_named(decay):
    with pytest.raises(errors.UserError, match="decay has to be"):
        ema.ExponentialMovingAverage(decay, [tf.Variable([0.0])])


def test_two_replicas():
    done = run_python("-m", "tests.engine.replicas", "averages")
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    # Two replicas' gradients of 1 add up: each step moves the weights by 0.5.
    weight = average = np.array([1.0, -2.0])
    for _ in range(4):
        weight = weight - 0.5
        average = 0.9 * average + 0.1 * weight
    expected = {
        "weights": weight,
        "averages": average,
        "inside": average,
        "after": weight,
        "begun": weight,
    }
    assert set(result) == set(expected)
    for name, value in expected.items():
        assert len(result[name]) == 2
        np.testing.assert_allclose(result[name], [value, value], rtol=1e-6)


def test_weights_come_back_for_a_moment():
    weight = tf.Variable([1.0])
    average = ema.ExponentialMovingAverage(0.5, [weight])
    moved(average, weight, [[3.0]])
    with average.swapped():
        assert weight.numpy() == [2.0]
        with average.unswapped():
            assert weight.numpy() == [3.0]
        assert weight.numpy() == [2.0]
    assert weight.numpy() == [3.0]
