"""What the task refuses and starts from, without training."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.models.biggan import small
from tfdl.engine import config as config_lib
from tfdl.engine import errors, model_dir
from tfdl.engine.learner import Learner
from tfdl.models.biggan import model as networks
from tfdl.models.biggan import sampling, standing
from tfdl.models.biggan.measuring import Measure, Options, grey
from tfdl.models.biggan.names import named_variables
from tfdl.models.biggan.plans import DiscriminatorConfig
from tfdl.models.biggan.task import BigGANTask
from tfdl.models.biggan.truncation import operating_points, plot


def task(tmp_path, **fields):
    return BigGANTask(small.recipe(**fields), tmp_path)


@pytest.fixture
def mixed(tmp_path):
    """A folder of two classes with pictures of two sizes."""
    for name, size in (("dog", 40), ("cat", 32)):
        (tmp_path / "data" / name).mkdir(parents=True)
        pixels = np.full([size, size, 3], size, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / name / "1.png")
    return f"folder:{tmp_path}/data"


@pytest.mark.parametrize("recipe", config_lib.recipes("biggan"))
def test_recipes_make_networks(recipe, tmp_path):
    config = config_lib.load_recipe("biggan", recipe)
    config.data = "embedded:square-digits"
    from tfdl.models.biggan.tasks import TASKS

    made = TASKS[config.task](config, tmp_path)
    made.prepare()
    (phase,) = made.phases()
    assert phase.steps == config.iterations
    assert made.generator_config.num_classes == 10
    assert made.generator_config.num_parameters() > 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": 4}, "classes=4, but embedded:square-digits has 10"),
        ({"sizes": "some"}, "exact"),
        ({"latents": "clip"}, "resample"),
        ({"evaluation__truncation": 1.2}, "above 0, at most 1"),
        ({"evaluation__samples": 1}, "at least 2"),
        ({"collapse__sigma": 0.3}, "above 1"),
        ({"iteration__loss": "wgan"}, "hinge"),
        ({"gradient_accumulation": 2}, "generator_accumulation"),
        ({"generator__preset": "biggan-99"}, "biggan-128"),
        ({"generator__image_channels": 3}, "image_channels"),
    ],
)
def test_recipes_that_make_no_sense(tmp_path, fields, message):
    with pytest.raises(errors.UserError, match=message):
        task(tmp_path, **fields).prepare()


def test_pictures_of_mixed_sizes(tmp_path, mixed):
    task(tmp_path, data=mixed).prepare()  # cropped and resized
    with pytest.raises(errors.UserError, match=r"dog/1.png has 40x40 .*32x32"):
        task(tmp_path, data=mixed, sizes="exact").prepare()


def test_batches_that_replicas_cannot_share(tmp_path):
    made = task(tmp_path, generator_batch_size=3)
    made.prepare()
    made.replicas = 2
    with pytest.raises(errors.UserError, match="batches of 3 .* 2 replicas"):
        made.phases()


def fine_tuned(tmp_path, data, with_discriminator=True, **fields):
    """Returns (source networks, learner, what stays random) after initialising."""
    source = small.save_model(tmp_path / "source", classes=3, image_channels=1)
    generator = networks.build_generator({**model_dir.read_config(source)["generator"]})
    discriminator = networks.build_discriminator(
        DiscriminatorConfig.preset("tiny", channels=2, num_classes=3, image_channels=1)
    )
    saved = model_dir.read_config(source)
    assets = {}
    if with_discriminator:
        discriminator.save_weights(str(tmp_path / "d.weights.h5"))
        assets[networks.DISCRIMINATOR] = tmp_path / "d.weights.h5"
        saved["discriminator"] = discriminator.config.to_dict()
    model_dir.save(source, saved, generator, assets)
    made = task(tmp_path, data=data, init_from=str(source), **fields)
    made.prepare()
    learner = Learner(made, tf.distribute.get_strategy(), made.config)
    fresh = made.initialise(learner, str(source))
    return generator, discriminator, learner, fresh


def test_new_classes_from_the_mean_or_from_named_ones(tmp_path, mixed):
    generator, discriminator, learner, fresh = fine_tuned(
        tmp_path, mixed, fine_tuning__like=("dog=class 2",)
    )
    new = named_variables(learner.networks["generator"])
    old = named_variables(generator)
    table, rows = old["shared.weight"].numpy(), new["shared.weight"].numpy()
    assert rows.shape == (2, table.shape[1])
    np.testing.assert_allclose(rows[0], table.mean(0), rtol=1e-5)  # cat
    np.testing.assert_array_equal(rows[1], table[2])  # dog
    for name in ("linear.weight", "blocks.1.0.conv1.weight", "linear.u"):
        np.testing.assert_array_equal(new[name].numpy(), old[name].numpy())
    # The table's last row is for no truncation.
    name = "blocks.0.0.bn1.stored_mean"
    np.testing.assert_array_equal(new[name].numpy(), old[name].numpy()[-1])
    d_new = named_variables(learner.networks["discriminator"])
    d_old = named_variables(discriminator)
    np.testing.assert_array_equal(
        d_new["embed.weight"].numpy()[1], d_old["embed.weight"].numpy()[2]
    )
    assert fresh == ["embed.u"]
    with learner.ema.swapped():
        np.testing.assert_array_equal(new["shared.weight"].numpy(), rows)


def test_new_classes_from_the_nearest(tmp_path, mixed):
    _, discriminator, learner, _ = fine_tuned(
        tmp_path, mixed, fine_tuning__start="nearest"
    )
    old = named_variables(discriminator)["embed.weight"].numpy()
    rows = named_variables(learner.networks["discriminator"])["embed.weight"].numpy()
    values = np.float32([40, 32]) / 127.5 - 1
    for row, value, label in zip(rows[::-1], values, ("dog", "cat"), strict=True):
        image = tf.fill([1, 32, 32, 1], value)
        logits = [
            float(discriminator({"image": image, "label": [k]})["logits"][0])
            for k in range(3)
        ]
        np.testing.assert_array_equal(row, old[int(np.argmax(logits))], label)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fine_tuning__start": "nearest"}, "needs the model's discriminator"),
        ({"fine_tuning__start": "closest"}, "nearest"),
        ({"fine_tuning__like": ("dog",)}, "NEW=OLD"),
        ({"fine_tuning__like": ("dog=wolf",)}, "old class"),
        ({"fine_tuning__like": ("wolf=class 1",)}, "new class"),
    ],
)
def test_fine_tuning_that_makes_no_sense(tmp_path, mixed, fields, message):
    with pytest.raises(errors.UserError, match=message):
        fine_tuned(tmp_path, mixed, with_discriminator=False, **fields)


def test_measuring_names_its_conditions_and_flags_too_few_pictures(tmp_path):
    made = task(tmp_path)
    made.prepare()
    generator = networks.build_generator(made.generator_config)
    sampler = sampling.Sampler(generator, standing.Standing(passes=0))
    few = Options("pixels", samples=40, batch_size=20, real=200)
    found = Measure(few, made.source, 32, 1)(sampler)
    assert found["too_few_images"] == 1.0  # 40 pictures, 64 features
    assert found["images"] == 40 and found["real_images"] == 200
    assert np.isfinite(found["fcd_pixels"]) and "fid" not in found
    enough = Options("pixels", samples=80, batch_size=20, real=200)
    assert Measure(enough, made.source, 32, 1)(sampler)["too_few_images"] == 0.0


def test_the_papers_operating_points():
    curve = [
        {"truncation": t, "fid": f, "inception_score": s}
        for t, f, s in ((0.1, 25, 206), (0.5, 9.6, 166), (0.8, 7.7, 126), (1, 8.7, 99))
    ]
    for point in curve:
        point |= {"images": 50_000, "too_few_images": 0.0, "latents": "scaled"}
    found = operating_points(curve, "fid", "inception_score", 170.0)
    assert found["no_truncation/fid"] == 8.7
    assert found["best_distance/truncation"] == 0.8
    assert found["real_score/truncation"] == 0.5
    assert found["best_score/inception_score"] == 206
    assert plot(curve, "fid", "inception_score", 170.0).startswith(b"\x89PNG")
    bare = [{k: v for k, v in x.items() if k != "inception_score"} for x in curve]
    assert "best_score/truncation" not in operating_points(
        bare, "fid", "inception_score", None
    )
    assert plot(bare, "fid", "inception_score").startswith(b"\x89PNG")


def test_grey_is_pillows():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), np.uint8)
    expected = [np.asarray(Image.fromarray(x).convert("L")) for x in pixels]
    np.testing.assert_array_equal(grey(pixels)[..., 0], expected)


def test_a_resumed_run_knows_what_it_saw(tmp_path):
    made = task(tmp_path)
    records = [
        {"step": 2, "kind": "eval", "fcd_pixels": 5.0},
        {"step": 2, "kind": "train", "loss": 1.0},
        {"step": 4, "kind": "eval", "fcd_pixels": 3.0},
        {"step": 6, "kind": "eval", "fcd_pixels": 9.0},
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "metrics.jsonl").write_text(lines)
    assert [x["fcd_pixels"] for x in made._evaluations(before=6)] == [5.0, 3.0]
