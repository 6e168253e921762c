r"""NASNet-A (6 @ 768) on CIFAR-10: 3.3M weights, 600 epochs (TF-slim's notes).

Paper: 3.41% error, with cutout 2.65%. The large one (7 @ 2304, 27.6M, 2.97% and 2.40%):

    tfdl train --model=automl --recipe=nasnet_cifar10 \
        --config.network.preset=nasnet_a_cifar_large

`--config.cutout=0` is without.
"""

from ml_collections import ConfigDict

from tfdl.models.automl import image_recipes


def get_config() -> ConfigDict:
    """Returns cosine rates, drop path, auxiliary head, crops of 40x40, cutout."""
    config = image_recipes.final()
    config.description = "NASNet-A on CIFAR-10"
    # The pictures are enlarged to 40x40, of which 32x32 are cropped.
    config.load_size, config.padding = 40, 0
    return config
