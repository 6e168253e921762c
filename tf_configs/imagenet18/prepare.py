r"""Resized copies of ImageNet: what the phases at 128 and 224 pixels read.

    tfdl prepare --model=imagenet18 --input=folder:/data/imagenet \
        --output=/data/imagenet-sz/160 --config.size=160
    tfdl prepare --model=imagenet18 --input=folder:/data/imagenet \
        --output=/data/imagenet-sz/352 --config.size=352
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the settings of the DAWNBench entry's copies."""
    config = ConfigDict()
    config.model = "imagenet18"
    config.size = 160  # short side in pixels; 0 keeps the pictures' own size
    config.quality = 75  # of the JPEGs
    config.format = ""  # folder or tfrecord; empty is that of the input
    config.shards = 16  # TFRecord files per split
    config.on_bad = "stop"  # or skip: a file that is no picture is left out, named
    config.workers = 0  # processes; 0 is one per core
    return config
