"""Whole runs of language models in processes: killed and resumed, on two replicas.

Half a minute: five processes make a few steps, each with its start and its tracing.
"""

import numpy as np
import pytest

from tests.models.automl import language
from tests.training_runs import finish, kill_at


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return language.penn(tmp_path_factory.mktemp("penn"))


def agree(workdir, other, **tolerance):
    expected = language.weights(other / "model")
    for name, value in language.weights(workdir / "model").items():
        np.testing.assert_allclose(value, expected[name], err_msg=name, **tolerance)


def test_killed_within_an_epoch_ends_like_uninterrupted(source, tmp_path):
    """Windows are drawn, masks too; weights are averaged; the best model is kept."""
    config = language.recipe(
        source,
        windows="enas-lm",
        rescale_rate=True,
        average_after=1,
        epochs=4,
        learning_rate=5.0,
        dropouts={"word": 0.1, "input": 0.1, "node": 0.2, "output": 0.2},
    )
    whole = tmp_path / "whole"
    first = finish(language.start(config, whole))[0]
    workdir = tmp_path / "killed"
    # Within an epoch: the state of the windows is carried over the break.
    kill_at(language.start(config, workdir), workdir, 12)
    second = finish(language.start(config, workdir))[0]
    agree(workdir, whole, rtol=0, atol=0)
    first.pop("model_dir"), second.pop("model_dir")
    assert first == second
    assert first["loss"] < 2.7 < np.log(18)


def test_two_replicas_equal_one(source, tmp_path):
    config = language.recipe(
        source,
        network={"genotype": "nas_cell", "cell_bias": True, "num_layers": 2},
        # Replicas draw masks of their own.
        alpha=1.0,
        beta=1.0,
        weight_decay=1e-3,
        epochs=1,
    )
    found = []
    flags = ("--strategy=mirrored", "--num_devices=2")
    for name, extra in (("one", ()), ("two", flags)):
        found.append(finish(language.start(config, tmp_path / name, *extra))[0])
    assert found[1]["loss"] == pytest.approx(found[0]["loss"], rel=1e-5)
    agree(tmp_path / "two", tmp_path / "one", rtol=1e-4, atol=2e-6)
