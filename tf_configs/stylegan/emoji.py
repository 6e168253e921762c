r"""A small StyleGAN on 3,786 emoji of 64x64 pixels: hours, not minutes.

    tfdl prepare --dataset=emoji-64
    tfdl train --model=stylegan --recipe=emoji

Growing, batches and rates are the original's in miniature: 60 thousand pictures at each
resolution and in each fade-in, more at the last.
"""

from ml_collections import ConfigDict

from tfdl.models.stylegan import recipes


def get_config() -> ConfigDict:
    """Returns small networks and a schedule of 560 thousand pictures."""
    config = recipes.small(64, channels=3)
    config.description = "a small StyleGAN on emoji of 64x64 pixels"
    config.data = "prepared:emoji-64"
    config.mirror = True
    for network in (config.generator, config.discriminator):
        network.fmap_base, network.fmap_max = 384, 48
    config.growing.stable_kimg = config.growing.transition_kimg = 60.0
    config.growing.total_kimg = 560.0
    config.growing.batch_sizes = "0:16 8:64 16:32 32:32"
    config.growing.ticks = "0:30"
    config.ema_half_life_kimg = 5.0
    config.evaluation.samples = config.evaluation.real_images = 3000
    return config
