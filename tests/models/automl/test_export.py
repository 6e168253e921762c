"""predict, export and TF Hub modules of image networks."""

import json

import numpy as np
import pytest
import sklearn.datasets
import tensorflow as tf
import tensorflow_hub
from PIL import Image

import tfdl
from tests.serving.loader import check_warm_ups, run_c_api
from tfdl import export as export_verb
from tfdl import predict as predict_verb
from tfdl.classifiers import preprocessing
from tfdl.data import class_names as classes
from tfdl.engine import model_dir
from tfdl.engine.errors import UserError
from tfdl.models.automl import export
from tfdl.models.automl.model import build_model
from tfdl.models.automl.spaces.cells import Block, Cell, CellGenotype
from tfdl.models.automl.spaces.zoph_conv import ConvLayer, ConvNet

NAMES = ("ant", "bee", "cow", "dog", "elk", "fox", "gnu")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small network with an auxiliary head, and names of its classes."""
    normal = Cell.of(
        [Block(0, "sep_3x3", 1, "identity"), Block(0, "avg_3x3", 2, "identity")]
    )
    reduction = Cell.of([Block(0, "max_3x3", 1, "sep_5x5")])
    network = build_model(
        {
            "genotype": CellGenotype(normal, reduction).to_dict(),
            "cells": 2,
            "filters": 4,
            "num_classes": len(NAMES),
            "aux_head": True,
            "drop_path_keep": 0.8,
        }
    )
    return _saved(tmp_path_factory.mktemp("model") / "m", network, NAMES)


def _saved(folder, network, names=()):
    described = {
        "model": "automl",
        "network": network.config.to_dict(),
        "preprocessing": {"mode": "tf"},
        "classes": classes.ASSET if names else None,
        "test_size": 32,
        "resize": 32,
    }
    assets = {classes.ASSET: "\n".join(names) + "\n"} if names else {}
    return model_dir.save(folder, described, network, assets)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two photographs."""
    path = tmp_path_factory.mktemp("pictures")
    for name in ("china.jpg", "flower.jpg"):
        photo = Image.fromarray(sklearn.datasets.load_sample_image(name))
        photo.resize((60, 40)).save(path / name)
    return path


def test_export_and_predict_agree(model, photos, tmp_path):
    arguments = [f"--model_dir={model}", f"--input={photos}"]
    arguments += ["--option=top_k=5", f"--output={tmp_path / 'p.jsonl'}"]
    assert predict_verb.main(["predict", *arguments]) == 0
    records = list(map(json.loads, (tmp_path / "p.jsonl").read_text().splitlines()))
    base = tmp_path / "net"
    arguments = [f"--model_dir={model}", f"--output={base}"]
    assert export_verb.main(["export", *arguments]) == 0
    exported = base / "1"
    data = [path.read_bytes() for path in sorted(photos.iterdir())]
    found = run_c_api(exported, {"image_bytes": data})
    for i, record in enumerate(records):
        predictions = record["predictions"]
        assert found["classes"][i].tolist() == [p["class"] for p in predictions]
        np.testing.assert_allclose(
            found["probabilities"][i],
            [p["probability"] for p in predictions],
            atol=2e-6,
        )
    assert {p["class"] for p in records[0]["predictions"]} < set(NAMES)
    names = {"serving_default", "pixels", "features", "pixel_features"}
    assert check_warm_ups(exported) == names


def test_feature_vectors_as_a_module(model, tmp_path):
    modules = export.hub_modules(str(model))
    assert set(modules) == {"", "feature-vector"}
    width = tfdl.load(str(model)).config.num_features
    assert f"{width} numbers" in modules["feature-vector"].card.summary
    module = modules["feature-vector"]
    tf.saved_model.save(module.root, str(tmp_path / "m"))
    loaded = tensorflow_hub.load(str(tmp_path / "m"))
    pixels = np.random.default_rng(0).uniform(size=[2, 32, 32, 3]).astype("f4")
    pixels = tf.constant(pixels)
    given = preprocessing.normalise(pixels * 255.0, {"mode": "tf"})
    expected = tfdl.load(str(model))({"image": given})["features"]
    np.testing.assert_allclose(loaded(pixels), expected, rtol=1e-4, atol=1e-5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(loaded(pixels[:, :16], training=True) ** 2)
    gradients = tape.gradient(loss, loaded.trainable_variables)
    assert all(g is not None for g in gradients)


def test_convolutions_of_the_first_space(photos, tmp_path):
    layers = (ConvLayer(3, 3, 4), ConvLayer(1, 3, 4, 2, 2, (0,)))
    network = build_model(
        {"kind": "zoph_conv", "genotype": ConvNet(layers).to_dict(), "num_classes": 3}
    )
    _saved(tmp_path / "m", network)
    assert export.card(str(tmp_path / "m")).summary.startswith("A network of searched")
    base = tmp_path / "net"
    arguments = [f"--model_dir={tmp_path / 'm'}", f"--output={base}"]
    assert export_verb.main(["export", *arguments]) == 0
    loaded = tf.saved_model.load(str(base / "1"))
    pixels = np.asarray(Image.open(photos / "china.jpg").resize((16, 16)))[None]
    found = loaded.signatures["pixels"](images=tf.constant(pixels))
    x = preprocessing.normalise(pixels, {"mode": "tf"})
    expected = tfdl.load(str(tmp_path / "m"))({"image": x})["logits"]
    np.testing.assert_allclose(found["logits"], expected, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_loaded(model, tmp_path):
    config = model_dir.read_config(model)
    text = json.dumps({**config, "network": {**config["network"], "filters": 4096}})
    (tmp_path / "config.json").write_text(text)
    weights = (model / "model.weights.h5").read_bytes()
    (tmp_path / "model.weights.h5").write_bytes(weights)
    with pytest.raises(UserError, match="too few for the over"):
        tfdl.load(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({**config, "kind": "search"}))
    with pytest.raises(UserError, match="result of a search"):
        tfdl.load(str(tmp_path))
    names = classes.read(model / "assets" / classes.ASSET)
    assert [label.name for label in names] == list(NAMES)
