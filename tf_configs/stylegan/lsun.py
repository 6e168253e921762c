r"""A category of LSUN at 256x256; cars at 512x384 in squares of 512.

    tfdl prepare --model=stylegan --input=folder:/data/bedrooms \
        --output=/data/bedrooms-tf --config.resolution=256 --config.sizes=any
    tfdl train --model=stylegan --recipe=lsun --strategy=mirrored \
        --config.data=tfrecord:/data/bedrooms-tf

Cars: prepare with --config.resolution=512 --config.sizes=pad, and train with
--config.generator.resolution=512. Bedrooms are shown 70,000, cars 46,000, cats 70,000
thousand times in the paper: --config.growing.total_kimg.
"""

from ml_collections import ConfigDict

from tfdl.models.stylegan import recipes


def get_config() -> ConfigDict:
    """Returns the settings of the paper's LSUN networks."""
    config = recipes.base(256, "tfrecord:bedrooms")
    config.description = "LSUN at 256x256"
    config.devices = 8
    config.growing.batch_sizes = recipes.BATCHES[8]
    config.growing.total_kimg = 70_000.0
    return config
