"""A class-conditional BigGAN on Fashion-MNIST, resized to 32x32, grey.

    tfdl train --model=biggan --recipe=fashion-mnist

The set is fetched (31 MB) unless it is in the cache.
"""

from ml_collections import ConfigDict

from tfdl.models.biggan import recipes


def get_config() -> ConfigDict:
    """Returns the small network of one attention layer, twice as wide."""
    config = recipes.common("tiny", num_classes=10, image_channels=1)
    config.description = "Fashion-MNIST, 32x32"
    config.data = "prepared:fashion-mnist"
    config.augment = "flip"
    config.generator.channels = config.discriminator.channels = 16
    config.batch_size = 64
    config.iteration.discriminator_steps = 2
    config.generator_rate, config.discriminator_rate = 2e-4, 8e-4
    config.iterations = 20_000
    config.ema_decay, config.ema_start = 0.999, 1000
    config.standing.rows = 11
    config.evaluation.samples = config.evaluation.real = 10_000
    config.eval_every = 2000
    return config
