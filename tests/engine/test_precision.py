"""The arithmetic's policy and loss scaling."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import run_python
from tfdl.engine import errors, optimizers, precision


@pytest.fixture(autouse=True)
def default_policy():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_policy(name):
    precision.set_policy(name)
    dense = keras.layers.Dense(2)
    output = dense(np.ones([1, 3], "float32"))
    assert output.dtype == name
    assert dense.kernel.dtype == "float32"


def test_unknown_policy():
    with pytest.raises(errors.UserError, match="unknown precision 'float61'"):
        precision.set_policy("float61")


def test_only_float16_is_scaled():
    for name in ("float32", "bfloat16"):
        scale = precision.LossScale.for_precision(name)
        assert not scale.active and not scale.variables
        loss = tf.constant(3.0)
        assert scale.scale(loss) is loss
    scale = precision.LossScale.for_precision("float16")
    assert scale.dynamic and float(scale.value()) == 2.0**15
    assert len(scale.variables) == 2


def setup(scale):
    weight = tf.Variable([1.0, 2.0])
    optimizer = optimizers.create({"name": "sgd", "global_clip_norm": 10.0})
    optimizer.build([weight], ["weight"])

    @tf.function
    def step(factor):
        with tf.GradientTape() as tape:
            loss = scale.scale(factor * tf.reduce_sum(weight * [3.0, 4.0]))
        gradient = tape.gradient(loss, weight)
        return optimizer.apply([gradient], [weight], 0.1, scale=scale), gradient

    return weight, step


def test_static_scale():
    weight, step = setup(precision.LossScale(1024.0))
    report, gradient = step(tf.constant(1.0))
    np.testing.assert_array_equal(gradient, [3072.0, 4096.0])
    # 5 after unscaling: under the clip of 10, which 5120 would not have been.
    np.testing.assert_allclose(report["grad_norm"], 5.0, rtol=1e-6)
    np.testing.assert_allclose(weight, [0.7, 1.6], rtol=1e-6)
    report, _ = step(tf.constant(np.inf))
    assert not bool(report["finite"]) and bool(report["stop"])
    np.testing.assert_allclose(weight, [0.7, 1.6], rtol=1e-6)


def test_dynamic_scale_shrinks_and_grows():
    scale = precision.LossScale(4.0, dynamic=True, growth_interval=3)
    weight, step = setup(scale)
    seen, stops = [], []
    for factor in (1, 1, np.nan, 1, 1, 1, 1, np.inf, np.inf, np.inf, np.inf, 1):
        report, _ = step(tf.constant(factor, tf.float32))
        assert bool(report["finite"]) == np.isfinite(factor)
        seen.append(float(scale.value()))
        stops.append(bool(report["stop"]))
    assert seen == [4, 4, 2, 2, 2, 4, 4, 2, 1, 1, 1, 1]
    # Only when there is nothing left to lower does a bad step stop the run.
    assert [i for i, stop in enumerate(stops) if stop] == [9, 10]
    np.testing.assert_allclose(weight, [1 - 7 * 0.3, 2 - 7 * 0.4], rtol=1e-5)


def test_dynamic_scale_has_a_top():
    scale = precision.LossScale(precision.MAXIMUM, dynamic=True, growth_interval=1)
    scale.update(tf.constant(True))
    assert float(scale.value()) == precision.MAXIMUM


def test_float16_loss_is_scaled_in_its_type():
    scale = precision.LossScale(8.0)
    scaled = scale.scale(tf.constant(0.5, tf.float16))
    assert scaled.dtype == tf.float16 and float(scaled) == 4.0


def test_restored_scale_goes_on_alike(tmp_path):
    scale = precision.LossScale(4.0, dynamic=True, growth_interval=3)
    scale.update(tf.constant(False))
    scale.update(tf.constant(True))
    scale.update(tf.constant(True))
    path = tf.train.Checkpoint(state=list(scale.variables)).write(str(tmp_path / "s"))
    other = precision.LossScale(4.0, dynamic=True, growth_interval=3)
    tf.train.Checkpoint(state=list(other.variables)).read(path).assert_consumed()
    assert float(other.value()) == 2.0
    other.update(tf.constant(True))
    assert float(other.value()) == 4.0


def test_small_float16_gradients_survive():
    precision.set_policy("float16")
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    dense.build([None, 1])
    kernel = dense.kernel.value

    def gradient(scale):
        with tf.GradientTape() as tape:
            output = tf.cast(dense(tf.constant([[2.0**-12]])), tf.float32)
            loss = scale.scale(tf.reduce_sum(output) * 2.0**-14)
        return float(tape.gradient(loss, kernel)[0, 0] / scale.value())

    assert gradient(precision.LossScale()) == 0.0  # 2^-26 is no float16
    assert gradient(precision.LossScale(2.0**15)) == 2.0**-26


def test_nan_on_one_of_two_replicas():
    done = run_python("-m", "tests.engine.replicas", "not_finite")
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    for kind, rows in result.items():
        assert [set(row["finite"]) for row in rows] == [{False}] + [{True}] * 3
        assert rows[0]["state_kept"]
        assert rows[0]["weights"] == [[1.0, 2.0]] * 2
        assert rows[0]["stop"] == [kind == "none"] * len(rows[0]["stop"])
        for row in rows[1:]:
            np.testing.assert_allclose(row["norm"], 5.0, rtol=1e-6)
            assert row["weights"][0] == row["weights"][1]
            assert row["weights"][0][0] < 1.0
    # Halved by the bad step, doubled by two good ones.
    assert [row["scales"] for row in result["dynamic"]] == [
        [512.0] * 2,
        [512.0] * 2,
        [1024.0] * 2,
        [1024.0] * 2,
    ]
    last = [rows[-1]["weights"] for rows in result.values()]
    np.testing.assert_allclose(last[0], last[1], rtol=1e-6)
