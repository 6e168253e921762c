r"""AmoebaNet-A (N = 6, F = 36) on CIFAR-10: 3.2M weights (Real et al. 2019).

600 epochs; paper: 3.34% error.

    tfdl train --model=automl --recipe=amoebanet_cifar10
"""

from ml_collections import ConfigDict

from tfdl.models.automl import image_recipes


def get_config() -> ConfigDict:
    """Returns batches of 128, auxiliary loss 0.5, drop path 0.7."""
    config = image_recipes.amoebanet_cifar()
    config.description = "AmoebaNet-A on CIFAR-10"
    return config
