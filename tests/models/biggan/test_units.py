"""Spectral normalisation, attention and batch normalisation by themselves."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden
from tfdl.models.biggan.attention import SelfAttention
from tfdl.models.biggan.conditional_norm import (
    ConditionalNorm,
    OutputNorm,
    Rows,
    accumulating,
)
from tfdl.models.biggan.plans import GeneratorConfig, Spectral
from tfdl.models.biggan.resampling import doubled, doubled_convolution
from tfdl.models.biggan.spectral import (
    Convolution,
    Linear,
    SpectralNorm,
    Table,
    Weights,
)

CASES = ("conv", "conv_it3", "conv_sv3", "linear", "embed", "linear_tinyeps")


@pytest.fixture(scope="module")
def units():
    return np.load(golden("biggan", "units.npz"))


def _layer(units, case):
    """Returns (layer, its weight, theirs -> ours, input, values)."""
    found = {
        name.split("/")[2]: units[name]
        for name in units.files
        if name.startswith(f"sn/{case}/")
    }
    values = sum(name in found for name in ("u0", "u1", "u2"))
    settings = Spectral(float(found["eps"]), int(found["num_itrs"]), values)
    weights = Weights(settings, "ortho")
    weight = found["weight"]
    if weight.ndim == 4:
        layer = Convolution(len(weight), 3, weights)
        layer.build((None, None, None, weight.shape[1]))
        axes, x = (2, 3, 1, 0), found["x"].transpose(0, 2, 3, 1)
    elif "embed" in case:
        layer = Table(*weight.shape, weights, normalised=True)
        layer.build()
        layer.kernel, axes, x = layer.table, (0, 1), found["x"]
    else:
        layer = Linear(len(weight), weights)
        layer.build((None, weight.shape[1]))
        axes, x = (1, 0), found["x"]
    layer.kernel.assign(weight.transpose(axes))
    if "bias" in found:
        layer.bias.assign(found["bias"])
    layer.norm.u.assign(np.concatenate([found[f"u{k}"] for k in range(values)]))
    return layer, axes, tf.constant(x), found, values


@pytest.mark.parametrize("case", CASES)
def test_spectral_norm(units, case):
    layer, axes, x, found, values = _layer(units, case)
    back = np.argsort(axes)

    def nchw(y):
        return np.transpose(y, (0, 3, 1, 2)) if y.ndim == 4 else np.asarray(y)

    kernel = layer.norm(layer.kernel, training=False).numpy().transpose(back)
    np.testing.assert_allclose(kernel, found["eval_W"], atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(nchw(layer(x)), found["eval_out"], 1e-5, 1e-5)
    np.testing.assert_array_equal(
        layer.norm.u, np.concatenate([found[f"u{k}"] for k in range(values)])
    )
    r = found["r"].transpose(0, 2, 3, 1) if found["r"].ndim == 4 else found["r"]
    with tf.GradientTape() as tape:
        out = layer(x, training=True)
        loss = tf.reduce_sum(out * r)
    np.testing.assert_allclose(nchw(out), found["train_out"], 1e-5, 1e-5)
    gradient = tf.convert_to_tensor(tape.gradient(loss, layer.kernel.value))
    gradient = gradient.numpy().transpose(back)
    np.testing.assert_allclose(gradient, found["grad_weight"], atol=2e-5, rtol=1e-5)
    for k in range(values):
        after = found[f"u{k}_after"][0]
        np.testing.assert_allclose(layer.norm.u[k], after, atol=2e-6)
        np.testing.assert_allclose(
            layer.norm.sv[k : k + 1], found[f"sv{k}_after"], rtol=1e-5
        )


def test_singular_values_converge():
    norm = SpectralNorm(Spectral(1e-8, iterations=30, values=3))
    kernel = np.random.default_rng(0).normal(size=[5, 7]).astype("float32")
    norm.build(kernel.shape)
    norm(kernel, training=True)
    true = np.linalg.svd(kernel, compute_uv=False)
    np.testing.assert_allclose(norm.sv, true[:3], rtol=1e-3)


def test_stored_vectors_are_used_as_they_are():
    norm = SpectralNorm(Spectral(evaluation="stored"))
    kernel = np.random.default_rng(0).normal(size=[3, 3, 2, 4]).astype("float32")
    norm.build(kernel.shape)
    sigma = norm.v.numpy() @ kernel.reshape(18, 4) @ norm.u.numpy()[0]
    np.testing.assert_allclose(norm(kernel), kernel / sigma, rtol=1e-4)
    trained = norm(kernel, training=True)
    np.testing.assert_allclose(norm(kernel), trained, rtol=1e-6)


def test_attention(units):
    layer = SelfAttention(16, Weights(Spectral(1e-12), "ortho"))
    layer.build((None, None, None, 16))
    x = units["attn/x"].transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(layer(x), x)
    layer.gamma.assign(units["attn/state/gamma"])
    for name in ("theta", "phi", "g", "o"):
        part = getattr(layer, name)
        weight = units[f"attn/state/{name}.weight"]
        part.kernel.assign(weight.transpose(2, 3, 1, 0))
        part.norm.u.assign(units[f"attn/state/{name}.u0"])
    for name, training in (("eval", False), ("train", True)):
        found = layer(x, training=training).numpy().transpose(0, 3, 1, 2)
        np.testing.assert_allclose(found, units[f"attn/{name}_out"], atol=1e-5)


def _norm(variance, **changes):
    config = GeneratorConfig.preset(
        "tiny", running_variance=variance, synchronised=False, **changes
    )
    layer = OutputNorm(config)
    layer.build((None, None, None, 4))
    return layer


@pytest.mark.parametrize(
    ("variance", "name"), [("unbiased", "torch"), ("biased", "mybn")]
)
def test_batch_norm(units, variance, name):
    layer = _norm(variance)
    x = units["bn/x"].transpose(0, 2, 3, 1)

    def run(training, x=x):
        gain, bias = tf.constant(1 + units["bn/gain"]), tf.constant(units["bn/bias"])
        return layer.normalised(tf.constant(x), gain, bias, None, training)

    found = run(True).numpy().transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, units[f"bn/{name}_train_out"], atol=1e-5)
    for kind, moving in (("mean", layer.moving_mean), ("var", layer.moving_variance)):
        np.testing.assert_allclose(moving, units[f"bn/{name}_running_{kind}"], 1e-5)
    if name == "mybn":
        # The reference summed over this batch and over twice its values.
        for i in (1, 2):
            with accumulating(1 / i):
                run(True, i * x)
        mean, variance = 2 * layer.moving_mean, 2 * layer.moving_variance
        np.testing.assert_allclose(mean, units["bn/mybn_sum_mean"], 1e-5)
        np.testing.assert_allclose(variance, units["bn/mybn_sum_var"], 1e-5)
        one, none = tf.ones(4), tf.zeros(4)
        found = layer.normalised(tf.constant(x), one, none, None, False).numpy()
        expected = units["bn/mybn_standing_out"].transpose(0, 2, 3, 1)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_rows_by_truncation():
    table = tf.constant(np.arange(51, dtype="float32")[:, None])

    def row(truncation, interpolation):
        rows = Rows(truncation, 51, interpolation)
        return rows.of(table).numpy()[..., 0]

    # What pytorch-pretrained-biggan reads at each: its weights are mirrored, and
    # 0.14 / 0.02 is more than 7, 0.58 / 0.02 less than 29.
    expected = {0.5: 25, 0.02: 1, 1.0: 50, 0.14: 8, 0.28: 15, 0.56: 29}
    expected |= {0.58: 28, 0.94: 46, 0.43: 21.5, 0.01: 0.5, 0.999: 49.05}
    for truncation, found in expected.items():
        assert row(truncation, "hf") == pytest.approx(found, abs=1e-4)
        given = tf.constant(truncation, tf.float32)
        assert row(given, "hf") == pytest.approx(found, abs=1e-4)
    graph = tf.function(lambda x: Rows(x, 51, "hf").of(table)[..., 0])
    for given in (
        tf.constant(list(expected), dtype) for dtype in ("float32", "float64")
    ):
        np.testing.assert_allclose(graph(given), list(expected.values()), atol=1e-4)
    grid = np.linspace(0.005, 1, 200).astype("float32")
    many = row(tf.constant(grid), "linear")
    np.testing.assert_allclose(many, grid * 50, atol=1e-3)
    for k in range(1, 51):
        assert row(k / 50, "linear") == row(tf.constant(k / 50), "linear") == k


def test_each_example_has_its_own_truncation():
    config = GeneratorConfig.preset("tiny", statistics="table", num_statistics=11)
    layer = ConditionalNorm(config, Weights(None, "ortho"))
    layer.build((None, None, None, 4))
    random = np.random.default_rng(0)
    layer.moving_mean.assign(random.normal(size=[11, 4]))
    layer.moving_variance.assign(random.uniform(0.5, 2, size=[11, 4]))
    x = tf.constant(random.normal(size=[3, 2, 2, 4]), tf.float32)
    condition = tf.constant(random.normal(size=[3, config.condition_dim]), tf.float32)
    truncations = [0.3, 0.77, 1.0]
    both = layer(x, condition, rows=Rows(tf.constant(truncations), 11, "linear"))
    for i, truncation in enumerate(truncations):
        one = layer(
            x[i : i + 1], condition[i : i + 1], rows=Rows(truncation, 11, "linear")
        )
        np.testing.assert_allclose(both[i], one[0], atol=1e-5)


def test_gain_starts_at_one():
    layer = ConditionalNorm(GeneratorConfig.preset("tiny"), Weights(None, "zeros"))
    layer.build((None, None, None, 4))
    x = tf.constant(np.random.default_rng(0).normal(size=[2, 3, 3, 4]), tf.float32)
    condition = tf.ones([2, layer.config.condition_dim])
    np.testing.assert_allclose(layer(x, condition), x / np.sqrt(1 + 1e-5), rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 5, 4, 3)])
def test_doubled_convolution(shape):
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=shape), tf.float32)
    kernel = tf.constant(random.normal(size=[3, 3, 3, 2]), tf.float32)
    np.testing.assert_array_equal(
        doubled(x), np.repeat(np.repeat(x.numpy(), 2, 1), 2, 2)
    )
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, kernel])
        plain = tf.nn.conv2d(doubled(x), kernel, 1, "SAME")
        phases = doubled_convolution(x, kernel)
        losses = [tf.reduce_sum(tf.sin(y)) for y in (plain, phases)]
    np.testing.assert_allclose(phases, plain, atol=1e-5)
    for weight in (x, kernel):
        one, other = (tape.gradient(loss, weight) for loss in losses)
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("name", ["ortho", "N02", "xavier"])
def test_initialisation(name):
    keras.utils.set_random_seed(0)
    layer = Convolution(16, 3, Weights(Spectral(), name))
    layer.build((None, None, None, 8))
    matrix = layer.kernel.numpy().reshape(-1, 16)
    bound = (8 * 9) ** -0.5
    bias = layer.bias.numpy()
    assert np.abs(bias).max() <= bound and bias.std() > bound / 4
    if name == "ortho":
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(16), atol=1e-5)
    elif name == "N02":
        assert matrix.std() == pytest.approx(0.02, rel=0.1)
    else:
        assert np.abs(matrix).max() <= (6 / (8 * 9 + 16 * 9)) ** 0.5
