"""Recipes of the model: all are there that others name, and all can be read."""

import pathlib

import pytest

from tfdl.engine import config as config_lib
from tfdl.models.automl import tasks

RECIPES = pathlib.Path(__file__).parents[3] / "tf_configs" / "automl"
NAMES = sorted(p.stem for p in RECIPES.glob("*.py") if p.stem != "__init__")


@pytest.mark.parametrize("name", NAMES)
def test_recipes_name_tasks(name):
    config = config_lib.load_recipe("automl", name)
    assert config.model == "automl"
    for stage in config.get("stages") or (config,):
        assert name == "table" or stage.task in tasks.TASKS
    assert config.get("description") or name.startswith("evaluate") or name == "table"


@pytest.mark.parametrize(
    "saved",
    [
        {"kind": "search"},
        {"network": {"kind": "cells"}},
        {"network": {"kind": "zoph_conv"}},
        {"network": {"kind": "enas_macro"}},
        {"network": {"kind": "language"}},
    ],
)
def test_every_kind_of_result_can_be_measured(saved):
    assert tasks.recipe_for(saved) in NAMES
