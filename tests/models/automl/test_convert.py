"""Checkpoints of NASNet: exact round trips, sizes from the file, clear refusals."""

import json
import tarfile

import h5py
import numpy as np
import pytest

from tests.helpers import golden
from tests.models.automl.networks import convert, difference, load, prefix
from tfdl.checkpoints import keras_layers, tf1
from tfdl.convert import main as convert_main
from tfdl.data import class_names as classes
from tfdl.engine.errors import UserError
from tfdl.models.automl.convert import convert as checkpoint
from tfdl.models.automl.convert import to_original
from tfdl.models.automl.model import build_model

CIFAR = "slim_nasnet_cifar.ckpt"


def arrays_of(name=CIFAR):
    """Returns a golden checkpoint's arrays."""
    return tf1.read(prefix(name))


def logits(model):
    """Returns a network's answer to the golden pictures."""
    return model({"image": load("io_slim_nasnet_cifar.npz")["eval_x"]})["logits"]


@pytest.mark.parametrize("name", [CIFAR, "slim_nasnet_mobile.ckpt"])
def test_back_to_slim_bit_for_bit(tmp_path, name):
    _, config, summary = convert(prefix(name), tmp_path / "m")
    assert summary["random"] == summary["skipped"] == []
    assert config["network"]["aux_head"] == (name == CIFAR)
    to_original(tmp_path / "m", tmp_path / "back")
    before, after = arrays_of(name), tf1.read(tmp_path / "back" / "model.ckpt")
    assert before.keys() == after.keys()
    for key, value in before.items():
        np.testing.assert_array_equal(value, after[key], err_msg=key)


def test_back_to_keras_bit_for_bit(tmp_path, capsys):
    source = golden("automl", "keras_nasnet_k0.h5")
    flags = ["--model=automl", f"--source={source}", f"--output={tmp_path / 'm'}"]
    assert convert_main(["convert", *flags]) == 0
    summary = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert summary["format"] == "keras.applications" and summary["classes"] == 10
    found = to_original(tmp_path / "m", tmp_path / "back", "keras")
    assert found["differs"] == []
    before = keras_layers.read(source)
    after = keras_layers.read(tmp_path / "back" / "model.h5")
    assert before.keys() == after.keys()
    for layer, weights in before.items():
        assert list(weights) == list(after[layer])
        for name, value in weights.items():
            np.testing.assert_array_equal(value, after[layer][name])


def test_without_a_classifier(tmp_path):
    with h5py.File(golden("automl", "keras_nasnet_k0.h5")) as old:
        with h5py.File(tmp_path / "top.h5", "w") as new:
            old.copy(old["/"], new, "model_weights")
            group = new["model_weights"]
            del group["predictions"]
            names = [name for name in group.attrs["layer_names"]]
            group.attrs["layer_names"] = [n for n in names if n != "predictions"]
    with pytest.raises(UserError, match="no classifier"):
        checkpoint(tmp_path / "top.h5", tmp_path / "m")
    model, config, summary = convert(tmp_path / "top.h5", tmp_path / "m", num_classes=4)
    arrays = load("io_keras_nasnet_k0.npz")
    out = model({"image": arrays["x"]})
    assert difference(out["features"], arrays["penultimate"]) < 2e-6
    assert out["logits"].shape == (2, 4) and config["classes"] is None
    assert sorted(summary["random"]) == [
        "final_layer/FC/biases",
        "final_layer/FC/weights",
    ]


def test_archive_with_averages_and_an_optimizer(tmp_path):
    arrays = arrays_of()
    kept = {f"{n}/ExponentialMovingAverage": x for n, x in arrays.items()}
    other = {name: x + 1.0 for name, x in arrays.items()}
    slots = {f"{n}/RMSProp": x for n, x in arrays.items() if n.endswith("weights")}
    steps = {"global_step": np.array(7, "int64")}
    (tmp_path / "a").mkdir()
    tf1.write(tmp_path / "a" / "model.ckpt", kept | other | slots | steps)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for path in (tmp_path / "a").iterdir():
            archive.add(path, f"./{path.name}")
    model, _, summary = convert(tmp_path / "a.tar.gz", tmp_path / "m")
    expected = load("io_slim_nasnet_cifar.npz")["eval_logits"]
    assert difference(logits(model), expected) < 2e-6
    assert len(summary["skipped"]) == len(slots) + 1
    model, *_ = convert(tmp_path / "a.tar.gz", tmp_path / "n", averaged=False)
    assert difference(logits(model), expected) > 0.1


@pytest.mark.parametrize(
    "changes",
    [
        {"cells": 3, "aux_head": True, "image_size": 40, "skip_reduction": True},
        {"cells": 2, "stem_filters": 5},
        {"cells": 1, "stem": "imagenet", "epsilon": 1e-3, "reductions": 0},
        {"cells": 2, "filters": 8, "filter_scaling": 3, "reductions": 1},
    ],
)
def test_every_size_comes_from_the_file(tmp_path, changes):
    network = {"genotype": "nasnet_a", "num_classes": 3, "filters": 4, **changes}
    model = build_model(network)
    tf1.write(tmp_path / "x.ckpt", {n: v.numpy() for n, v in model.named()})
    found, config, _ = convert(tmp_path / "x.ckpt", tmp_path / "m")
    for name in (
        "cells",
        "filters",
        "stem_filters",
        "reductions",
        "filter_scaling",
        "num_classes",
        "skip_reduction",
    ):
        assert config["network"][name] == getattr(model.config, name), name
    x = np.random.default_rng(0).normal(size=[1, 20, 20, 3]).astype("f4")
    features = [network({"image": x})["features"] for network in (found, model)]
    assert difference(*features) < 1e-6


def test_classes_with_a_background(tmp_path):
    arrays = arrays_of("slim_nasnet_mobile.ckpt")
    arrays["final_layer/FC/weights"] = np.zeros([192, 1001], "f4")
    arrays["final_layer/FC/biases"] = np.zeros([1001], "f4")
    tf1.write(tmp_path / "x.ckpt", arrays)
    _, config, _ = convert(tmp_path / "x.ckpt", tmp_path / "m")
    names = classes.read(tmp_path / "m" / "assets" / config["classes"])
    assert names[0].name == "background" and "tench" in names[1].name
    assert (config["test_size"], config["resize"]) == (224, 256)
    assert config["preprocessing"]["mode"] == "tf"


def test_refusals(tmp_path):
    arrays = arrays_of()
    name = "cell_1/comb_iter_0/left/bn_sep_5x5_1/gamma"
    changed = {key: x for key, x in arrays.items() if key != name}
    changed["cell_1/odd"] = np.zeros(2)
    changed["cell_2/beginning_bn/beta"] = np.zeros(3, "f4")
    _refused(tmp_path, changed, rf"1 missing \({name}\); 1 unexpected \(cell_1/odd\)")
    _refused(tmp_path, changed, r"1 misfitting \(.*beta \[3\] instead of \[16\]\)")
    changed = {**arrays, name: np.full(8, np.nan, "f4")}
    _refused(tmp_path, changed, "1 with NaN or Inf")
    changed = {k: x for k, x in arrays.items() if k != "l1_stem_3x3/weights"}
    _refused(tmp_path, changed, "l1_stem_3x3/weights is missing")
    changed = {
        f"cell_{i}/1x1/weights": np.zeros([1, 1, 2, 2], "f4") for i in range(500)
    }
    _refused(tmp_path, arrays | changed, "most of the network is missing")
    tf1.write(tmp_path / "x.ckpt", {"conv1/weights": np.zeros([3, 3], "f4")})
    with pytest.raises(UserError, match="no network of cells"):
        checkpoint(tmp_path / "x.ckpt", tmp_path / "m")
    (tmp_path / "x.h5").write_bytes(b"<html>")
    with pytest.raises(UserError, match="not an HDF5 file: it is an HTML page"):
        checkpoint(tmp_path / "x.h5", tmp_path / "m")
    with h5py.File(tmp_path / "three.h5", "w") as file:
        file["layers/conv2d/vars/0"] = np.zeros([3, 3], "f4")
    with pytest.raises(UserError, match="keeps no layers' names"):
        checkpoint(tmp_path / "three.h5", tmp_path / "m")
    source = golden("automl", "keras_nasnet_k0.h5")
    for options, message in (
        ({"num_clases": 3}, "did you mean 'num_classes'"),
        ({"num_classes": 3}, "has 10 classes, not 3"),
        ({"genotype": "nasnet"}, "did you mean 'nasnet_a'"),
        ({"labels": ["a", "b"]}, "has 2 names, the network 10 classes"),
        ({"epsilon": "small"}, "epsilon has to be a number"),
        ({"preprocessing": "pil"}, "unknown preprocessing mode"),
    ):
        with pytest.raises(UserError, match=message):
            checkpoint(source, tmp_path / "m", **options)
    assert not (tmp_path / "m").exists()
    checkpoint(prefix(CIFAR), tmp_path / "m")
    with pytest.raises(UserError, match="no network that keras.applications builds"):
        to_original(tmp_path / "m", tmp_path / "back", "keras")
    with pytest.raises(UserError, match="would replace the source"):
        to_original(tmp_path / "m", tmp_path)


def _refused(tmp_path, arrays, message):
    tf1.write(tmp_path / "x.ckpt", arrays)
    with pytest.raises(UserError, match=message):
        checkpoint(tmp_path / "x.ckpt", tmp_path / "m")
