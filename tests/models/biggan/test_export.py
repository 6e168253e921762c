"""Folding and exporting: the same pictures, whatever runs them."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub
from PIL import Image

import tfdl
from tests.helpers import golden
from tests.models.biggan.reference import generator
from tests.serving import servers
from tests.serving.loader import check_warm_ups
from tfdl import export as export_verb
from tfdl.engine import errors
from tfdl.models.biggan import export
from tfdl.models.biggan.convert import convert
from tfdl.models.biggan.fold import FoldedGenerator
from tfdl.models.biggan.model import build_generator


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A converted BigGAN-deep with statistics by truncation."""
    folder = tmp_path_factory.mktemp("biggan") / "model"
    convert(golden("biggan", "hf_deep"), folder)
    return folder


@pytest.fixture(scope="module")
def base(model):
    folder = model.parent / "gan"
    flags = [f"--model_dir={model}", f"--output={folder}"]
    assert export_verb.main(["export", *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def want():
    return np.load(golden("biggan", "hf_deep", "io.npz"))


def batch_of(want, i):
    """Returns what the golden's picture i was made of."""
    return {
        "z": want[f"z_{i}"],
        "label": want["class_ids"].astype(np.int32),
        "truncation": np.float32(want["truncations"][i]),
    }


def nhwc(found, expected):
    """Returns a golden and the places of `found` that it holds."""
    step = found.shape[1] // expected.shape[-1]
    return np.asarray(found)[:, ::step, ::step], expected.transpose(0, 2, 3, 1)


@pytest.mark.parametrize(
    "folder", ["ajb_cifar", "ajb_hier64", "ajb_deep", "ajb_mybn_standing"]
)
def test_folded(folder):
    want = np.load(golden("biggan", folder, "io.npz"))
    network = generator(folder, mybn=folder.endswith("standing"))
    folded = FoldedGenerator(network)
    batch = {"z": want["z"], "label": want["y"]}
    expected = network(batch)["image"]
    assert np.abs(folded(batch)["image"] - expected).max() < 1e-5
    weights = np.eye(network.config.num_classes, dtype="float32")[want["y"]]
    weighted = folded({**batch, "label": weights})["image"]
    assert np.abs(weighted - expected).max() < 1e-5
    # Factors and summands of every normalisation, no vectors, no statistics.
    assert not any(len(v.shape) == 0 for v in folded.weights)
    assert folded.trainable_weights == []


def test_folded_by_truncation(model, want):
    network = tfdl.load(str(model))
    folded = FoldedGenerator(network)
    for i, truncation in enumerate(want["truncations"]):
        batch = {**batch_of(want, i), "truncation": float(truncation)}
        found, expected = nhwc(folded(batch)["image"], want[f"out_{i}"])
        assert np.abs(found - expected).max() < 5e-5, truncation
    z = np.concatenate([want["z_0"][:1], want["z_2"][:1]])
    both = folded({"z": z, "label": [0, 0], "truncation": [0.5, 0.14]})["image"]
    for i, truncation in enumerate((0.5, 0.14)):
        one = {"z": z[i : i + 1], "label": [0], "truncation": truncation}
        assert np.abs(both[i] - folded(one)["image"][0]).max() < 2e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"attention": (-1, 1), "bottom_width": 3},
        {"blocks": ((8, 8, False), (8, 16, True)), "attention": (), "dim_z": 30},
        {"kind": "deep", "blocks": ((16, 16, True), (16, 8, False)), "rgb_filters": 5},
        {"preset": "tiny", "channels": 8, "spectral_norm": False},
    ],
)
def test_folded_variants(changes):
    network = build_generator(
        {
            "blocks": ((8, 16, True), (16, 8, True)),
            "dim_z": 9,
            "shared_dim": 4,
            "num_classes": 3,
            **changes,
        }
    )
    random = np.random.default_rng(0)
    for variable in network.weights:
        if variable.path.endswith(("moving_mean", "gamma", "bias")):
            variable.assign(random.normal(size=variable.shape))
    z = random.normal(size=[2, network.config.dim_z]).astype("float32")
    batch = {"z": z, "label": [0, 2]}
    found = FoldedGenerator(network)(batch)["image"]
    assert np.abs(found - network(batch)["image"]).max() < 2e-5


def test_every_signature_without_python(base):
    assert check_warm_ups(base / "1") == {
        "serving_default", "one_hot", "uint8", "png", "random", "embed", "embedding"
    }  # fmt: skip


def test_signatures(base, want):
    loaded = tf.saved_model.load(str(base / "1"))
    batch = batch_of(want, 0)
    many = {**batch, "truncation": np.full(2, batch["truncation"])}

    def ask(name, **values):
        tensors = {key: tf.constant(value) for key, value in values.items()}
        return loaded.signatures[name](**tensors)

    image = ask("serving_default", **many)["image"]
    found, expected = nhwc(image, want["out_0"])
    assert np.abs(found - expected).max() < 1e-5
    pixels = ask("uint8", **many)["pixels"].numpy()
    assert (np.abs(pixels.astype(int) - want["uint8_0_nhwc"]) <= 1).all()
    assert (pixels == want["uint8_0_nhwc"]).mean() > 0.999
    encoded = ask("png", **many)["image_bytes"].numpy()
    decoded = Image.open(io.BytesIO(encoded[1]))
    assert decoded.mode == "LA" and np.array_equal(np.asarray(decoded), pixels[1])
    hot = {"z": many["z"], "y": want["class_onehot"], "truncation": many["truncation"]}
    np.testing.assert_allclose(ask("one_hot", **hot)["image"], image, atol=1e-6)
    rows = ask("embed", label=many["label"])["embedding"]
    between = {
        "z": many["z"],
        "embedding": rows.numpy(),
        "truncation": many["truncation"],
    }
    np.testing.assert_allclose(ask("embedding", **between)["image"], image, atol=1e-6)
    # Per example, and after the reload.
    i = list(want["truncations"]).index(0.14)
    mixed = {
        "z": np.concatenate([want["z_0"][:1], want[f"z_{i}"][1:]]),
        "label": many["label"],
        "truncation": np.float32([0.5, 0.14]),
    }
    found, expected = nhwc(ask("serving_default", **mixed)["image"], want[f"out_{i}"])
    assert np.abs(found[1] - expected[1]).max() < 2e-5


def test_random_seeds(base):
    loaded = tf.saved_model.load(str(base / "1")).signatures["random"]

    def draw(seeds):
        count = len(seeds)
        return loaded(
            seed=tf.constant(seeds, tf.int64),
            label=tf.zeros([count], tf.int32),
            truncation=tf.fill([count], 0.5),
        )

    several = draw(list(range(200)))
    z = several["z"].numpy()
    # A normal distribution within +-2 has a standard deviation of 0.8796.
    assert np.abs(z).max() <= 1 and abs(z.std() - 0.5 * 0.8796) < 0.02
    alone = draw([7])
    np.testing.assert_array_equal(alone["z"][0], z[7])
    assert alone["image_bytes"][0] == several["image_bytes"][7]


def test_hub(base, want):
    loaded = tensorflow_hub.load(str(base / "1"))
    assert list(loaded.trainable_variables) == []
    batch = {key: tf.constant(value) for key, value in batch_of(want, 0).items()}
    found, expected = nhwc(loaded(batch), want["out_0"])
    assert np.abs(found - expected).max() < 1e-5
    hot = {"y": tf.constant(want["class_onehot"]), **batch}
    del hot["label"]
    np.testing.assert_allclose(loaded(hot), loaded(batch), atol=1e-6)
    size = sum(int(np.prod(v.shape)) for v in loaded.variables)
    stored = sum(p.stat().st_size for p in (base / "1" / "variables").iterdir())
    assert stored < 4 * size + 20_000
    described = json.loads((base / "1" / "assets.extra" / "tfdl.json").read_text())
    assert described["card"]["task"] == "image-generator"
    assert described["card"]["fine_tunable"] is False


def test_served(base, want):
    batch = batch_of(want, 0)
    rows = [
        {"z": z.tolist(), "label": int(label), "truncation": 0.5}
        for z, label in zip(batch["z"], batch["label"], strict=True)
    ]
    with servers.running(servers.config("m", base)) as client:
        code, found = client.post(":predict", {"instances": rows})
        assert code == 200
        first, expected = nhwc(np.array(found["predictions"]), want["out_0"])
        assert np.abs(first - expected).max() < 1e-5
        truncation = np.full(2, 0.5, np.float32)
        found = client.predict({**batch, "truncation": truncation}, signature="uint8")
        assert found["pixels"].shape == (2, 32, 32, 2)
        for change, told in (
            ({"truncation": 1.5}, "truncation has to be above 0 and at most 1"),
            ({"truncation": 0.0}, "truncation has to be above 0 and at most 1"),
            ({"label": 5}, "label has to be a class: 0 to 4"),
            ({"z": [0.0] * 7}, "z"),
        ):
            code, found = client.post(
                ":predict", {"instances": [{**rows[0], **change}]}
            )
            assert code == 400 and told in found["error"], found


def test_discriminator_alone(tmp_path):
    convert(golden("biggan", "ajb_cifar", "D.pth"), tmp_path / "m")
    with pytest.raises(errors.UserError, match="a discriminator: there is nothing"):
        export.serving_module(tmp_path / "m")
