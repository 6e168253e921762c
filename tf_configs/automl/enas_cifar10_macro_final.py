"""ENAS's macro network on CIFAR-10, trained in full with the original's constants.

Pham et al. 2018, section 3.2; melodyguan/enas, cifar10_macro_final.sh: 4.23% test error
(the paper's). The published layers, or with `start=architecture` and `--init_from`
those of a search. Never run in full here.

    tfdl train --model=automl --recipe=enas_cifar10_macro_final \
        --config.data=cifar10:FOLDER
"""

from ml_collections import ConfigDict

from tfdl.models.automl import image_recipes
from tfdl.models.automl.enas import recipes


def get_config() -> ConfigDict:
    """Returns 310 epochs of 24 layers, 42.6 million weights."""
    config = image_recipes.final(
        network={"kind": "enas_macro", "genotype": "enas_macro", "filters": 96},
        **image_recipes.ENAS,
        epochs=310.0,
        batch_size=100,
        cutout=0,
        schedule=recipes.restarts(0.05, 0.001),
    )
    config.description = "ENAS's macro network on CIFAR-10"
    return config
