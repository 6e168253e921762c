r"""CelebA-HQ at 1024x1024 with WGAN-GP, as the original trains it.

    tfdl train --model=stylegan --recipe=celebahq --strategy=mirrored \
        --config.data=tfrecord:/data/celebahq-tf
"""

from ml_collections import ConfigDict

from tfdl.models.stylegan import recipes


def get_config() -> ConfigDict:
    """Returns the settings of table 1's first column."""
    config = recipes.wgan_gp(recipes.base(1024, "tfrecord:celebahq"))
    config.description = "CelebA-HQ at 1024x1024"
    config.mirror = True
    config.devices = 8
    config.growing.batch_sizes = recipes.BATCHES[8]
    return config
