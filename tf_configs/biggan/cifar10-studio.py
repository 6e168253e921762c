"""PyTorch-StudioGAN's BigGAN for CIFAR-10: shared embedding, parts of z, attention.

    tfdl train --model=biggan --recipe=cifar10-studio \\
        --config.data=cifar10:/data/cifar10
"""

from ml_collections import ConfigDict

from tfdl.models.biggan import recipes


def get_config() -> ConfigDict:
    """Returns StudioGAN's values."""
    config = recipes.common("cifar10-studio")
    config.description = "CIFAR-10 as in PyTorch-StudioGAN"
    config.data = "cifar10:/data/cifar10"
    config.augment = "flip"
    config.batch_size = 64
    config.iteration.discriminator_steps = 5
    config.generator_rate = config.discriminator_rate = 2e-4
    config.iterations = 100_000
    config.ema_start = 1000
    config.eval_every = 5000
    config.evaluation.samples = 10_000
    return config
