r"""Multi-resolution TFRecords in the original's layout, from a folder of pictures.

    tfdl prepare --model=stylegan --input=folder:/data/faces --output=/data/faces-tf
    tfdl prepare --model=stylegan --input=prepared:emoji-64 --output=emoji \
        --config.labels=full

Cars of LSUN, 512x384 in a square of 512: --config.sizes=pad.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the settings."""
    config = ConfigDict()
    config.model = "stylegan"
    config.resolution = 0  # a power of two; 0 is the first picture's
    config.channels = 3  # or 1
    config.sizes = "exact"  # any: crop and resize; pad: black bars
    config.background = "white"  # behind transparent pictures
    config.labels = "none"  # full: of sub-folders or dataset.json; or the first so many
    config.shuffle = True  # as the original does, in RandomState(123)'s order
    config.on_bad = "skip"  # or stop: what a file does that cannot be read
    return config
