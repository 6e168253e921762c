"""Whole runs in processes of their own: killed and resumed, one replica and two.

A minute: five processes make a few steps, each with its start and its tracing.
"""

import numpy as np
import pytest

from tests.models.ulmfit import toys
from tests.training_runs import finish, kill_at
from tfdl.models.ulmfit import recipes


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return toys.csv_folder(tmp_path_factory.mktemp("data"))


def configuration(source):
    """A language model whose windows are drawn, and averaged from the start."""
    config = toys.language_model(source, 3, windows="awd-lstm-lm", rescale_rate=True)
    config.optimizer = recipes.sgd()
    config.phases = (recipes.phase("all", 3, 1.0),)
    recipes.average(config, "asgd")
    return config


def classifier(source):
    config = toys.classifier(source)
    config.dropmult, config.alpha, config.beta = 0.0, 2.0, 1.0
    config.optimizer = recipes.sgd(weight_decay=0.0)
    config.phases = (
        recipes.phase("head", 1, 0.1, trained="last:1"),
        recipes.phase("all", 1, 0.1, ratio=2.6),
    )
    return config


@pytest.fixture(scope="module")
def plain(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    metrics, _ = finish(toys.start(configuration(source), folder / "run"))
    return metrics, folder / "run"


def agree(workdir, other, **tolerance):
    expected = toys.weights(other)
    for name, value in toys.weights(workdir).items():
        if tolerance:
            np.testing.assert_allclose(value, expected[name], err_msg=name, **tolerance)
        else:
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_killed_within_an_epoch_ends_like_uninterrupted(source, plain, tmp_path):
    workdir = tmp_path / "run"
    process = toys.start(configuration(source), workdir)
    # Within the first epoch: the state of the windows is carried over the break.
    kill_at(process, workdir, 4)
    metrics, _ = finish(toys.start(configuration(source), workdir))
    agree(workdir, plain[1])
    assert metrics["loss"] == plain[0]["loss"]


def test_two_replicas_of_a_language_model_equal_one(source, tmp_path):
    flags = ("--strategy=mirrored", "--num_devices=2")
    config = configuration(source)
    # Replicas draw masks of their own.
    config.dropmult = 0.0
    found = []
    for name, extra in (("one", ()), ("two", flags)):
        found.append(finish(toys.start(config, tmp_path / name, *extra))[0])
    assert found[1]["loss"] == pytest.approx(found[0]["loss"], rel=1e-5)
    agree(tmp_path / "two", tmp_path / "one", rtol=1e-4, atol=2e-6)


def test_two_replicas_of_a_classifier_equal_one(source, tmp_path):
    flags = ("--strategy=mirrored", "--num_devices=2")
    for name, extra in (("one", ()), ("two", flags)):
        finish(toys.start(classifier(source), tmp_path / name, *extra))
    agree(tmp_path / "two", tmp_path / "one", rtol=1e-3, atol=1e-5)
