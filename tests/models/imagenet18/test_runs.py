"""Whole runs in processes of their own: killed and resumed, one replica and two.

Two minutes: six processes make a few steps, each with its start and its tracing.
"""

import json

import numpy as np
import pytest

import tfdl
from tests.helpers import free_ports
from tests.training_runs import finish, kill_at, start
from tfdl.engine import config as config_lib
from tfdl.models.imagenet18 import recipes
from tfdl.models.imagenet18.names import variable_names


def configuration(folder, **fields):
    """Writes a recipe of two sizes with mixed pictures and short last batches."""
    config = recipes.digits("classify")
    config.schedule = recipes.phases(
        {"ep": 0, "sz": 32, "bs": 320, "min_scale": 0.5},
        {"ep": (0, 2), "lr": (0.05, 0.1)},
        {"ep": 1, "sz": 40, "bs": 400, "min_scale": 0.6, "rect_val": True},
    )
    config.mixup, config.cutmix = 0.2, 1.0
    config.evaluation.every = 0
    config.network.zero_gamma = False
    config.checkpoint_every = config.steps_per_loop = 2
    for name, value in fields.items():
        config[name] = value
    path = folder / "recipe.json"
    path.write_text(config_lib.to_json(config))
    return path


def weights(workdir):
    """Returns the final model's weights and statistics by name."""
    model = tfdl.load(str(workdir / "model"))
    return {k: v.numpy() for k, v in variable_names(model, statistics=True).items()}


def agree(workdir, other):
    """Checks that two runs ended with the same weights, up to rounding."""
    expected = weights(other)
    for name, value in weights(workdir).items():
        np.testing.assert_allclose(
            value, expected[name], rtol=1e-3, atol=2e-5, err_msg=name
        )


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A run on one device, each batch in two parts."""
    folder = tmp_path_factory.mktemp("plain")
    recipe = configuration(folder, max_device_batch=200)
    return finish(start(recipe, folder / "run"))[0], folder / "run", recipe


def test_killed_in_a_phase_ends_like_uninterrupted(plain, tmp_path):
    _, whole, recipe = plain
    workdir = tmp_path / "run"
    process = start(recipe, workdir)
    kill_at(process, workdir, 6)
    finish(start(recipe, workdir))
    expected = weights(whole)
    for name, value in weights(workdir).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_two_replicas_equal_two_parts(plain, tmp_path):
    recipe = configuration(tmp_path)
    flags = ("--strategy=mirrored", "--num_devices=2")
    metrics, _ = finish(start(recipe, tmp_path / "run", *flags))
    assert metrics["images"] == 360
    assert metrics["loss"] == pytest.approx(plain[0]["loss"], rel=1e-4)
    agree(tmp_path / "run", plain[1])


def test_two_workers_equal_two_parts(plain, tmp_path):
    # Their moving statistics differ: whatever reads them has to be done by both.
    recipe = configuration(tmp_path)
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        cluster = json.dumps({"cluster": {"worker": workers}, "task": task})
        flags = (recipe, tmp_path / "run", "--strategy=multi_worker")
        processes.append(start(*flags, TF_CONFIG=cluster))
    outputs = [process.communicate(timeout=280) for process in processes]
    for process, (_, err) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, err
    agree(tmp_path / "run", plain[1])
