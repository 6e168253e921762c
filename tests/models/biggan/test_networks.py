"""Both networks against the reference, in evaluation, training and gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import golden
from tests.models.biggan.reference import arrays, config, discriminator, generator
from tfdl.engine import errors
from tfdl.models.biggan import ajb_names
from tfdl.models.biggan.model import build_discriminator, build_generator
from tfdl.models.biggan.names import trainable_names

FOLDERS = ("ajb_cifar", "ajb_hier64", "ajb_deep")
# The reference's own float32 rounding is 4e-6 in pictures, 7e-6 in logits up to 26.
CLOSE = 2e-5


def io(folder):
    """Returns a golden's arrays."""
    return np.load(golden("biggan", folder, "io.npz"))


def off(found, expected):
    """Returns the largest difference; pictures may be given strided, or the first."""
    found = np.asarray(found)
    if found.ndim == 4:
        step = found.shape[1] // expected.shape[-1]
        found = found.transpose(0, 3, 1, 2)[: len(expected), :, ::step, ::step]
    return np.abs(found - expected).max()


def moved(network, golden_arrays, prefix):
    """Returns how far a network's state is from what the reference's became."""
    now = arrays(network)
    keys = [key for key in golden_arrays.files if key.startswith(prefix)]
    assert keys
    return max(
        np.abs(now[key.removeprefix(prefix)] - golden_arrays[key]).max() for key in keys
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_generator(folder):
    want = io(folder)
    network = generator(folder, spectral_epsilon=config(folder)["G"]["SN_eps"])
    before = [variable.numpy() for variable in network.variables]
    batch = {"z": want["z"], "label": want["y"]}
    image = network(batch)["image"]
    assert off(image, want["G/eval/out_s"]) < CLOSE
    assert off(image, want["G/eval/out_first"]) < CLOSE
    weights = np.eye(network.config.num_classes, dtype="float32")[want["y"]]
    assert off(network({**batch, "label": weights})["image"], want["G/eval/out_s"]) < (
        CLOSE
    )
    if "G/eval/interp_embed" in want:
        mixed = {"z": want["z"], "embedding": want["G/eval/interp_embed"]}
        assert off(network(mixed)["image"], want["G/eval/interp_out_s"]) < CLOSE
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    first = network(batch, training=True)["image"]
    assert off(first, want["G/train1/out_s"]) < CLOSE
    assert moved(network, want, "G/train1/after/") < 2e-6
    reversed_batch = {name: value[::-1].copy() for name, value in batch.items()}
    second = network(reversed_batch, training=True)["image"]
    assert off(second, want["G/train2/out_s"]) < CLOSE
    assert moved(network, want, "G/train2/after/") < 2e-6


@pytest.mark.parametrize("folder", FOLDERS)
def test_discriminator(folder):
    want = io(folder)
    network = discriminator(folder)
    batch = {"image": pictures(want), "label": want["y"]}
    assert off(network(batch)["logits"], want["D/eval/out"][:, 0]) < CLOSE
    first = network(batch, training=True)["logits"]
    assert off(first, want["D/train1/out"][:, 0]) < CLOSE
    assert moved(network, want, "D/train1/after/") < 2e-6
    second = network(batch, training=True)["logits"]
    assert off(second, want["D/train2/out"][:, 0]) < CLOSE


def pictures(want):
    """Returns the reference's pictures as ours, NHWC in [-1, 1]."""
    return (want["x_u8"].astype("float32") / 127.5 - 1).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("folder", FOLDERS[:2])
@pytest.mark.parametrize("remat", [False, True])
def test_gradients(folder, remat):
    want = io(folder)
    networks = {
        "G": generator(folder, remat=remat),
        "D": discriminator(folder, remat=remat),
    }
    batch = {"z": want["z"], "label": want["y"]}
    with tf.GradientTape(persistent=True) as tape:
        fake = networks["G"](batch, training=True)["image"]
        d = networks["D"]
        of_fake = d({"image": fake, "label": want["y"]}, training=True)["logits"]
        of_real = d({"image": pictures(want), "label": want["y"]}, training=True)
        real = tf.reduce_mean(tf.nn.relu(1 - of_real["logits"]))
        fakes = tf.reduce_mean(tf.nn.relu(1 + of_fake))
        losses = {"G": -tf.reduce_mean(of_fake), "D": real + fakes}
    assert abs(losses["G"] - want["loss/G"]) < CLOSE
    assert abs(real - want["loss/D_real"]) < CLOSE
    assert abs(fakes - want["loss/D_fake"]) < CLOSE
    checked = 0
    for which, network in networks.items():
        slots = ajb_names.slots(network)
        trained = trainable_names(network)
        for key in want.files:
            name = key.removeprefix(f"grad_L{which}/")
            if name == key:
                continue
            gradient = tape.gradient(losses[which], trained[name].value)
            found = slots[name].theirs(tf.convert_to_tensor(gradient).numpy())
            # A bias before a normalisation has no gradient but rounding: of sums whose
            # parts are as large as the gradient of the weight beside it.
            largest = max(np.abs(want[key]).max(), 0.1)
            if name.endswith("conv1.bias"):
                largest = np.abs(want[key.replace(".bias", ".weight")]).max()
            assert np.abs(found - want[key]).max() < 1e-5 * largest, name
            checked += 1
    assert checked >= 11


def test_mybn():
    want = io("ajb_mybn_standing")
    network = generator("ajb_mybn_standing", mybn=True)
    assert network.config.running_variance == "biased"
    batch = {"z": want["z"], "label": want["y"]}
    assert off(network(batch)["image"], want["out_running_s"]) < CLOSE
    trained = network(batch, training=True)["image"]
    assert off(trained, want["out_train_running_s"]) < CLOSE
    now = arrays(network, mybn=True)
    for key in want.files:
        if key.startswith("after_one_train/"):
            name = key.removeprefix("after_one_train/")
            assert np.abs(now[name] - want[key]).max() < 2e-6, name


def test_mixed_precision():
    full = generator("ajb_hier64")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = generator("ajb_hier64")
        judge = discriminator("ajb_hier64")
    finally:
        keras.config.set_dtype_policy("float32")
    want = io("ajb_hier64")
    batch = {"z": want["z"], "label": want["y"]}
    for training in (False, True):
        found = half(batch, training=training)["image"]
        expected = full(batch, training=training)["image"]
        assert found.dtype == tf.float32
        assert np.abs(found - expected).mean() < 0.05
    assert all(v.dtype == "float32" for v in half.variables)
    told = judge({"image": pictures(want), "label": want["y"]}, training=True)
    assert told["logits"].dtype == tf.float32
    np.testing.assert_allclose(told["logits"], want["D/train1/out"][:, 0], rtol=0.1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"label": [0, 5]}, "label 5 is not a class: they are 0 to 4"),
        ({"label": [0, -1]}, "label -1 is not a class"),
        ({"label": np.zeros([2, 4], "float32")}, r"whole numbers \[B\] or \[B, 5\]"),
        ({"label": [0.5, 1.0]}, "whole numbers"),
        ({"z": np.zeros([2, 22], "float32")}, r"z has to be \[B, 20\], got \[2, 22\]"),
        ({"truncation": 0.0}, r"truncation 0 is not in \(0, 1\]"),
        ({"truncation": [0.5, 1.5]}, r"truncation 1.5 is not in"),
        ({"truncation": np.nan}, "truncation nan is not in"),
        ({"label": None}, "without 'label'"),
    ],
)
def test_bad_inputs(change, told):
    network = build_generator({**_small("generator"), "num_classes": 5}, empty=True)
    batch = {"z": np.zeros([2, 20], "float32"), "label": [0, 1]}
    with pytest.raises(errors.UserError, match=told):
        network({**batch, **change})


def test_bad_pictures():
    network = build_discriminator(_small("discriminator"), empty=True)
    with pytest.raises(errors.UserError, match=r"image has to be \[B, H, W, 3\]"):
        network({"image": np.zeros([1, 8, 8, 1], "float32"), "label": [0]})


def _small(which):
    small = {"preset": "tiny", "channels": 8, "num_classes": 10}
    return {**small, "dim_z": 20} if which == "generator" else small


def test_compiles_and_has_static_shapes():
    network = build_generator(_small("generator"))
    judge = build_discriminator(_small("discriminator"))

    def step(z, label):
        with tf.GradientTape() as tape:
            fake = network({"z": z, "label": label}, training=True)["image"]
            told = judge({"image": fake, "label": label}, training=True)["logits"]
            loss = -tf.reduce_mean(told)
        assert fake.shape == [4, 32, 32, 3] and told.shape == [4]
        return tape.gradient(loss, [v.value for v in network.trainable_variables])

    compiled = tf.function(step, jit_compile=True)
    text = compiled.experimental_get_compiler_ir(
        tf.TensorSpec([4, 20]), tf.TensorSpec([4], tf.int32)
    )(stage="hlo")
    assert "while" not in text and "dynamic" not in text.split("ENTRY")[0]
