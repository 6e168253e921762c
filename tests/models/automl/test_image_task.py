"""Final training: augmentation, losses, schedules, what a stage starts from."""

import numpy as np
import pytest
import tensorflow as tf

from tfdl.engine import config as config_lib
from tfdl.engine import errors, model_dir, schedules
from tfdl.engine.distribution import Shard
from tfdl.engine.learner import Learner
from tfdl.models.automl import image_recipes
from tfdl.models.automl.image_augmentation import Augmentation
from tfdl.models.automl.image_task import ImageTask
from tfdl.models.automl.spaces import genotypes

NETWORK = {
    "genotype": {
        "kind": "cells",
        "normal": {"blocks": [[0, "sep_3x3", 1, "identity"]], "used": [2]},
        "reduction": {"blocks": [[0, "max_3x3", 1, "conv_1x1"]], "used": [2]},
    },
    "cells": 2,
    "filters": 6,
}


def make(tmp_path, **fields):
    given = {
        "data": "embedded:square-digits",
        "size": 8,
        "network": NETWORK,
        "padding": 1,
        "flip": False,
        "cutout": 2,
        "batch_size": 16,
        "epochs": 1,
    }
    task = ImageTask(image_recipes.final(**{**given, **fields}), tmp_path)
    task.prepare()
    return task


def first_batch(task, start=0, shard=None):
    (phase,) = task.phases()
    return next(iter(task.train_data(phase, start, shard or Shard(0, 1))))


def test_crops_mirrors_and_squares_are_what_their_columns_say():
    size, padding = 6, 2
    augment = Augmentation(size, size, padding, "black", True, cutout=3)
    images = np.random.RandomState(0).randint(1, 255, [400, size, size, 3])
    images = tf.constant(images.astype(np.uint8))
    columns = augment.draw(3, tf.range(400, dtype=tf.int64))
    cropped = augment.crop(images, columns, lambda x: tf.cast(x, tf.float32))
    cut = augment.cut(cropped, columns).numpy()
    crops, squares = columns["crop"].numpy(), columns["cutout"].numpy()
    padded = np.pad(images, [[0, 0], [padding] * 2, [padding] * 2, [0, 0]])
    for i, (top, left, mirrored) in enumerate(crops):
        wanted = padded[i, top : top + size, left : left + size]
        wanted = wanted[:, ::-1].copy() if mirrored else wanted.copy()
        low, high = squares[i, :2], squares[i, 2:]
        wanted[low[0] : high[0], low[1] : high[1]] = 0
        np.testing.assert_array_equal(cut[i], wanted)
    # Every offset and both sides come up; centres lie anywhere in the picture.
    assert set(crops[:, 0]) == set(crops[:, 1]) == set(range(2 * padding + 1))
    assert 120 < crops[:, 2].sum() < 280
    areas = np.prod(squares[:, 2:] - squares[:, :2], axis=1)
    assert areas.max() == 9
    assert areas.min() == 4


def test_a_square_by_its_corner_is_cut_at_the_lower_right_only():
    augment = Augmentation(6, 6, cutout=4, cutout_place="corner")
    squares = augment.draw(0, tf.range(300, dtype=tf.int64))["cutout"].numpy()
    assert set(squares[:, 0]) == set(range(6))
    np.testing.assert_array_equal(squares[:, 2], np.minimum(squares[:, 0] + 4, 6))


def test_batches_are_a_function_of_the_step_and_split_over_workers(tmp_path):
    task = make(tmp_path)
    (phase,) = task.phases()
    batches = iter(task.train_data(phase, 0, Shard(0, 1)))
    next(batches)
    second = next(batches)
    again = first_batch(task, 1)
    halves = [first_batch(task, 1, Shard(i, 2)) for i in range(2)]
    for name, value in second.items():
        np.testing.assert_array_equal(value, again[name])
        both = np.concatenate([half[name] for half in halves])
        np.testing.assert_array_equal(value, both)
    np.testing.assert_allclose(second["progress"], 1 / task.steps)


def test_the_loss_is_its_terms(tmp_path):
    network = {"preset": "nasnet_a_cifar", "cells": 3, "filters": 4}
    network["drop_path_keep"] = 1.0
    task = make(
        tmp_path, size=16, network=network, label_smoothing=0.1, weight_decay=3e-3
    )
    model = task.build_model()
    batch = first_batch(task)
    weights = {"examples": tf.constant(16.0)}
    share, metrics = task.loss(model, batch, weights)
    task.config.weight_decay = 0.0
    rest, _ = task.loss(model, batch, weights)
    kernels = [v for n, v in model.named() if n.endswith("weights")]
    assert any(n.startswith("aux") for n, _ in model.named())
    squares = sum(float(np.square(np.asarray(v)).sum()) for v in kernels)
    assert float(share - rest) == pytest.approx(0.5 * 3e-3 * squares, rel=1e-4)
    task.config.aux_weight = 0.0
    main, _ = task.loss(model, batch, weights)
    total, count = metrics["cross_entropy"]
    assert float(main) == pytest.approx(float(total / count), rel=1e-5)
    assert float(rest) > 1.2 * float(main)
    # Of half the batch, half the share: parts add.
    task.config.weight_decay = 3e-3
    half = {k: v[:8] for k, v in batch.items()}
    part = task._squares(model) * 3e-3
    share, _ = task.loss(model, half, weights)
    task.config.weight_decay = 0.0
    rest, _ = task.loss(model, half, weights)
    assert float(share - rest) == pytest.approx(float(part) / 2, rel=1e-4)


def test_an_auxiliary_head_can_stay_as_it_starts(tmp_path):
    network = {"preset": "nasnet_a_cifar", "cells": 3, "filters": 4}
    task = make(tmp_path, size=16, network=network, train_aux_head=False)
    (phase,) = task.phases()
    model = task.build_model()
    fixed = {n for n in task.variable_names("model", model) if not phase.trainable(n)}
    assert len(fixed) == len(model.auxiliary()) > 0


def test_one_batch_is_learnt_by_heart(tmp_path):
    task = make(
        tmp_path, schedule={"name": "constant", "rate": 0.05}, cutout=0, padding=0
    )
    learner = Learner(task, tf.distribute.get_strategy(), task.config)
    (phase,) = task.phases()
    data = tf.data.Dataset.from_tensors(first_batch(task)).repeat()
    train = learner.train_function(phase)
    batches = iter(data)
    before = train(batches, 0, 1)["metrics"]["cross_entropy"]
    train(batches, 1, 60)
    after = train(batches, 61, 1)["metrics"]["cross_entropy"]
    assert before > 2.0
    assert after < 0.1


def test_rates_by_epochs(tmp_path):
    task = make(
        tmp_path, schedule=image_recipes.falling(1.0), warmup_epochs=1.0, epochs=10
    )
    steps, (phase,) = task.steps_per_epoch, task.phases()
    rate = phase.learning_rate
    assert float(rate(steps // 2)) == pytest.approx(0.5, abs=0.02)
    assert float(rate(2 * steps)) == pytest.approx(1.0)
    assert float(rate(int(2.4 * steps) + 1)) == pytest.approx(0.97)
    assert float(rate(int(7.2 * steps) + 1)) == pytest.approx(0.97**3)


def test_exponential_rates():
    smooth = schedules.exponential(2.0, 0.5, 10, staircase=False)
    assert float(smooth(5)) == pytest.approx(2.0 * 0.5**0.5)
    ends = schedules.exponential(2.0, 0.5, 10, end=0.4)
    assert [float(ends(step)) for step in (9, 10, 40)] == pytest.approx([2, 1, 0.4])


def test_a_stage_takes_the_architecture_that_a_search_found(tmp_path):
    genotype = genotypes.published("amoebanet_a").to_dict()
    found = tmp_path / "found"
    config = {
        "model": "automl",
        "kind": "search",
        "space": {"name": "amoeba"},
        "architecture": " ".join(["0"] * 40),
        "genotype": genotype,
        "winners": [],
    }
    model_dir.save(found, config, None, {})
    network = {"cells": 3, "filters": 4}
    task = make(
        tmp_path, start="architecture", init_from=str(found), network=network, size=16
    )
    assert task.network["genotype"] == genotype
    assert task.network["num_classes"] == 10
    with pytest.raises(errors.UserError, match="start=architecture"):
        make(tmp_path, init_from=str(found), network=network)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop": "round"}, "crop"),
        ({"start": "architecture"}, "init_from"),
        ({"decayed": "some"}, "decayed"),
        ({"padding_value": "red"}, "padding_value"),
        ({"size": 40, "load_size": 32}, "does not fit"),
        ({"epochs": 0}, "epochs"),
        ({"network": {"preset": "nasnet_b"}}, "nasnet_b"),
        ({"schedule": {"name": "stairs"}}, "stairs"),
    ],
)
def test_bad_options_are_named(tmp_path, fields, message):
    with pytest.raises(errors.UserError, match=message):
        make(tmp_path, **fields).phases()


@pytest.mark.parametrize("name", config_lib.recipes("automl"))
def test_recipes_are_read(name):
    config = config_lib.load_recipe("automl", name)
    assert config.model == "automl" or not config.model
