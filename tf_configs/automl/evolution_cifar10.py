r"""AmoebaNet's search: aging evolution on CIFAR-10 (Real et al. 2019).

20,000 children of 25 epochs, population 100, sample 25; then the winner in full. The
paper took 450 GPUs for a week.

    tfdl train --model=automl --recipe=evolution_cifar10

Children run on a Ray cluster with pool.name="ray" and its address.
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
    config.description = "AmoebaNet's search and final training on CIFAR-10"
    search = recipe.stage(
        space={"name": "amoeba"},
        proposer={"name": "evolution", "population": 100, "sample": 25},
        budget=20000,
        children={
            "name": "image",
            "data": DATA,
            "cells": 9,
            "filters": 24,
            "epochs": 25,
        },
        rescore={"top": 20, "seeds": 3},
    )
    # N = 6, F = 36: the size of AmoebaNet-A's 3.2M on CIFAR-10.
    final = image_recipes.amoebanet_cifar(
        start="architecture",
        network={
            "cells": 18,
            "filters": 36,
            "aux_head": True,
            "drop_path_keep": 0.7,
        },
    )
    search.name, final.name = "search", "final"
    config.stages = (search, final)
    return config
