"""ENAS's search for a pair of cells on CIFAR-10, with the original's constants.

Pham et al. 2018, section 3.2; melodyguan/enas, cifar10_micro_search.sh. The auxiliary
head keeps its first weights, as the original's does: it shapes what is below it alone.
Under half a day on one GPU of 2018; far too much for a few cores.

    tfdl train --model=automl --recipe=enas_cifar10_micro --config.data=cifar10:FOLDER
"""

from ml_collections import ConfigDict

from tfdl.models.automl.enas import recipes


def get_config() -> ConfigDict:
    """Returns 150 epochs over 45,000 images; 5,000 judge."""
    config = recipes.images(
        "enas_micro",
        "cifar10:",
        size=32,
        valid=5000,
        space={"name": "enas_micro", "blocks": 5},
        network={"layers": 6, "filters": 20, "keep": 0.9, "aux_head": True},
        controller={"tanh_constant": 1.10, "op_tanh_reduce": 2.5},
        batch_size=160,
        epochs=150,
        controller_steps=30,
        aggregate=10,
        controller_rate=0.0035,
        optimizer=recipes.sgd(1e-4),
        train_aux_head=False,
    )
    config.model = "automl"
    config.description = "ENAS's cells on CIFAR-10"
    return config
