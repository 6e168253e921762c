"""The generator for inference, its SavedModel and its hub module."""

import io as files

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfdl
from tests.helpers import golden
from tests.models.stylegan.goldens import arrays, assert_near, network, nhwc
from tests.serving.loader import check_warm_ups
from tfdl import export as export_verb
from tfdl.engine.errors import UserError
from tfdl.models.stylegan import export, inference, winograd
from tfdl.models.stylegan import model as stylegan
from tfdl.models.stylegan.layers import convolve, up_kernel


@pytest.mark.parametrize("mirrored", [False, True])
def test_winograd(mirrored):
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(2, 6, 4, 5)).astype("float32"))
    weight = random.normal(size=(3, 3, 5, 7)).astype("float32")
    plain = tf.nn.conv2d(x, weight, 1, "SAME")
    assert_near(winograd.convolve(x, tf.constant(winograd.kernel(weight))), plain)
    used = weight[::-1, ::-1] if mirrored else weight
    found = winograd.up_convolve(x, winograd.up_kernel(used))
    assert_near(found, convolve(x, up_kernel(weight, mirrored), "up"))


@pytest.fixture
def narrow(monkeypatch):
    """Every form of inference.py at the goldens' sizes."""
    monkeypatch.setattr(inference, "WINOGRAD_FROM", 12)
    monkeypatch.setattr(inference, "SINGLE_FROM", 8)


@pytest.mark.parametrize("name", ["tiny32", "cond16"])
def test_inference(name, narrow):
    gs, io = network(name, "Gs"), arrays(name)
    w = io["w"][:2]
    folded = inference.FoldedGenerator(gs)
    forms = {layer.form for layer in folded.layers}
    assert {"const", "winograd", "winograd up", "plain"} <= forms
    assert_near(folded.synthesize(w), nhwc(io["img_lod0"]))
    if name == "cond16":
        return
    found = folded.synthesize(w, tf.constant([-1, 5], tf.int64))
    assert_near(found[:1], nhwc(io["img_lod0"])[:1])
    # A picture's noise does not depend on what it is made together with.
    assert_near(found[1:], gs.synthesis(w[1:], noise=5))
    gs.lod = 0.5
    assert_near(inference.FoldedGenerator(gs).synthesize(w), nhwc(io["img_lod0.5"]))
    gs.lod = 1.0
    assert_near(inference.FoldedGenerator(gs).synthesize(w), nhwc(io["img_lod1"]))


@pytest.mark.parametrize(
    "changes",
    [
        {"use_styles": False, "const_input_layer": False, "mapping_layers": 0},
        {"use_noise": False, "use_pixel_norm": True, "use_instance_norm": False},
        {"use_wscale": False, "nonlinearity": "relu", "num_channels": 6},
    ],
)
def test_inference_of_variants(changes, narrow):
    shape = {"resolution": 16, "fmap_base": 64, "fmap_max": 16, "latent_size": 8}
    other = {"dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}
    gs = stylegan.build_generator({**shape, **other, **changes})
    z = np.random.default_rng(0).normal(size=(3, 8)).astype("float32")
    w = gs.mapping(z)
    assert_near(inference.FoldedGenerator(gs).synthesize(w), gs.synthesis(w))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A conditional model directory and what the verb made of it."""
    root = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        # Every form of inference.py at the goldens' sizes.
        patch.setattr(inference, "WINOGRAD_FROM", 12)
        patch.setattr(inference, "SINGLE_FROM", 16)
        tfdl.convert("stylegan", golden("stylegan", "cond16.pkl"), root / "model")
        flags = [f"--model_dir={root / 'model'}", f"--output={root / 'saved'}"]
        assert export_verb.main(["export", *flags]) == 0
    return root / "model", root / "saved" / "1"


def test_saved_model(exported):
    model, folder = exported
    loaded, io = tf.saved_model.load(str(folder)), arrays("cond16")
    labels = tf.constant(io["labels"].argmax(1).astype("int32"))
    z = tf.constant(io["z"])
    assert_near(loaded.signatures["mapping"](z=z, label=labels)["w"], io["w"])
    given = {"z": z[:2], "label": labels[:2]}
    asked = {
        **given,
        "truncation_psi": tf.fill([2], 0.7),
        "truncation_cutoff": tf.fill([2], 8),
        "noise_seed": tf.fill([2], tf.constant(-1, tf.int64)),
    }
    image = loaded.signatures["images"](**asked)["image"]
    assert_near(image[:1], nhwc(io["trunc0_img"]))
    pixels = loaded.signatures["pixels"](**asked)["pixels"].numpy()
    assert (pixels == io["default_uint8_nhwc"]).mean() > 0.999
    encoded = loaded.signatures["serving_default"](**asked)["image_bytes"]
    decoded = np.asarray(Image.open(files.BytesIO(encoded[1].numpy())))
    assert np.array_equal(decoded.reshape(pixels[1].shape), pixels[1])
    w = {"w": tf.constant(io["w"][:2]), "noise_seed": asked["noise_seed"]}
    plus = loaded.signatures["w_plus_images"](**w)["image"]
    assert_near(plus, nhwc(io["img_lod0"]))
    one = {**w, "w": w["w"][:, 0]}
    assert_near(loaded.signatures["w_images"](**one)["image"], plus)
    # As TF Hub's users call it.
    assert_near(loaded(given)["image"], image)
    sharp = loaded({**given, "truncation_psi": tf.constant(1.0)})["image"]
    assert np.abs(sharp - image).max() > 1e-3
    assert len(loaded.trainable_variables) == 0
    assert "CC BY-NC" in export.card(model).summary


def test_every_signature_without_python(exported):
    names = {"serving_default", "images", "pixels", "mapping"}
    names |= {"w", "w_plus", "w_images", "w_plus_images"}
    assert check_warm_ups(exported[1]) == names


def test_discriminator_alone(tmp_path):
    from tests.models.stylegan.pickles import dump, networks

    path = dump(tmp_path / "d.pkl", networks("tiny32")["D"])
    tfdl.convert("stylegan", path, tmp_path / "model")
    with pytest.raises(UserError, match="a discriminator alone"):
        export.serving_module(tmp_path / "model")
