"""Teaches a trained (converted) BigGAN the classes of your own folder.

    tfdl convert --model=biggan --source=BigGAN_ch96_bs256x8 --output=biggan-128
    tfdl train --model=biggan --recipe=fine-tune --init_from=biggan-128 \\
        --config.data=folder:my-pictures

Architecture, sizes and weights are the model's; the rows of its class tables are made
for the new classes: as the mean of the old ones (`fine_tuning.start=mean`), as the old
class that the discriminator recognises in the new pictures (`nearest`), or as old
classes that you name (`fine_tuning.like=husky=n02110185`). Small sets need low rates,
DiffAugment, and averaging from the beginning; `freeze` keeps blocks as they are.
"""

from ml_collections import ConfigDict

from tfdl.models.biggan import recipes


def get_config() -> ConfigDict:
    """Returns safe values for some hundred to some thousand pictures."""
    config = recipes.common("biggan-128")
    config.description = "fine-tuning to new classes"
    config.data = "folder:my-pictures"
    config.batch_size = 32
    config.iteration.discriminator_steps = 2
    config.iteration.diffaugment = "color,translation,cutout"
    config.generator_rate, config.discriminator_rate = 2e-5, 1e-4
    config.ema_decay, config.ema_start = 0.999, 0
    config.iterations = 5000
    config.eval_every = 500
    config.evaluation.samples = 2000
    config.keep = "best"
    return config
