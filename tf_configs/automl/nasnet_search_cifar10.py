r"""NASNet's search: PPO on CIFAR-10 (Zoph et al. 2018), with its 13 ops.

20,000 children of 20 epochs (N = 2, F = 32); the best 250 are scored again by a longer
training. Of PPO's constants the paper gives the rate, the entropy's weight and the
baseline's decay; the others are said in `proposers/policies.py`.

    tfdl train --model=automl --recipe=nasnet_search_cifar10
"""

from ml_collections import ConfigDict

from tfdl.engine import config as config_lib
from tfdl.models.automl import image_recipes
from tfdl.models.automl.search import recipe

DATA = "cifar10:/data/cifar10"


def get_config() -> ConfigDict:
    """Returns the search and the training of its winner."""
    config = config_lib.base_config()
    config.model = "automl"
    config.description = "NASNet's search and final training on CIFAR-10"
    search = recipe.stage(
        space={"name": "nasnet"},
        proposer={"name": "ppo"},
        budget=20000,
        children={"name": "image", "data": DATA},
        rescore={"top": 250, "seeds": 1, "children": {"epochs": 300}},
    )
    final = image_recipes.final(
        data=DATA,
        start="architecture",
        network={
            "cells": 18,
            "filters": 32,
            "aux_head": True,
            "drop_path_keep": 0.6,
        },
    )
    search.name, final.name = "search", "final"
    config.stages = (search, final)
    return config
