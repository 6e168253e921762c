"""BigGAN at 512 pixels as in the paper: batch 2048, 96 channels.

tfdl train --model=biggan --recipe=imagenet512 --config.data=folder:/data/imagenet
"""

from ml_collections import ConfigDict

from tfdl.models.biggan import recipes


def get_config() -> ConfigDict:
    """Returns the paper's values."""
    config = recipes.imagenet("biggan-512")
    config.description = "ImageNet at 512 pixels, the paper's settings"
    return config
