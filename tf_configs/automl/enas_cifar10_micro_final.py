"""ENAS's cells on CIFAR-10, trained in full with the original's constants.

Pham et al. 2018, section 3.2; melodyguan/enas, cifar10_micro_final.sh: 2.89% test error
with cutout (the paper's). The published cells, or with `start=architecture` and
`--init_from` those of a search. Cells are wired as in NASNet: the original calibrates a
cell's inputs slightly otherwise. Never run in full here.

    tfdl train --model=automl --recipe=enas_cifar10_micro_final \
        --config.data=cifar10:FOLDER
"""

from ml_collections import ConfigDict

from tfdl.models.automl import image_recipes
from tfdl.models.automl.enas import recipes


def get_config() -> ConfigDict:
    """Returns 630 epochs: restarts end after 10, 30, 70, ... of them."""
    config = image_recipes.final(
        network={
            "genotype": "enas_micro",
            "cells": 15,
            "filters": 36,
            "aux_head": True,
            "drop_path_keep": 0.6,
            "dropout_keep": 0.8,
        },
        **image_recipes.ENAS,
        epochs=630.0,
        batch_size=144,
        schedule=recipes.restarts(0.05, 0.0001),
        progress_offset=1,
    )
    config.description = "ENAS's cells on CIFAR-10"
    return config
