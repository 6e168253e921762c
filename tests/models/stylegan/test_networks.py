"""Mapping, synthesis and discriminator against the original's outputs."""

import ast

import numpy as np
import pytest
import tensorflow as tf

from tests.models.stylegan.goldens import (
    arrays,
    assert_near,
    network,
    nhwc,
)
from tfdl.engine.errors import UserError
from tfdl.models.stylegan import model as stylegan
from tfdl.models.stylegan.config import DiscriminatorConfig, GeneratorConfig

GOLDENS = ("tiny32", "cond16")
TINY = {
    "resolution": 16,
    "fmap_base": 64,
    "fmap_max": 8,
    "latent_size": 6,
    "dlatent_size": 5,
    "mapping_layers": 2,
    "mapping_fmaps": 7,
}


@pytest.fixture(scope="module", params=GOLDENS)
def case(request):
    """The averaged generator, the discriminator and what they gave."""
    name = request.param
    return name, network(name, "Gs"), network(name, "D"), arrays(name)


def values(io, prefix):
    """Yields (the lod in a key, the array) for keys that begin so."""
    for key, array in io.items():
        if key.startswith(prefix) and "fused" not in key:
            yield float(key[len(prefix) :]), array


def test_mapping(case):
    name, gs, _, io = case
    labels = io.get("labels")
    assert_near(gs.mapping(io["z"], labels), io["w"])
    assert_near(network(name, "G").mapping.vector(io["z"], labels), io["w_G"])
    assert_near(gs.dlatent_avg, io["dlatent_avg"], 0)
    one = None if labels is None else labels[:1]
    found = gs.mapping.activations(io["z"][:1], one)
    expected = [key for key in io if key.startswith("int/mapping/")]
    assert expected
    for key in expected:
        assert_near(found[key.removeprefix("int/mapping/")], io[key])
    if labels is not None:
        assert_near(gs.mapping(io["z"], labels.argmax(1)), io["w"])
        with pytest.raises(UserError, match="needs labels"):
            gs.mapping(io["z"])


def test_synthesis(case):
    name, gs, _, io = case
    w = io["w"][:2]
    seen = 0
    for lod, expected in values(io, "img_lod"):
        image = gs.synthesis(w, lod=lod)
        assert_near(image, nhwc(expected))
        # A tensor with its whole part gives the same.
        stage = gs.config.stage_of(lod)
        graph = tf.function(lambda t, stage=stage: gs.synthesis(w, lod=t, stage=stage))
        assert_near(graph(tf.constant(lod)), image)
        native = gs.synthesis(w, lod=lod, upscale=False)
        assert native.shape[1] == gs.config.resolution >> stage
        assert_near(np.repeat(np.repeat(native, 1 << stage, 1), 1 << stage, 2), image)
        seen += 1
    assert seen >= 3
    fused = network(name, "Gs", fused_scale=True)
    assert_near(fused.synthesis(w), nhwc(io["img_lod0_fused"]))


def test_layers(case):
    _, gs, _, io = case
    found = gs.synthesis.activations(io["w"][:1])
    checked = 0
    for name, tensor in found.items():
        assert_near(tensor, nhwc(io[f"int/synthesis/{name}"]))
        checked += 1
    assert checked == 3 * gs.config.num_layers // 2


def test_truncation(case):
    _, gs, _, io = case
    z = io["z"]
    labels = {} if "labels" not in io else {"label": io["labels"][:1]}
    for i in range(len([key for key in io if key.endswith("_args")])):
        given = ast.literal_eval(str(io[f"trunc{i}_args"]))
        image = gs({"z": z[:1], **labels, **given})["image"]
        assert_near(image, nhwc(io[f"trunc{i}_img"]))
    image = gs({"z": z[:1], **labels, "truncation_psi": None})["image"]
    assert_near(image, nhwc(io["val_img"]))
    # psi 0 gives the average whatever z is, -1 and 1 lie on both sides of it.
    w = gs.mapping(z, io.get("labels"))
    average = np.broadcast_to(gs.dlatent_avg, w.shape)
    assert_near(gs.truncate(w, 0.0, 100), average, 1e-6)
    mirrored = gs.truncate(w, np.full(4, -1.0, "float32"), 100)
    assert_near(mirrored, 2 * average - w, 1e-6)


def test_style_mixing(case):
    _, gs, _, io = case
    for i in range(len([key for key in io if key.endswith("_lo_hi")])):
        source, target, low, high = io[f"mix{i}_src_dst_lo_hi"]
        w = io["w"][target : target + 1].copy()
        w[:, low:high] = io["w"][source, low:high]
        assert_near(gs.synthesis(w), nhwc(io[f"mix{i}_img"]))


def test_discriminator(case):
    _, _, d, io = case
    images = nhwc(io["d_images"])
    labels = io.get("d_labels")
    for lod, expected in values(io, "d_scores_lod"):
        assert_near(d(images, labels, lod=lod), expected)
        stage = d.config.stage_of(lod)
        small = tf.nn.avg_pool2d(images, 1 << stage, 1 << stage, "VALID")
        at = tf.constant(lod)
        assert_near(d(small, labels, lod=at, stage=stage), expected)
    for count in (4, 2):
        some = None if labels is None else labels[:count]
        assert_near(d(images[:count], some), io[f"d_scores_first{count}"])


def test_slices_are_what_devices_compute():
    d, images = network("tiny32", "D"), nhwc(arrays("tiny32")["d_images"])
    apart = tf.concat([d(images[:4]), d(images[4:])], 0)
    assert_near(d(images, slices=2), apart, 1e-6)
    assert np.abs(d(images) - apart).max() > 1e-4
    with pytest.raises(ValueError, match="no groups of 4"):
        d(np.concatenate([images, images])[:12], slices=2)


def deviation(x, group, features):
    """The definition, one picture at a time."""
    count, height, width, channels = x.shape
    groups, size = count // group, channels // features
    result = np.zeros((count, height, width, features))
    for i in range(count):
        members = x[i % groups :: groups]
        std = np.sqrt(members.var(0) + 1e-8)
        for f in range(features):
            result[i, ..., f] = std[..., f * size : (f + 1) * size].mean()
    return np.concatenate([x, result], -1)


@pytest.mark.parametrize("group, features", [(3, 1), (3, 2), (6, 3), (2, 1)])
def test_minibatch_deviation(group, features):
    from tfdl.models.stylegan.layers import minibatch_deviation

    x = np.random.default_rng(0).normal(size=(6, 2, 2, 6)).astype("float32")
    found = minibatch_deviation(tf.constant(x), group, features)
    assert_near(found, deviation(x, group, features), 1e-6)
    dynamic = tf.function(
        lambda x: minibatch_deviation(x, group, features),
        input_signature=[tf.TensorSpec([None, 2, 2, 6])],
    )
    assert_near(dynamic(x), found, 1e-6)


def test_noise():
    gs, io = network("tiny32", "Gs"), arrays("tiny32")
    w = io["w"][:2]
    stored = gs.synthesis(w)
    assert_near(gs.synthesis(w, noise=gs.synthesis.stored_noise()), stored, 0)
    seeded = gs.synthesis(w, noise=7)
    assert_near(gs.synthesis(w, noise=tf.constant(7)), seeded, 0)
    assert_near(gs.synthesis(w, noise=gs.synthesis.draw_noise(2, 7)), seeded, 0)
    assert np.abs(seeded - gs.synthesis(w, noise=8)).max() > 1e-2
    drawn = gs.synthesis(w, noise="random")
    assert np.abs(drawn - gs.synthesis(w, noise="random")).max() > 1e-2
    zero = gs.synthesis(w, noise="zero")
    zeros = [tf.zeros_like(noise) for noise in gs.synthesis.stored_noise()]
    assert_near(zero, gs.synthesis(w, noise=zeros), 1e-6)
    # Two replicas draw what one does.
    whole = gs.synthesis.draw_noise(4, 3)
    for index in range(2):
        part = gs.synthesis.draw_noise(2, 3, part=(index, 2))
        for one, all_of_it in zip(part, whole, strict=True):
            assert_near(one, all_of_it[2 * index : 2 * index + 2], 0)
    with pytest.raises(UserError, match="unknown noise 'randm'.*random"):
        gs.synthesis(w, noise="randm")


def test_only_what_is_in_use_is_computed():
    gs, io = network("tiny32", "Gs"), arrays("tiny32")
    graph = tf.function(lambda w: gs.synthesis(w, lod=2))
    operations = graph.get_concrete_function(io["w"]).graph.get_operations()
    convolutions = [op for op in operations if op.type.startswith("Conv2D")]
    # 4x4: one and ToRGB's place is taken by 8x8's; 8x8: up, conv, ToRGB.
    assert len(convolutions) == 4


# Paper and reference: trained weights with latents of 512 and 3 channels.
PARAMETERS = {
    64: (25_137_935, 22_498_049, 10_912),
    128: (25_843_858, 22_941_313, 43_680),
    256: (26_086_229, 23_052_353, 174_752),
    512: (26_179_768, 23_080_225, 699_040),
    1024: (26_219_627, 23_087_249, 2_796_192),
}


def test_parameter_counts():
    for resolution, (g, d, noise) in PARAMETERS.items():
        config = GeneratorConfig(resolution=resolution)
        assert config.num_parameters() == g
        assert DiscriminatorConfig(resolution=resolution).num_parameters() == d
        layers = range(config.num_layers)
        assert sum(config.layer_size(layer) ** 2 for layer in layers) == noise
    variants = (
        {},
        {"use_styles": False, "use_noise": False, "const_input_layer": False},
        {"label_size": 3, "mapping_layers": 0, "dlatent_size": 12},
        {"use_wscale": False, "num_channels": 1},
    )
    for variant in variants:
        built = stylegan.build_generator({**TINY, **variant})
        weights = sum(int(np.prod(v.shape)) for v in built.trainable_variables)
        assert weights == built.config.num_parameters(), variant
    built = stylegan.build_discriminator(
        {"resolution": 16, "fmap_base": 64, "label_size": 2, "mbstd_num_features": 2}
    )
    weights = sum(int(np.prod(v.shape)) for v in built.trainable_variables)
    assert weights == built.config.num_parameters()


def test_table_1_rows_run():
    z = np.random.default_rng(0).normal(size=(2, 6)).astype("float32")
    row_b = {
        "use_styles": False,
        "use_pixel_norm": True,
        "use_instance_norm": False,
        "mapping_layers": 0,
        "dlatent_size": 6,
        "const_input_layer": False,
        "use_noise": False,
        "style_mixing_prob": None,
        "truncation_psi": None,
        "nonlinearity": "relu",
    }
    rows = {
        "B": row_b,
        "C": {"const_input_layer": False, "use_noise": False},
        "D": {"use_noise": False},
        "E": {"style_mixing_prob": 0.0, "mapping_nonlinearity": "relu"},
        "F": {},
    }
    for name, row in rows.items():
        image = stylegan.build_generator({**TINY, **row})({"z": z})["image"]
        assert image.shape == (2, 16, 16, 3), name
        assert np.isfinite(image).all() and np.std(image[0] - image[1]) > 0, name


def test_initial_scale():
    # With the equalised learning rate, weights have the same spread everywhere.
    wide = stylegan.build_generator({**TINY, "fmap_base": 4096, "fmap_max": 256})
    layer = wide.synthesis.layers[1]
    assert np.std(layer.conv.weight) == pytest.approx(1.0, rel=0.02)
    assert np.std(wide.mapping.dense[0].weight) == pytest.approx(100, rel=0.25)
    plain = stylegan.build_generator({**TINY, "fmap_base": 4096, "use_wscale": False})
    conv = plain.synthesis.layers[1].conv
    assert np.std(conv.weight) == pytest.approx((2 / (9 * 8)) ** 0.5, rel=0.1)
    assert conv.factor == 1.0


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(dtype):
    import keras

    io = arrays("tiny32")
    expected = network("tiny32", "Gs").synthesis(io["w"])
    scores = network("tiny32", "D")(nhwc(io["d_images"]))
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(dtype)
        gs, d = network("tiny32", "Gs"), network("tiny32", "D")
        image = gs.synthesis(io["w"])
        found = d(nhwc(io["d_images"]))
    finally:
        keras.config.set_dtype_policy(before)
    assert image.dtype == found.dtype == tf.float32
    assert_near(image, expected, 0.05)
    assert_near(found, scores, 0.05)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"resolution": 48}, "power of two, got 48"),
        ({"resolution": 2}, r"resolution has to be a whole number in \[4"),
        ({"fused_scale": "yes"}, "unknown fused_scale 'yes'"),
        ({"mapping_layers": 0}, "without mapping layers w is z"),
        ({"fmap_max": "8"}, "fmap_max has to be a whole number"),
        ({"mixing": 0.5}, "unknown field of GeneratorConfig 'mixing'"),
        ({"style_mixing_prob": 2}, "style_mixing_prob has to be in"),
    ],
)
def test_bad_configurations(changes, message):
    with pytest.raises(UserError, match=message):
        GeneratorConfig.from_dict({**TINY, **changes})


def test_bad_inputs():
    gs, io = network("tiny32", "Gs"), arrays("tiny32")
    with pytest.raises(UserError, match=r"z has to be \[batch, 12\], got \[2, 9\]"):
        gs({"z": np.zeros((2, 9), "float32")})
    with pytest.raises(UserError, match=r"\[batch, 8, 10\].*got \[2, 6, 10\]"):
        gs.synthesis(io["w"][:2, :6])
    with pytest.raises(UserError, match="unknown input 'psi'"):
        gs({"z": io["z"], "psi": 1.0})
    with pytest.raises(UserError, match=r"\[batch, 32, 32, 3\], got \[8, 3, 32, 32\]"):
        network("tiny32", "D")(io["d_images"])


def test_model_call():
    gs, io = network("tiny32", "Gs"), arrays("tiny32")
    z = io["z"][:2]
    image = gs({"z": z})["image"]
    pixels = np.clip(np.floor(image * 127.5 + 128), 0, 255).astype("uint8")
    assert (pixels == io["default_uint8_nhwc"]).mean() > 0.999
    given = {"z": z, "truncation_psi": 0.7, "truncation_cutoff": 8}
    assert_near(gs(given)["image"], image, 0)
    w = gs.truncate(gs.mapping(z), 0.7, 8)
    seeded = gs({"z": z, "noise_seed": 5})["image"]
    assert_near(seeded, gs.synthesis(w, noise=5), 0)
