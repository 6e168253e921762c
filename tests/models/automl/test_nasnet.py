"""Networks of cells against TF-slim and keras.applications, output by output."""

import re

import numpy as np
import pytest
import tensorflow as tf

from tests.models.automl.networks import (
    KERAS_OUTPUTS,
    convert,
    difference,
    golden,
    load,
    prefix,
)
from tfdl.engine.errors import UserError
from tfdl.models.automl.model import build_model
from tfdl.models.automl.networks import cell_network, ops
from tfdl.models.automl.networks.config import CellsConfig
from tfdl.models.automl.spaces.cells import OPS, Block, Cell, CellGenotype

TINY = {"genotype": "nasnet_a", "cells": 3, "filters": 4, "num_classes": 3}


def random_pictures(count=2, size=16):
    """Returns normalised pictures."""
    return np.random.default_rng(0).normal(size=[count, size, size, 3]).astype("f4")


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """The golden CIFAR network."""
    folder = tmp_path_factory.mktemp("cifar") / "m"
    return convert(prefix("slim_nasnet_cifar.ckpt"), folder)[0]


def test_cifar_with_moving_statistics(cifar):
    arrays = load("io_slim_nasnet_cifar.npz")
    found = cifar.cell_outputs(arrays["eval_x"])
    for key in (key for key in arrays.files if key.startswith("eval/")):
        output = found[key[5:]][:1]
        if key == "eval/cell_0":
            output = output[:, :16, :16]
        assert difference(output, arrays[key]) < 2e-6, key
    out = cifar({"image": arrays["eval_x"]})
    assert difference(out["logits"], arrays["eval_logits"]) < 2e-6
    assert set(out) == {"logits", "features"}


def test_cifar_training_step(cifar):
    arrays = load("io_slim_nasnet_cifar.npz")
    before = cifar.get_weights()
    outputs = cifar.cell_outputs(arrays["train_x"], training=True)
    for key in (key for key in arrays.files if key.startswith("train/")):
        assert difference(outputs[key[6:]], arrays[key]) < 1e-5, key
    cifar.set_weights(before)
    variables = cifar.by_name()
    with tf.GradientTape() as tape:
        out = cifar({"image": arrays["train_x"]}, training=True)
        targets = tf.one_hot(arrays["train_labels"], 7) * 0.9 + 0.1 / 7

        def entropy(logits):
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            return tf.reduce_mean(losses)

        main, aux = entropy(out["logits"]), 0.4 * entropy(out["aux_logits"])
        kernels = [tf.convert_to_tensor(v) for v in cifar.kernels()]
        decay = 5e-4 * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])
        total = main + aux + decay
    for name, value in (
        ("loss_main", main),
        ("loss_aux_weighted", aux),
        ("loss_l2", decay),
        ("loss_total", total),
        ("logits", out["logits"]),
        # A normalisation over two values of a batch enlarges rounding.
        ("aux_logits", out["aux_logits"]),
    ):
        limit = 1e-4 if "aux" in name else 2e-6
        assert difference(value, arrays[f"train_{name}"]) < limit, name
    trained = cifar.trainable_variables
    gradients = tape.gradient(total, [v.value for v in trained])
    by_name = {id(v): g for v, g in zip(trained, gradients, strict=True)}
    norm = tf.linalg.global_norm(gradients)
    assert difference(norm, arrays["train_grad_global_norm"]) < 5e-4
    for key in arrays.files:
        kind, _, name = key.partition("/")
        if kind == "grad":
            assert difference(by_name[id(variables[name])], arrays[key]) < 1e-3, key
        if kind == "after_update":
            assert difference(variables[name].numpy(), arrays[key]) < 1e-6, key
    cifar.set_weights(before)


def test_imagenet_stem(tmp_path):
    model, config, _ = convert(prefix("slim_nasnet_mobile.ckpt"), tmp_path / "m")
    arrays = load("io_slim_nasnet_mobile.npz")
    found = model.cell_outputs(arrays["x"])
    for key in (key for key in arrays.files if "cell" in key):
        assert difference(found[key], arrays[key]) < 2e-6, key
    out = model({"image": arrays["x"]})
    assert difference(out["logits"], arrays["logits"]) < 2e-6
    assert difference(tf.nn.softmax(out["logits"]), arrays["predictions"]) < 2e-6
    assert config["network"]["stem"] == "imagenet"
    assert not config["network"]["zero_padded_pools"]


def test_keras_applications(tmp_path):
    model, config, _ = convert(golden("automl", "keras_nasnet_k0.h5"), tmp_path / "m")
    arrays = load("io_keras_nasnet_k0.npz")
    out = model({"image": arrays["x"]})
    assert difference(out["logits"], arrays["logits"]) < 2e-6
    assert difference(out["features"], arrays["penultimate"]) < 2e-6
    outputs = model.cell_outputs(arrays["x"])
    for key, ours in KERAS_OUTPUTS.items():
        assert difference(outputs[ours], arrays[f"layer/{key}"]) < 2e-6, key
    places = {cell.name: cell for cell in model.cells}
    names = list(outputs)
    for key in arrays.files:
        match = re.fullmatch(r"layer/(adjust_bn|reduction_left[23])_(.*)", key)
        if not match:
            continue
        part, ident = match.groups()
        kind = "normal" if ident.isdigit() else "reduction"
        cell = places[KERAS_OUTPUTS[f"{kind}_concat_{ident}"]]
        if part == "adjust_bn":
            found = cell.match(outputs[names[cell.place.source]])
        else:
            current = cell.beginning(outputs[names[names.index(cell.name) - 1]])
            found = cell.blocks[int(part[-1]) - 1].left(current)
        assert difference(found, arrays[key]) < 2e-6, key
    assert config["network"]["zero_padded_pools"]


def test_wiring_does_not_depend_on_the_size():
    model = build_model({**TINY, "reductions": 2, "filters": 4})
    for size in (1, 5, 8, 33):
        out = model({"image": random_pictures(1, size)})
        assert np.isfinite(out["logits"].numpy()).all()
        assert out["features"].shape == (1, 6 * 16)


def test_skipped_reductions_take_an_earlier_input():
    # Outputs: stem, cell_0, reduction_cell_0, cell_1, reduction_cell_1, cell_2.
    for skip, sources in ((False, [0, 1, 3]), (True, [0, 0, 2])):
        config = CellsConfig.from_dict({**TINY, "skip_reduction": skip})
        after = {place.name: place.source for place in config.places()}
        names = ("reduction_cell_0", "cell_1", "cell_2")
        assert [after[name] for name in names] == sources
        build_model({**TINY, "skip_reduction": skip})({"image": random_pictures()})


def test_every_op_and_combination():
    blocks = [
        Block(i % 2, op, 1 - i % 2, "identity", ("add", "concat")[i % 2])
        for i, op in enumerate(OPS)
    ]
    cell = Cell.of(blocks)
    genotype = CellGenotype(cell, cell).to_dict()
    for filters in (2, 8):
        model = build_model(
            {"genotype": genotype, "cells": 1, "filters": filters, "reductions": 1}
        )
        with tf.GradientTape() as tape:
            out = model({"image": random_pictures(2, 9)}, training=True)
            loss = tf.reduce_sum(out["logits"] ** 2)
        weights = [v.value for v in model.trainable_variables]
        gradients = tape.gradient(loss, weights)
        assert all(g is not None for g in gradients)
        assert all(np.isfinite(g.numpy()).all() for g in gradients)


def test_dilated_with_a_stride():
    x = random_pictures(1, 10)
    style = ops.Style()
    conv = ops.Conv(style, 4, 3, 2, rate=2)
    wide = ops.Conv(style, 4, 5, 2)
    separable, plain = ops.Separable(style, 4, 3, 2, 2), ops.Separable(style, 4, 5, 2)
    for layer in (conv, wide, separable, plain):
        layer.build(x.shape)
    kernel = np.zeros(wide.kernel.shape, "f4")
    kernel[::2, ::2] = conv.kernel.numpy()
    wide.kernel.assign(kernel)
    np.testing.assert_allclose(conv(x), wide(x), rtol=1e-5, atol=1e-6)
    kernel = np.zeros(plain.depthwise.shape, "f4")
    kernel[::2, ::2] = separable.depthwise.numpy()
    plain.depthwise.assign(kernel)
    plain.pointwise.assign(separable.pointwise)
    np.testing.assert_allclose(separable(x), plain(x), rtol=1e-5, atol=1e-6)


def test_drop_path():
    drop = ops.DropPath()
    found = drop(tf.ones([4000, 2, 2, 1]), keep=0.8).numpy()
    assert np.isin(found, np.array([0, 1 / 0.8], "f4")).all()
    assert (found == found[:, :1, :1]).all()
    assert abs((found[:, 0, 0, 0] > 0).mean() - 0.8) < 0.03
    for version, expected in (("v1", 0.7), ("v2", 0.8), ("v3", 0.9)):
        keep = cell_network.drop_path_keep(0.4, version, 1 / 3, 0.5)
        assert float(keep) == pytest.approx(expected)
    model = build_model({**TINY, "drop_path_keep": 0.5})
    assert float(model.keep(4, None)) == pytest.approx(0.5)
    assert float(model.keep(0, 0.5)) == pytest.approx(0.95)
    x = random_pictures()
    # Neither at the start nor outside of training is anything dropped.
    first, second = (
        model.cell_outputs(x, training=False)["cell_2"].numpy() for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    logits = [
        model({"image": x, "progress": tf.constant(p)}, training=True)["logits"].numpy()
        for p in (0.0, 0.0, 1.0, 1.0)
    ]
    np.testing.assert_array_equal(logits[0], logits[1])
    assert np.abs(logits[2] - logits[3]).max() > 1e-3


def test_parameters_of_published_networks():
    cifar = build_model({"preset": "nasnet_a_cifar"})
    assert 3.2e6 < cifar.num_parameters() < 3.4e6
    assert cifar.num_parameters(auxiliary=True) > cifar.num_parameters()
    mobile = build_model({"preset": "nasnet_mobile", "aux_head": False})
    assert mobile.num_parameters() == 5_289_978
    assert sum(np.prod(v.shape) for v in mobile.variables if v.dtype == "float32") == (
        5_326_716
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"genotype": "nasnet"}, "did you mean 'nasnet_a'"),
        ({"genotype": "enas_lm"}, "a genotype of cells"),
        ({"filters": 0}, "network.filters has to be a whole number"),
        ({"filters": 5, "filter_scaling": 1}, "the number has to be even"),
        ({"filters": 3, "stem": "imagenet"}, "too few for the stem's cells"),
        ({"fitlers": 4}, "did you mean 'filters'"),
        ({"stem": "resnet"}, "allowed: cifar, imagenet"),
        ({"aux_head": True, "image_size": 8}, "too small for the auxiliary head"),
        ({"aux_head": True, "reductions": 1}, "no place for an auxiliary head"),
        ({"drop_path_keep": 0.0}, "network.drop_path_keep"),
        ({"preset": "nasnet"}, "unknown network"),
        ({"kind": "cell"}, "did you mean 'cells'"),
    ],
)
def test_mistakes(changes, message):
    with pytest.raises(UserError, match=message):
        build_model({**TINY, **changes})
