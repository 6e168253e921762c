"""BigGAN-deep at 128 pixels as in the paper: batch 2048, 128 channels.

    tfdl train --model=biggan --recipe=imagenet128-deep \\
        --config.data=folder:/data/imagenet
"""

from ml_collections import ConfigDict

from tfdl.models.biggan import recipes


def get_config() -> ConfigDict:
    """Returns the paper's values."""
    config = recipes.imagenet("biggan-deep-128")
    config.description = "ImageNet at 128 pixels, BigGAN-deep, the paper's settings"
    return config
