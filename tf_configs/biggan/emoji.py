"""A class-conditional BigGAN of emoji, 64x64 in colour, nine categories.

    tfdl train --model=biggan --recipe=emoji

3,786 pictures are few: the discriminator sees them augmented (DiffAugment). The set is
fetched (15 MB) unless it is in the cache.
"""

from ml_collections import ConfigDict

from tfdl.models.biggan import recipes


def get_config() -> ConfigDict:
    """Returns BigGAN at 64 pixels with 16 channels."""
    config = recipes.common("biggan-64", spectral_epsilon=1e-6)
    config.description = "emoji, 64x64"
    config.data = "prepared:emoji-64"
    config.generator.channels, config.discriminator.channels = 16, 16
    config.batch_size = 32
    config.iteration.discriminator_steps = 2
    config.iteration.diffaugment = "color,translation,cutout"
    config.generator_rate, config.discriminator_rate = 2e-4, 4e-4
    config.iterations = 20_000
    config.ema_decay, config.ema_start = 0.999, 1000
    config.standing.rows = 11
    config.evaluation.samples = 4000
    config.eval_every = 2000
    return config
