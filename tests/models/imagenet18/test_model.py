"""The network against the original's outputs, gradients and statistics."""

import dataclasses
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdl
from tests.helpers import run_python
from tests.models.imagenet18.networks import (
    convert,
    difference,
    load,
    pictures,
    written,
)
from tfdl.classifiers import preprocessing
from tfdl.engine import errors, model_dir
from tfdl.layers.batch_norm import BatchNorm
from tfdl.models.imagenet18 import blocks
from tfdl.models.imagenet18.model import build_model, fold, units
from tfdl.models.imagenet18.names import normalisation_patterns, variable_names
from tfdl.models.imagenet18.network import PRESETS, ResNetConfig
from tfdl.models.imagenet18.torchvision_names import theirs

TINY = ResNetConfig(
    blocks=(1, 1), widths=(8, 16), stem_width=16, deep_stem_width=4, num_classes=3
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The network that the training goldens start from, as a model directory."""
    folder = tmp_path_factory.mktemp("trained") / "m"
    convert("train_rn_w3_1111_init.pth", folder)
    return folder


@pytest.mark.parametrize(
    "weights, outputs",
    [("rn50_w2.pth", "io_eval_rn50_w2"), ("rn18_w2_legacy.pth", "io_eval_rn18_w2")],
)
def test_evaluation(tmp_path, weights, outputs):
    model, _, _ = convert(weights, tmp_path / "m")
    folded = fold(model)
    arrays = load(f"{outputs}.npz")
    cases = [name[3:] for name in arrays.files if name.startswith("u8_")]
    assert len(cases) == 4
    for k in cases:
        pixels = arrays[f"u8_{k}"]
        for network in (model, folded):
            logits = network(pictures(pixels))["logits"]
            assert difference(logits, arrays[f"logits_{k}"]) < 1e-5
        mirrored = model(pictures(pixels[:, :, ::-1]))["logits"]
        both = model(pictures(pixels))["logits"] + mirrored
        assert difference(both, arrays[f"logits_flip_tta_{k}"]) < 1e-5
    features = model(pictures(arrays["u8_0"]))["features"]
    assert difference(features, arrays["gap_0"]) < 1e-5


def test_five_steps_of_training(trained):
    model = tfdl.load(str(trained))
    arrays = load("io_train_rn_w3_1111.npz")
    weights = variable_names(model)
    decayed = {
        name: not any(re.search(p, name) for p in normalisation_patterns(model.config))
        for name in weights
    }
    velocity = dict.fromkeys(weights, 0.0)
    steps = len(arrays["lrs"])
    for step in range(steps):
        with tf.GradientTape() as tape:
            logits = model(pictures(arrays[f"u8_{step}"]), training=True)["logits"]
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(
                    arrays[f"y_{step}"], logits
                )
            )
        np.testing.assert_allclose(loss, arrays[f"loss_{step}"], rtol=1e-5)
        assert difference(logits, arrays[f"logits_{step}"]) < 1e-5
        watched = [variable.value for variable in weights.values()]
        for name, gradient in zip(weights, tape.gradient(loss, watched), strict=True):
            if f"grad{step}/{name}" in arrays.files:
                found = theirs(name, gradient.numpy())
                np.testing.assert_allclose(
                    found, arrays[f"grad{step}/{name}"], rtol=1e-4, atol=1e-5
                )
            variable = weights[name]
            decay = arrays["weight_decay"] if decayed[name] else 0.0
            velocity[name] = (
                arrays["momentum"] * velocity[name] + gradient + decay * variable.value
            )
            variable.assign(variable.value - arrays["lrs"][step] * velocity[name])
    after = f"after{steps - 1}/"
    compared = 0
    for name, variable in variable_names(model, statistics=True).items():
        if after + name in arrays.files:
            found = theirs(name, variable.numpy())
            assert difference(found, arrays[after + name]) < 1e-5, name
            compared += "running" in name
    assert compared > 8


def test_two_replicas(trained):
    arrays = load("io_data_parallel.npz")
    done = run_python("-m", "tests.models.imagenet18.two_replicas", str(trained))
    assert done.returncode == 0, done.stderr[-2000:]
    found = written(done.stdout)
    local = found["local"]
    for rank in (0, 1):
        expected = arrays[f"rank{rank}/bn1.running_mean"]
        assert difference(local["own_means"][rank], expected) < 1e-5
        np.testing.assert_allclose(
            local["losses"][rank], arrays[f"loss_rank{rank}"], rtol=1e-5
        )
    gradients = [n for n in arrays.files if n.startswith("avg_grad/")]
    assert len(gradients) == len(local["gradients"]) == 6
    for name, value in local["gradients"].items():
        assert difference(value, arrays[f"avg_grad/{name}"]) < 2e-5, name
    for name, value in local["statistics"].items():
        mean = (arrays[f"rank0/{name}"] + arrays[f"rank1/{name}"]) / 2
        assert difference(value, mean) < 1e-5, name
    for kind in ("local", "synchronised"):
        np.testing.assert_allclose(*found[kind]["averaged"], rtol=1e-7)
        assert found[kind]["saved"]
    _check_synchronised(tfdl.load(str(trained)), arrays, found["synchronised"])


def _check_synchronised(model, arrays, found):
    """Compares with one replica that has the whole batch."""
    pixels = np.concatenate([arrays[f"u8_rank{rank}"] for rank in (0, 1)])
    labels = np.concatenate([arrays[f"y_rank{rank}"] for rank in (0, 1)])
    with tf.GradientTape() as tape:
        logits = model(pictures(pixels), training=True)["logits"]
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        )
    weights = variable_names(model)
    watched = [variable.value for variable in weights.values()]
    gradients = dict(zip(weights, tape.gradient(loss, watched), strict=True))
    np.testing.assert_allclose(np.mean(found["losses"]), loss, rtol=1e-5)
    for name, value in found["gradients"].items():
        assert difference(value, theirs(name, gradients[name].numpy())) < 2e-4, name
    named = variable_names(model, statistics=True)
    for name, value in found["statistics"].items():
        assert difference(value, named[name].numpy()) < 1e-5, name


def test_moving_variance_of_the_batch_itself():
    x = np.random.default_rng(0).normal(size=[2, 2, 3, 5]).astype("float32")
    found = {}
    for unbiased in (True, False):
        layer = BatchNorm(1e-5, 0.9, unbiased)
        y = layer(tf.constant(x), training=True)
        found[unbiased] = layer.moving_variance.numpy()
        np.testing.assert_allclose(np.var(y, (0, 1, 2)), 1.0, rtol=1e-4)
        before = layer.moving_mean.numpy()
        layer.trainable = False
        layer(tf.constant(x), training=True)
        np.testing.assert_array_equal(layer.moving_mean.numpy(), before)
    variance = x.var((0, 1, 2))
    np.testing.assert_allclose(found[False], 0.9 + 0.1 * variance, rtol=1e-5)
    np.testing.assert_allclose(found[True], 0.9 + 0.1 * variance * 12 / 11, rtol=1e-5)


def test_blurred_convolution():
    arrays = load("io_blurpool.npz")
    kernel = arrays["weight_oihw"]
    for k in ("0", "1"):
        layer = blocks.Convolution(len(kernel), 3, 2, blur=True)
        layer.build(arrays[f"x_{k}"].shape)
        layer.kernel.assign(kernel.transpose(2, 3, 1, 0))
        assert difference(layer(arrays[f"x_{k}"]), arrays[f"y_{k}"]) < 1e-5


def test_blurred_1x1_convolution_looks_at_every_second_pixel():
    x = np.random.default_rng(0).normal(size=[1, 7, 6, 16]).astype("float32")
    layer = blocks.Convolution(4, 1, 2, blur=True)
    found = layer(tf.constant(x))
    every = tf.nn.conv2d(blocks.blurred(tf.constant(x), 1), layer.kernel, 1, "VALID")
    np.testing.assert_allclose(found, every[:, ::2, ::2], rtol=1e-5, atol=1e-6)


def test_initialisation():
    keras.utils.set_random_seed(1)
    model = build_model({"preset": "resnet50", "widths": [32, 64, 128, 256]})
    for block in (block for stage in model.stages for block in stage):
        last = block.units[-1].norm.gamma.numpy()
        assert not last.any()
        others = [*block.units[:-1], *filter(None, [block.projection])]
        assert all((unit.norm.gamma.numpy() == 1).all() for unit in others)
    for unit in units(model):
        size, _, inputs, outputs = unit.conv.kernel.shape
        if inputs * outputs > 4000:
            deviation = (2 / (size * size * outputs)) ** 0.5
            np.testing.assert_allclose(
                unit.conv.kernel.numpy().std(), deviation, rtol=0.1
            )
    np.testing.assert_allclose(model.fc.kernel.numpy().std(), 0.01, rtol=0.02)
    bound = model.config.num_features**-0.5
    bias = np.abs(model.fc.bias.numpy())
    assert 0.9 * bound < bias.max() <= bound
    plain = build_model(dataclasses.replace(TINY, zero_gamma=False))
    assert all((unit.norm.gamma.numpy() == 1).all() for unit in units(plain))


def test_sizes():
    expected = {
        "resnet18": (11_689_512, 1.81),
        "resnet34": (21_797_672, 3.66),
        "resnet50": (25_557_032, 4.09),
        "resnet101": (44_549_160, 7.80),
        "resnet152": (60_192_808, 11.51),
        "resnet50d": (25_576_264, 4.33),
    }
    for name, (parameters, giga) in expected.items():
        config = ResNetConfig.preset(name)
        assert config.num_parameters() == parameters
        assert config.multiply_adds(224) / 1e9 == pytest.approx(giga, abs=0.01)
        assert config.name() == name
        assert ResNetConfig.from_dict(config.to_dict()) == config
    assert len(PRESETS) == 10
    keras_v1 = ResNetConfig.preset("resnet50", conv_bias=True, stride_in_1x1=True)
    assert keras_v1.num_parameters() == 25_583_592


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"block": "basic", "expansion": 1},
        {"stem": "deep", "avg_down": True, "conv_bias": True},
        {"stride_in_1x1": True, "blur": True, "always_project": True},
        {"first_stage_stride": 2},
    ],
)
def test_every_option_counts_folds_and_trains(changes):
    model = build_model(dataclasses.replace(TINY, **changes))
    weights = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert weights == model.config.num_parameters()
    random = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(random.uniform(0.2, 1.0, variable.shape))
    for shape in ([2, 33, 20, 3], [1, 1, 1, 3]):
        x = {"image": random.normal(size=shape).astype("float32")}
        expected = model(x)["logits"]
        assert difference(fold(model)(x)["logits"], expected.numpy()) < 1e-5
    x = {"image": random.normal(size=[4, 32, 32, 3]).astype("float32")}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x, training=True)["logits"] ** 2)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert all(np.isfinite(g).all() for g in gradients)
    named = {id(v) for v in variable_names(model).values()}
    assert named == {id(v) for v in model.trainable_variables}


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_weights_and_results_in_float32(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = build_model(TINY)
    finally:
        keras.config.set_dtype_policy("float32")
    x = {"image": np.random.default_rng(0).normal(size=[2, 32, 32, 3])}
    with tf.GradientTape() as tape:
        out = model(x, training=True)
        loss = tf.reduce_sum(out["logits"] ** 2)
    assert {v.dtype for v in model.variables} == {"float32"}
    assert out["logits"].dtype == out["features"].dtype == tf.float32
    watched = [v.value for v in model.trainable_variables]
    assert {g.dtype for g in tape.gradient(loss, watched)} == {tf.float32}
    plain = build_model(TINY)
    plain.set_weights(model.get_weights())
    expected = plain(x)["logits"].numpy()
    assert 0 < difference(model(x)["logits"], expected) < 0.05


def test_preprocessing():
    pixels = np.array([[[[0, 128, 255]]]], "uint8")
    mean, std = preprocessing.IMAGENET_MEAN, preprocessing.IMAGENET_STD
    expected = {
        "torch": (pixels / 255 - mean) / std,
        "caffe": pixels[..., ::-1] - np.array(preprocessing.CAFFE_MEAN),
        "tf": pixels / 127.5 - 1,
        "none": pixels,
    }
    for mode, value in expected.items():
        found = preprocessing.normalise(pixels, {"mode": mode})
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)
    assert preprocessing.normalise(pixels, {}, tf.bfloat16).dtype == tf.bfloat16


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ResNetConfig.preset("resnet51"), "did you mean 'resnet50'"),
        (lambda: ResNetConfig.from_dict({"depth": 3}), "unknown field"),
        (lambda: ResNetConfig(blocks=(1, 2)), "one per stage"),
        (lambda: ResNetConfig(widths=(1, 2, 3, 0)), r"widths\[3\].*got 0"),
        (lambda: ResNetConfig(blocks=(1, 1, 1, 1.5)), r"blocks\[3\].*1.5"),
        (lambda: ResNetConfig(blur=1), "true or false"),
        (lambda: ResNetConfig(epsilon=-1.0), "epsilon"),
        (lambda: preprocessing.check({"mode": "pil"}), "allowed: caffe"),
        (lambda: preprocessing.check({"mean": [1, 2]}), "three numbers"),
        (lambda: preprocessing.check({"std": [1, 2, 0]}), "above 0"),
        (lambda: preprocessing.check({"means": 1}), "did you mean 'mean'"),
    ],
)
def test_bad_configurations(call, message):
    with pytest.raises(errors.UserError, match=message):
        call()


def test_a_configuration_larger_than_its_weights(tmp_path):
    model = build_model(TINY)
    config = {"model": "imagenet18", "network": TINY.to_dict()}
    model_dir.save(tmp_path / "m", config, model)
    path = tmp_path / "m" / "config.json"
    path.write_text(
        path.read_text().replace('"num_classes": 3', '"num_classes": 65000')
    )
    with pytest.raises(errors.UserError, match="too few for the"):
        tfdl.load(str(tmp_path / "m"))
    path.write_text('{"model": "imagenet18", "format": 1}')
    with pytest.raises(errors.UserError, match="no 'network'"):
        tfdl.load(str(tmp_path / "m"))
