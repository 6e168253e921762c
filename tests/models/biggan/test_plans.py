"""Presets: parameter counts of published networks, places of attention, refusals."""

import json

import numpy as np
import pytest

from tfdl.engine import errors
from tfdl.models.biggan import presets
from tfdl.models.biggan.model import build_discriminator, build_generator
from tfdl.models.biggan.plans import DiscriminatorConfig, GeneratorConfig

G, D = GeneratorConfig.preset, DiscriminatorConfig.preset
UNSHARED = {"shared_dim": 0, "hierarchical": False, "dim_z": 128}
FLAT = {"hierarchical": False, "dim_z": 128}
# Counted by instantiating the originals.
COUNTS = [
    (G("biggan-128"), 70_433_988),
    (D("biggan-128"), 87_982_370),
    (G("biggan-256"), 82_097_604),
    (D("biggan-256"), 99_225_890),
    (D("biggan-256", equal_width_shortcut=False), 98_635_298),
    (G("biggan-512"), 82_468_068),
    (G("biggan-512", dim_z=128), 82_296_804),
    (D("biggan-512"), 98_801_378),
    (G("biggan-128", channels=64, **UNSHARED), 42_017_412),
    (G("biggan-128", channels=64, **FLAT), 33_550_980),
    (G("biggan-128", channels=64), 31_978_628),
    (D("biggan-128", channels=64), 39_448_258),
    (G("biggan-128", **UNSHARED), 85_556_164),
    (G("biggan-128", **FLAT), 72_792_516),
    (G("biggan-deep-128"), 50_244_484),
    (D("biggan-deep-128"), 34_590_210),
    (G("biggan-deep-256"), 55_736_708),
    (D("biggan-deep-256"), 38_247_426),
    (G("biggan-deep-128", rgb_filters=128), 50_388_609),
    (G("biggan-deep-256", rgb_filters=128), 55_880_833),
    (G("biggan-deep-512", rgb_filters=128), 56_163_905),
    (G("cifar10"), 4_304_387),
    (D("cifar10"), 4_207_361),
]


@pytest.mark.parametrize(("config", "count"), COUNTS)
def test_published_counts(config, count):
    assert config.num_parameters() == count


@pytest.mark.parametrize(
    "name", ["tiny", "cifar10", "cifar10-studio", "biggan-128", "biggan-deep-64"]
)
def test_formulas_count_what_is_built(name):
    small = {"channels": 8, "num_classes": 3}
    for config, build in (
        (G(name, **small), build_generator),
        (D(name, **small), build_discriminator),
    ):
        network = build(config, empty=True)
        built = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
        assert built == config.num_parameters()


@pytest.mark.parametrize("name", sorted(presets.PRESETS))
def test_configurations_are_json(name):
    for config in (G(name), D(name)):
        again = type(config).from_dict(json.loads(json.dumps(config.to_dict())))
        assert again == config


def test_resolutions_and_latents():
    for size in (32, 64, 128, 256, 512):
        assert G(f"biggan-{size}").resolution == size
        assert G(f"biggan-deep-{size}").resolution == size
    assert [G(f"biggan-{n}").slots for n in (128, 256, 512)] == [6, 7, 8]
    assert [G(f"biggan-{n}").chunk for n in (128, 256, 512)] == [20, 20, 20]
    assert G("biggan-128", dim_z=128).dim_z == 126
    assert G("biggan-deep-128").first_inputs == 256


def test_places_of_attention():
    assert G("biggan-128").attention == (3,)
    assert G("biggan-128", attention="32_64").attention == (2, 3)
    assert G("biggan-128", attention="0").attention == ()
    assert G("biggan-256").attention == (4,)
    assert {G(f"biggan-deep-{n}").attention for n in (128, 256, 512)} == {(7,)}
    assert D("biggan-128").attention == (0,)
    assert D("biggan-256").attention == (1,)
    assert D("biggan-deep-128").attention == (1,)
    # The original says 16 of all four.
    assert D("cifar10", attention="16").attention == (0, 1, 2, 3)
    with pytest.raises(errors.UserError, match="unknown size of attention '63'"):
        G("biggan-128", attention="63")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"preset": "biggan-129"}, "did you mean 'biggan-"),
        ({"preset": "tiny", "chanels": 3}, "did you mean 'channels'"),
        ({"preset": "tiny", "statistics": "batch"}, "unknown statistics of BigGAN"),
        ({"preset": "tiny", "dim_z": 0}, r"dim_z has to be a whole number in \[1"),
        ({"preset": "tiny", "shared_dim": 0}, "hierarchical needs a shared_dim"),
        ({"preset": "tiny", "momentum": "x"}, "momentum has to be a number"),
        ({"preset": "tiny", "remat": 1}, "remat has to be true or false"),
        ({"preset": "biggan-deep-32", "shared_dim": 0}, "BigGAN-deep needs"),
        ({"blocks": [[4, 4, True]], "dim_z": 7}, "7 is not divided by its 2 parts"),
        ({"blocks": [[4, 4]]}, r"a block is \[inputs, outputs, resampled\]"),
        ({"blocks": [[4, 8, True], [4, 4, True]]}, "gives 8 channels before one"),
        ({"blocks": [], "dim_z": 7}, "1 to 64 blocks"),
        ({"blocks": [[4, 4, True]], "attention": [3]}, "attention after block 3"),
    ],
)
def test_bad_configurations(values, told):
    with pytest.raises(errors.UserError, match=told):
        GeneratorConfig.from_dict(values)


def test_thin_and_without_a_class():
    thin = D("tiny", thin=True)
    network = build_discriminator(thin)
    assert network.blocks[1].conv1.filters == thin.blocks[1][0]
    plain = build_discriminator(D("tiny", projection=False))
    told = plain({"image": np.zeros([2, 32, 32, 3], "float32")})["logits"]
    assert told.shape == (2,)
