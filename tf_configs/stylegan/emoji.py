r"""A small StyleGAN on 3,786 emoji of 64x64 pixels, in about two hours on two cores.

tfdl prepare --dataset=emoji-64
tfdl train --model=stylegan --recipe=emoji
"""

from ml_collections import ConfigDict

from tfdl.models.stylegan import recipes


def get_config() -> ConfigDict:
    """Returns networks of a few hundred thousand weights."""
    config = recipes.small(64, channels=3)
    config.description = "a small StyleGAN on emoji of 64x64 pixels"
    config.data = "prepared:emoji-64"
    config.mirror = True
    return config
