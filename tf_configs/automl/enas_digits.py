"""ENAS's search for a pair of cells, in miniature on scikit-learn's digits.

All architectures share one network's weights; the controller learns which cells do
well with them. The chosen cells are then trained alone, from new weights, and measured
on pictures that the search never saw. Some four minutes on two cores.

    tfdl train --model=automl --recipe=enas_digits
"""

from ml_collections import ConfigDict

from tfdl.engine import config as config_lib
from tfdl.models.automl import image_recipes
from tfdl.models.automl.enas import recipes

DATA, SIZE = "embedded:square-digits", 16


def get_config() -> ConfigDict:
    """Returns a search of two blocks a cell, and the training of what it finds."""
    search = recipes.images(
        "enas_micro",
        DATA,
        size=SIZE,
        valid=400,
        space={"name": "enas_micro", "blocks": 2},
        network={"layers": 2, "filters": 16, "keep": 0.9},
        batch_size=64,
        augment="none",
        epochs=45,
        # Few updates: larger than the paper's.
        controller_steps=2,
        aggregate=8,
        controller_rate=0.05,
        baseline_decay=0.95,
        optimizer=recipes.sgd(1e-4, global_clip_norm=5.0),
        schedule={"name": "cosine", "rate": 0.2, "end": 0.002},
        samples=40,
        rescore=8,
    )
    search.model, search.name = "automl", "search"
    search.eval_every = 165
    final = image_recipes.final(
        data=DATA,
        size=SIZE,
        start="architecture",
        network={"cells": 3, "filters": 16, "drop_path_keep": 0.9},
        epochs=16,
        batch_size=64,
        schedule={"name": "cosine", "rate": 0.1},
        weight_decay=1e-4,
        padding=1,
        flip=False,
        cutout=4,
    )
    final.name = "final"
    config = config_lib.base_config()
    config.model = "automl"
    config.description = "cells that share weights, on scikit-learn's digits"
    config.stages = (search, final)
    return config
