"""BigGAN-PyTorch's script for CIFAR-10 (launch_cifar_ema.sh).

    tfdl train --model=biggan --recipe=cifar10 --config.data=cifar10:/data/cifar10

Tables of gains and biases per class, no attention, weights N(0, 0.02), four steps of
the discriminator, batches of 50, 125,000 iterations (500 epochs). The paper reports IS
9.22 and FID 14.73 for CIFAR-10, mmgeneration IS 8.70 and FID 9.78 after 390,000.
"""

from ml_collections import ConfigDict

from tfdl.models.biggan import recipes


def get_config() -> ConfigDict:
    """Returns the script's values."""
    config = recipes.common("cifar10")
    config.description = "CIFAR-10 as in BigGAN-PyTorch"
    config.data = "cifar10:/data/cifar10"
    config.batch_size = 50
    config.iteration.discriminator_steps = 4
    config.generator_rate = config.discriminator_rate = 2e-4
    config.generator_optimizer.epsilon = config.discriminator_optimizer.epsilon = 1e-8
    config.iterations = 125_000
    config.ema_start = 1000 - 1
    config.eval_every = 5000
    config.evaluation.samples = 10_000
    return config
