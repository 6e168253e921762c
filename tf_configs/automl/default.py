"""The whole method in miniature on scikit-learn's digits, in three or four minutes.

Aging evolution searches NASNet's space of cells (13 ops; 3 blocks a cell instead of 5),
and random search does with as many children. The best are scored again with other
seeds; the winner's cells make a larger network, which is trained on all training images
and measured on images that the search never saw.

    tfdl train --model=automl
"""

from ml_collections import ConfigDict

from tfdl.engine import config as config_lib
from tfdl.models.automl import image_recipes
from tfdl.models.automl.proposers import SMALL_BUDGET
from tfdl.models.automl.search import recipe

DATA, SIZE = "embedded:square-digits", 8


def get_config() -> ConfigDict:
    """Returns a search of 80 children and the training of its winner."""
    config = config_lib.base_config()
    config.model = "automl"
    config.description = "a search for cells on scikit-learn's digits"
    search = recipe.stage(
        space={"name": "nasnet", "blocks": 3},
        proposer=SMALL_BUDGET["evolution"],
        budget=80,
        children={
            "name": "image",
            "data": DATA,
            "size": SIZE,
            "valid_examples": 400,
            "cells": 3,
            "filters": 8,
            "epochs": 3,
            "batch_size": 64,
            "rate": 0.1,
            "nesterov": True,
            "weight_decay": 1e-4,
            "augment": "none",
        },
        rescore={"top": 5, "seeds": 3},
    )
    final = image_recipes.final(
        data=DATA,
        size=SIZE,
        start="architecture",
        network={"cells": 6, "filters": 16, "drop_path_keep": 0.9},
        epochs=16,
        batch_size=64,
        schedule={"name": "cosine", "rate": 0.1},
        weight_decay=1e-4,
        padding=1,
        flip=False,
        cutout=2,
    )
    search.name, final.name = "search", "final"
    config.stages = (search, final)
    return config
