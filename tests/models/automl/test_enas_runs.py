"""Whole searches with shared weights: killed and resumed, refused, read by predict.

Half a minute: four processes make a few steps, each with its start and its tracing.
"""

import json

import h5py
import numpy as np
import pytest
import tensorflow as tf

from tests.training_runs import finish, kill_at, start
from tfdl.engine import config as config_lib
from tfdl.engine import errors
from tfdl.engine.learner import Learner
from tfdl.models.automl.enas import recipes
from tfdl.models.automl.enas.image_tasks import EnasMacroTask, EnasMicroTask
from tfdl.models.automl.enas.steps import Steps
from tfdl.models.automl.search import result
from tfdl.models.automl.search import trials as trials_lib

TASKS = {"enas_micro": EnasMicroTask, "enas_macro": EnasMacroTask}


def configuration(task="enas_micro"):
    space = {"blocks": 1} if task == "enas_micro" else {"layers": 3}
    config = recipes.images(
        task,
        "embedded:square-digits",
        size=8,
        valid=24,
        train=40,
        batch_size=16,
        epochs=2,
        augment="pad",
        controller_steps=2,
        aggregate=2,
        samples=4,
        rescore=2,
        space={"name": task, **space},
        network={"filters": 4, **({"layers": 1} if task == "enas_micro" else {})},
        controller={"hidden_size": 8},
    )
    config.model = "automl"
    # Two epochs of three steps of the weights and four of the controller.
    config.steps_per_loop = config.checkpoint_every = config.log_every = 1
    return config


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(config_lib.to_json(configuration()))
    return path


def weights(workdir):
    found = {}
    with h5py.File(workdir / "model" / "model.weights.h5") as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return found


def test_killed_ends_like_uninterrupted(recipe, tmp_path):
    metrics, said = finish(start(recipe, tmp_path / "whole"))
    killed = start(recipe, tmp_path / "run")
    # Between two steps of the controller whose gradients make one update.
    kill_at(killed, tmp_path / "run", 4)
    again, _ = finish(start(recipe, tmp_path / "run"))
    for run in (metrics, again):
        del run["model_dir"]
    assert again == metrics
    expected = weights(tmp_path / "whole")
    for name, value in weights(tmp_path / "run").items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    check_result(tmp_path / "whole" / "model", metrics)
    assert "winner: " in said


def check_result(model, metrics):
    found = result.read(model)
    assert found.genotype == found.space.genotype(found.architecture)
    assert found.winners[0]["mean"] == metrics["winner_reward"]
    # Of 24 images: all of them were looked at.
    hits = metrics["winner_reward"] * 24
    assert hits == pytest.approx(round(hits))
    rows = trials_lib.read(found.trials)
    assert len(rows) == metrics["distinct"]
    best = max(rows, key=lambda row: row.reward)
    assert best.reward == max(winner["reward"] for winner in found.winners)
    again = trials_lib.read(found.trials, "rescored")
    assert [row.reward for row in again if row.number < 2] == [
        winner["rescored"][0]
        for winner in sorted(found.winners, key=lambda w: -w["reward"])
    ]
    winners = json.loads((model / "assets" / result.WINNERS).read_text())
    assert winners == found.winners


def test_two_replicas_are_refused(recipe, tmp_path):
    flags = ("--strategy=mirrored", "--num_devices=2")
    process = start(recipe, tmp_path / "run", *flags)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("error: enas_micro trains on one device")


def make(tmp_path, task="enas_micro", **fields):
    config = configuration(task)
    for name, value in fields.items():
        config[name] = value
    made = TASKS[task](config, tmp_path)
    made.prepare()
    return made


def learner_of(task):
    """Returns the task's networks and optimizers, without a trainer."""
    task.phases()
    return Learner(task, tf.distribute.get_strategy(), task.config)


def test_turns_of_weights_and_controller(tmp_path):
    """The controller's steps leave the shared weights alone, and the other way round.

    It is updated by every second of its steps.
    """
    task = make(tmp_path, "enas_macro")
    learner = learner_of(task)
    phase = task.phases()[0]
    train = learner.train_function(phase)
    iterator = iter(task.train_data(phase, 0, None))
    changes = []
    for step in range(7):
        before = [[v.numpy() for v in n.variables] for n in learner.networks.values()]
        report = train(iterator, step, 1)
        after = [[v.numpy() for v in n.variables] for n in learner.networks.values()]
        changes.append(
            [
                any((a != b).any() for a, b in zip(*pair, strict=True))
                for pair in zip(before, after, strict=True)
            ]
        )
        assert report["bad"] is None
        judges = step >= 3
        assert ("reward" in report["metrics"]) == judges
        assert ("train_accuracy" in report["metrics"]) != judges
    nothing = [False, False]
    rest = [nothing, [False, True]] * 2
    assert changes == [[True, False]] * 3 + rest
    assert task.baseline.numpy() > 0


def test_steps():
    steps = Steps.of([2, 1], 2)
    assert steps.epoch.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert steps.judges.tolist() == [0, 0, 1, 1, 0, 1, 1]
    assert steps.index.tolist() == [0, 1, 0, 1, 0, 0, 1]
    assert steps.number.tolist() == [0, 1, 0, 1, 2, 2, 3]
    rows = list(steps.dataset(5).as_numpy_iterator())
    assert [int(row["number"]) for row in rows] == [2, 3]


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"epochs": 0}, "epochs"),
        ({"aggregate": 0}, "aggregate"),
        ({"baseline_decay": 1.0}, "baseline_decay"),
        ({"augment": "mirror"}, "augment"),
        ({"valid": 5000}, "training images"),
    ],
)
def test_refusals(tmp_path, fields, said):
    with pytest.raises(errors.UserError, match=said):
        make(tmp_path, **fields)


def test_unknown_options_are_refused(tmp_path):
    task = make(tmp_path)
    task.config.network.depth = 3
    with pytest.raises(errors.UserError, match="option of network"):
        task.create_network()
    task.config.controller.size = 3
    with pytest.raises(errors.UserError, match="option of controller"):
        task.create_controller()
