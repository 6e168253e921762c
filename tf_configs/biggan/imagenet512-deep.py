"""BigGAN-deep at 512 pixels as in the paper: batch 2048, 128 channels.

    tfdl train --model=biggan --recipe=imagenet512-deep \\
        --config.data=folder:/data/imagenet
"""

from ml_collections import ConfigDict

from tfdl.models.biggan import recipes


def get_config() -> ConfigDict:
    """Returns the paper's values."""
    config = recipes.imagenet("biggan-deep-512")
    config.description = "ImageNet at 512 pixels, BigGAN-deep, the paper's settings"
    return config
