"""A search and its winner's training as runs: whole, killed, on two replicas.

Half a minute: five processes, each with its start and its tracing.
"""

import json

import numpy as np
import pytest

import tfdl
from tests import training_runs
from tfdl.engine import config as config_lib
from tfdl.engine import files
from tfdl.models.automl import image_recipes
from tfdl.models.automl.search import recipe

CELLS = {
    "kind": "cells",
    "normal": {"blocks": [[0, "sep_3x3", 1, "identity"]], "used": [2]},
    "reduction": {"blocks": [[0, "max_3x3", 1, "conv_1x1"]], "used": [0, 2]},
}


def final(**fields):
    network = {"cells": 1, "filters": 4, "drop_path_keep": 0.6}
    return image_recipes.final(
        **{
            "data": "embedded:square-digits",
            "size": 8,
            "network": {"genotype": CELLS, **network},
            "batch_size": 40,
            "epochs": 0.25,
            "schedule": {"name": "cosine", "rate": 0.02},
            "padding": 1,
            "cutout": 2,
            "ema_decay": 0.5,
            "steps_per_loop": 2,
            "checkpoint_every": 3,
            **fields,
        }
    )


def start(config, workdir, *flags):
    path = workdir.with_suffix(".json")
    files.atomic_write(path, config_lib.to_json(config))
    return training_runs.start(path, workdir, *flags)


def weights(workdir):
    model = tfdl.load(workdir / "model")
    return {name: np.asarray(value) for name, value in model.named()}


def test_killed_training_ends_like_uninterrupted(tmp_path):
    # Paths are dropped by the step, augmentation is drawn by it.
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected, _ = training_runs.finish(start(final(), whole))
    process = start(final(), broken)
    training_runs.kill_at(process, broken, 3)
    found, _ = training_runs.finish(start(final(), broken))
    assert {**found, "model_dir": ""} == {**expected, "model_dir": ""}
    wanted = weights(whole)
    for name, value in weights(broken).items():
        np.testing.assert_array_equal(value, wanted[name], err_msg=name)


def test_two_replicas_equal_one(tmp_path):
    config = final()
    # Each replica drops paths of its own; statistics are those of the whole batch.
    config.network.update({"drop_path_keep": 1.0, "synchronised": True})
    config.network.epsilon = 1e-2
    found = []
    for name, flags in (
        ("one", ()),
        ("two", ("--strategy=mirrored", "--num_devices=2")),
    ):
        found.append(training_runs.finish(start(config, tmp_path / name, *flags))[0])
    assert found[1]["loss"] == pytest.approx(found[0]["loss"], rel=1e-4)
    wanted = weights(tmp_path / "one")
    for name, value in weights(tmp_path / "two").items():
        np.testing.assert_allclose(
            value, wanted[name], rtol=1e-3, atol=1e-4, err_msg=name
        )


def test_a_search_and_its_winner(tmp_path):
    config = config_lib.base_config()
    config.model = "automl"
    children = {
        "name": "image",
        "data": "embedded:square-digits",
        "size": 8,
        "valid_examples": 100,
        "train_examples": 200,
        "cells": 1,
        "filters": 4,
        "epochs": 1,
        "batch_size": 50,
        "augment": "none",
    }
    search = recipe.stage(
        space={"name": "amoeba", "blocks": 1, "ops": ["identity", "max_3x3"]},
        proposer={"name": "random"},
        children=children,
        budget=3,
        pool={"workers": 1},
        rescore={"top": 1, "seeds": 1},
        compare_with="",
    )
    last = final(start="architecture", ema_decay=0.0)
    last.network = {"cells": 1, "filters": 4}
    search.name, last.name = "search", "final"
    config.stages = (search, last)
    metrics, _ = training_runs.finish(start(config, tmp_path / "run"))
    assert metrics["images"] == 360
    found = json.loads((tmp_path / "run/search/model/config.json").read_text())
    trained = json.loads((tmp_path / "run/model/config.json").read_text())
    assert trained["network"]["genotype"] == found["genotype"]
    assert trained["network"]["num_classes"] == 10
