"""Whole runs in processes of their own: killed in a fade, one replica and two.

A minute and a half: six processes make up to ten steps, with their start and tracing.
"""

import numpy as np
import pytest
from ml_collections import ConfigDict

import tfdl
from tests import training_runs
from tests.models.stylegan import small_runs
from tests.training_runs import finish, kill_at
from tfdl.engine import config as config_lib
from tfdl.models.stylegan.model import load_discriminator, load_training_generator

# 4 steps at 8x8 pixels, 6 while 16x16 fades in.
PLAN = {
    "growing__stable_kimg": 0.016,
    "growing__transition_kimg": 0.08,
    "growing__total_kimg": 0.08,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Digits of 16x16."""
    return small_runs.digits(tmp_path_factory.mktemp("digits"))


def start(folder, data, *flags, **fields):
    """Starts a run in `folder`."""
    recipe = folder / "recipe.json"
    fields = {**PLAN, "labels": "none", "devices": 2, **fields}
    optimizer = fields.pop("optimizer", None)
    config = small_runs.configuration(data, **fields)
    if optimizer:
        config.optimizer = ConfigDict(optimizer)
    recipe.write_text(config_lib.to_json(config))
    return training_runs.start(recipe, folder / "run", *flags)


def weights(folder):
    """Returns all of a run's networks: averaged, as trained, discriminator."""
    model = folder / "run" / "model"
    networks = (
        tfdl.load(str(model)),
        load_training_generator(model),
        load_discriminator(model),
    )
    return [np.array(v) for network in networks for v in network.get_weights()]


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory):
    """An uninterrupted run on one device."""
    folder = tmp_path_factory.mktemp("plain")
    _, told = finish(start(folder, data))
    assert "16x16 fade-in" in told
    return folder


def test_killed_in_a_fade_ends_like_uninterrupted(plain, data, tmp_path):
    process = start(tmp_path, data)
    kill_at(process, tmp_path / "run", 6)
    _, told = finish(start(tmp_path, data))
    assert "goes on at step" in told
    found, expected = weights(tmp_path), weights(plain)
    assert len(found) == len(expected) > 50
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_goes_on_from_a_model(plain, data, tmp_path):
    # Four steps at 16x16 from where the uninterrupted run ended.
    on = {"growing__start": 16, "growing__total_kimg": 0.032}
    finish(start(tmp_path, data, f"--init_from={plain / 'run' / 'model'}", **on))
    off = [
        np.abs(one - other).max()
        for one, other in zip(weights(tmp_path), weights(plain), strict=True)
    ]
    # Four steps at a rate of 0.002; averages move by tenths of the way.
    assert 0 < max(off) < 0.1


def test_two_replicas_equal_one(data, tmp_path):
    # By gradients themselves: Adam would move a weight by the rate even where its
    # gradient is nothing but rounding, as that of the first layer at the start.
    sgd = {"optimizer": {"name": "sgd"}, "growing__rates": "0:0.003"}
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    finish(start(folders[0], data, **sgd))
    finish(start(folders[1], data, "--strategy=mirrored", "--num_devices=2", **sgd))
    one, two = map(weights, folders)
    assert len(one) == len(two) > 50
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=5e-6 * max(1, np.abs(a).max()))
