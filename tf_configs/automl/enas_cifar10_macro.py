"""ENAS's search for a whole network on CIFAR-10, with the original's constants.

Pham et al. 2018, section 3.2; melodyguan/enas, cifar10_macro_search.sh. Unlike there,
rewards are measured with the batch's statistics: moving ones would mix those of all
architectures. Far too much for a few cores.

    tfdl train --model=automl --recipe=enas_cifar10_macro --config.data=cifar10:FOLDER
"""

from ml_collections import ConfigDict

from tfdl.models.automl.enas import recipes


def get_config() -> ConfigDict:
    """Returns 310 epochs over 45,000 images; 5,000 judge."""
    config = recipes.images(
        "enas_macro",
        "cifar10:",
        size=32,
        valid=5000,
        space={"name": "enas_macro", "layers": 12},
        network={"filters": 36, "keep": 0.9},
        controller={"tanh_constant": 1.5, "skip_target": 0.4},
        batch_size=128,
        epochs=310,
        controller_steps=50,
        aggregate=20,
        controller_rate=0.001,
        skip_weight=0.8,
        optimizer=recipes.sgd(2.5e-4),
    )
    config.model = "automl"
    config.description = "ENAS's networks on CIFAR-10"
    return config
