r"""The first search for convolutional networks, on CIFAR-10 (Zoph & Le 2017).

A two-layer LSTM learns by REINFORCE which filters and connections 12,800 networks of
6 layers, and 2 more every 1,600, should have. The best one is trained in full with 40
more filters a layer.

    tfdl train --model=automl --recipe=zoph_conv_cifar10
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
    config.description = "Zoph & Le's search for convolutional networks on CIFAR-10"
    search = recipe.stage(
        space={"name": "zoph_conv", "layers": 6, "max_layers": 20},
        proposer={"name": "reinforce"},
        budget=12800,
        children={"name": "zoph_conv", "data": DATA},
        rescore={"top": 20, "seeds": 1},
    )
    final = image_recipes.final(
        data=DATA,
        start="architecture",
        network={"kind": "zoph_conv", "extra_filters": 40},
        epochs=300,
        batch_size=128,
        optimizer={"name": "sgd", "momentum": 0.9, "nesterov": True},
        schedule={"name": "cosine", "rate": 0.1},
        weight_decay=1e-4,
        cutout=0,
    )
    search.name, final.name = "search", "final"
    config.stages = (search, final)
    return config
